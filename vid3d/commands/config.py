"""Prints the keys of the config."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides
from vid3d.errors import UserError
from vid3d.program import listen

HELP = "print the keys of the config, with their defaults"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", default="", metavar="KEY", help="a key or a group, whole")
    parser.add_argument("--markdown", action="store_true", help="print docs/configs.md")


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d import schema_text, terminal

    listen()
    if options.markdown:
        if options.key:
            raise UserError("--markdown prints all keys: leave out KEY")
        print(schema_text.markdown(), end="")
        return 0
    keys = schema_text.find(options.key)
    if options.key:
        print("\n\n".join(map(schema_text.whole_row, keys)))
    elif not sys.stdout.isatty():
        print("\n".join(schema_text.lines(keys)))
    else:
        terminal.console().print(schema_text.table(keys))
    return 0

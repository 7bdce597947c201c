"""Turns the lists of other programs and data sets into a manifest."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides, not_empty
from vid3d.program import listen
from vid3d.terminal import printable
from vid3d.text import first_few

HELP = "turn the lists of annotation programs and public data sets into a manifest"
NAMED = 20  # lines that are wrong


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("format", type=not_empty, metavar="FORMAT", help="such as boris; see docs")
    parser.add_argument("inputs", type=not_empty, nargs="+", metavar="IN", help="files or folders")
    parser.add_argument("--output", type=not_empty, required=True, metavar="FILE.csv")
    parser.add_argument("--videos", default="", metavar="DIR", help="default: the folder of IN")
    parser.add_argument("--labels", default="", metavar="FILE", help="names of numbered classes")
    parser.add_argument(
        "--fold", type=int, default=1, metavar="N", help="hmdb51, ucf101: 1, 2 or 3"
    )


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d.convert.convert import convert

    listen()
    done = convert(
        options.format,
        options.inputs,
        options.output,
        videos=options.videos,
        labels=options.labels,
        fold=options.fold,
    )
    stretches = sum(line.video.span is not None for line in done.lines)
    files = len({line.video.path for line in done.lines})
    what = f"{stretches} stretches in {files} files" if stretches else f"{files} videos"
    print(f"{options.output}: {what}, {len({line.video.label for line in done.lines})} classes")
    if done.missing:
        named = printable(first_few(done.missing, 3))
        print(f"{len(done.missing)} videos are missing on disk and were left out: {named}")
    for note in done.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    for what, lines in (("left out", done.wrong), ("differs", done.differing)):
        for line in lines[:NAMED]:
            print(f"{what}: {printable(line.where)}: {printable(line.why)}", file=sys.stderr)
        if len(lines) > NAMED:
            print(f"{what}: {len(lines) - NAMED} more lines", file=sys.stderr)
    return 1 if done.wrong else 0

"""Prints the layers, parameters and FLOPs of models."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d import config as configs
from vid3d.arguments import Overrides, takes_config
from vid3d.errors import UserError
from vid3d.program import listen

HELP = "print the layers, parameters and FLOPs of a model, or of all"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser, example="--config.model.dtype=bfloat16")
    which = parser.add_mutually_exclusive_group(required=True)
    what = "a preset or a Python file: layer by layer"
    which.add_argument("--config", metavar="NAME|FILE[:ARG]", help=what)
    which.add_argument(
        "--all",
        nargs="?",
        const="",
        metavar="NAME,NAME",
        help="a line per architecture, or for these",
    )
    parser.add_argument(
        "--speed",
        nargs="?",
        type=int,
        const=4,
        metavar="CLIPS",
        help="with --all: measure training and prediction in batches of so many clips (4)",
    )
    parser.add_argument(
        "--stream", action="store_true", help="with --config: its cost per frame of a stream"
    )


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d import terminal

    if options.all is not None and options.stream:
        raise UserError("--stream is for --config: vid3d summary --config=transfer:x3d_s --stream")
    if options.all is not None:
        from vid3d.training.speed import compare

        listen()
        names = [name.strip() for name in options.all.split(",") if name.strip()]
        if options.all and not names:
            raise UserError(f"--all={options.all} names no architecture: --all alone lists all")
        if options.speed is not None and options.speed < 1:
            raise UserError(f"--speed={options.speed}: measure 1 clip at a time or more")
        console = terminal.console()
        table = compare(names, overrides, batch_size=options.speed or 0, width=console.width)
        console.print(table)
        return 0
    if options.speed is not None:
        raise UserError("--speed is for --all: vid3d summary --all=NAME --speed")
    config = configs.load(options.config, overrides)
    from vid3d import schema
    from vid3d.models.summary import render, summarise

    listen()
    terminal.console().print(render(summarise(config)))
    if unused := schema.unused(config.model):
        print(f"{config.model.name} does not look at {', '.join(unused)}")
    if options.stream:
        from vid3d.continual.cost import cost

        print(cost(config))
    return 0

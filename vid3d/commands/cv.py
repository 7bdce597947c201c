"""Cross-validates a config."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides, takes_config, takes_engine, takes_workdir
from vid3d.commands.sweep import engine, exit_code
from vid3d.program import listen

HELP = "cross-validate: train and test every fold; the same command resumes it"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser)
    takes_workdir(parser, checkpoint=False)
    parser.add_argument(
        "--folds", type=int, default=0, metavar="N", help="default: those of the manifest, or 5"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repeats of each fold")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    takes_engine(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d import compilation
    from vid3d.sweep.cross_validation import cross_validate
    from vid3d.sweep.cross_validation_report import show

    listen()
    compilation.set_up()
    found = cross_validate(
        options.config,
        options.workdir,
        overrides,
        folds=options.folds,
        seeds=options.seeds,
        engine=engine(options),
    )
    if found.figures is None:
        return exit_code(found.statuses)
    if options.json:
        print(json.dumps(found.figures))
    else:
        show(found.figures)
        print(*found.written, sep="\n")
    return 0

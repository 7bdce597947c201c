"""Makes a page of an evaluation."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides, not_empty, takes_config
from vid3d.program import listen

HELP = "make one HTML page of an evaluation: figures, confusion matrix, moving clips"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser, example="--config.data.root=DIR where the videos have moved")
    parser.add_argument("workdir", type=not_empty, metavar="WORKDIR")
    parser.add_argument(
        "--checkpoint", default="best", metavar="best|latest|STEP", help="default: best"
    )
    parser.add_argument(
        "--split", choices=("test", "val", "train"), default="test", help="default: test"
    )
    parser.add_argument(
        "--output", default="", metavar="FILE.html", help="default: in the evaluation's folder"
    )


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d import checkpoint

    checkpoint.resolve(options.workdir, options.checkpoint)  # before all else is imported
    from vid3d import compilation
    from vid3d.report import write

    listen()
    compilation.set_up()
    path = write.report(
        options.workdir,
        checkpoint=options.checkpoint,
        split=options.split,
        overrides=overrides,
        output=options.output,
    )
    print(path)
    return 0

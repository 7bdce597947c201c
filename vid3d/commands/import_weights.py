"""Makes a workdir of published PyTorch weights."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides, not_empty
from vid3d.program import listen

HELP = "make a workdir of published PyTorch weights, without training"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--arch", required=True, metavar="NAME", help="such as r3d_18")
    parser.add_argument(
        "--weights", required=True, metavar="FILE", help=".pth, .pyth or .safetensors"
    )
    parser.add_argument(
        "--classes",
        required=True,
        metavar="kinetics400|FILE",
        help="the class names, one per line, in the order of the logits",
    )
    parser.add_argument(
        "--workdir", type=not_empty, required=True, metavar="DIR", help="a new folder"
    )


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d.training.transfer import import_weights

    listen()
    for line in import_weights(
        options.arch, options.weights, classes=options.classes, workdir=options.workdir
    ):
        print(line)
    return 0

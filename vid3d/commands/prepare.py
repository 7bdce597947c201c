"""Decodes the videos into the cache."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d import config as configs
from vid3d.arguments import Overrides, takes_config
from vid3d.program import listen

HELP = "decode the videos into the cache (train does so itself)"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser)
    parser.add_argument(
        "--beam",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="decode on Apache Beam, with its pipeline options: --beam='--runner=FlinkRunner ...'",
    )


def run(options: Namespace, overrides: Overrides) -> int:
    config = configs.load(options.config, overrides)
    from vid3d.data.prepare import prepare

    listen()
    prepare(config, beam_options=options.beam)
    return 0

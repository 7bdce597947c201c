"""Trains the runs of a sweep."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vid3d import process
from vid3d.arguments import Overrides, takes_config, takes_engine, takes_workdir
from vid3d.program import listen

if TYPE_CHECKING:
    from vid3d.sweep.launch import Engine
    from vid3d.sweep.table import Status

HELP = "train the runs of sweep(add) in a config; the same command resumes it"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser)
    takes_workdir(parser, checkpoint=False)
    parser.add_argument(
        "--shard", default="", metavar="I/N", help="only every N-th run, from I = 0"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repeats of each run")
    parser.add_argument("--dry-run", action="store_true", help="print the list of runs")
    takes_engine(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d.sweep.launch import sweep
    from vid3d.sweep.table import listing

    listen()
    statuses = sweep(
        options.config,
        options.workdir,
        overrides,
        seeds=options.seeds,
        part=options.shard,
        dry_run=options.dry_run,
        engine=engine(options),
    )
    if options.dry_run:
        print(listing(statuses))
        return process.FINISHED
    return exit_code(statuses)


def engine(options: Namespace) -> Engine:
    """Where the runs are trained; see `arguments.takes_engine`."""
    from vid3d.sweep.launch import Engine

    return Engine(options.launcher, options.parallel, options.resources, options.retries)


def exit_code(statuses: Sequence[Status]) -> int:
    """1 where a run failed, 75 where one is left to resume."""
    from vid3d.sweep.table import State

    states = {status.state for status in statuses}
    if State.FAILED in states:
        return 1
    return process.FINISHED if states <= {State.FINISHED, State.PRUNED} else process.RESUME_ME

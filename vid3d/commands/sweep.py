"""Trains the runs of a sweep."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d import process
from vid3d.arguments import Overrides, takes_config, takes_workdir
from vid3d.program import listen

HELP = "train the runs of sweep(add) in a config; the same command resumes it"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser)
    takes_workdir(parser, checkpoint=False)
    devices = "N runs at a time, each on its own GPU, TPU chip or share of the cores"
    parser.add_argument("--parallel", type=int, default=0, metavar="N", help=devices)
    parser.add_argument(
        "--shard", default="", metavar="I/N", help="only every N-th run, from I = 0"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repeats of each run")
    parser.add_argument("--dry-run", action="store_true", help="print the list of runs")
    ray = parser.add_argument_group(
        "on a Ray cluster", "the one at RAY_ADDRESS, or a new local one"
    )
    ray.add_argument("--launcher", default="local", choices=("local", "ray"))
    ray.add_argument(
        "--resources", default="", metavar="CPU=N,GPU=N", help="of each run; default: CPU=1"
    )
    ray.add_argument(
        "--retries", type=int, default=0, metavar="N", help="of a run that is killed; it resumes"
    )


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d.sweep.launch import sweep
    from vid3d.sweep.table import State, listing

    listen()
    statuses = sweep(
        options.config,
        options.workdir,
        overrides,
        seeds=options.seeds,
        parallel=options.parallel,
        part=options.shard,
        dry_run=options.dry_run,
        launcher=options.launcher,
        resources=options.resources,
        retries=options.retries,
    )
    if options.dry_run:
        print(listing(statuses))
        return process.FINISHED
    states = {status.state for status in statuses}
    if State.FAILED in states:
        return 1
    return process.FINISHED if states <= {State.FINISHED} else process.RESUME_ME

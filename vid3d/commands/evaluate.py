"""Tests a checkpoint."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from vid3d.arguments import (
    Overrides,
    not_empty,
    takes_config,
    takes_hosts,
    takes_runtime,
    takes_workdir,
)
from vid3d.errors import UserError
from vid3d.program import joined, listen, say_loading

HELP = "test a checkpoint: accuracy, per-class figures, confusion matrix; or time lines"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser, example="--config.data.root=DIR where the videos have moved")
    takes_workdir(parser)
    takes_runtime(parser)
    parser.add_argument("--split", choices=("test", "val", "train"), help="default: test")
    parser.add_argument("--data", metavar="FOLDER|CSV", help="another set of videos")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    recordings = parser.add_argument_group("time lines of long recordings")
    recordings.add_argument(
        "--events", type=not_empty, metavar="CSV", help="what happens: path,start,end,label"
    )
    recordings.add_argument(
        "videos", nargs="*", metavar="VIDEO_OR_FOLDER", help="default: those that the CSV names"
    )
    recordings.add_argument(
        "--choose", action="store_true", help="choose how predict --events decodes, by these"
    )
    takes_hosts(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    say_loading("evaluate")
    if options.events:
        return run_events(options, overrides)
    if options.videos or options.choose:
        raise UserError("videos and --choose are for time lines: add --events=CSV with their truth")
    if options.data is not None and options.split:
        raise UserError("--split is for the run's own videos: with --data all of them are tested")
    from vid3d import compilation, parallel
    from vid3d.evaluation import evaluate, report

    listen()
    compilation.set_up()
    with joined(options):
        figures, folder = evaluate.evaluate(
            options.workdir,
            checkpoint=options.checkpoint,
            split=options.split or "test",
            overrides=overrides,
            data=options.data,
            engine=options.engine,
            precision=options.precision,
        )
    if not parallel.is_main():
        return 0
    if options.json:
        print(json.dumps(figures))
    else:
        report.show(figures, folder)
    return 0


def run_events(options: Namespace, overrides: Overrides) -> int:
    """Judges time lines, or chooses how they are decoded."""
    if options.split or options.data is not None:
        raise UserError("--events judges recordings: leave out --split and --data")
    from vid3d import compilation, judge
    from vid3d.evaluation import events_report

    listen()
    compilation.set_up()
    figures, folder = judge.evaluate_events(
        options.workdir,
        options.events,
        options.videos,
        checkpoint=options.checkpoint,
        overrides=overrides,
        choose=options.choose,
    )
    if options.json:
        print(json.dumps(figures))
    else:
        events_report.show(figures, folder)
    return 0

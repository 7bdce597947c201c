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
    takes_workdir(parser, required=False)
    takes_runtime(parser)
    parser.add_argument("--split", choices=("test", "val", "train"), help="default: test")
    parser.add_argument("--data", metavar="FOLDER|CSV", help="another set of videos")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--report", action="store_true", help="write report.html, a page with moving clips, too"
    )
    recordings = parser.add_argument_group("time lines of long recordings")
    recordings.add_argument(
        "--events",
        type=not_empty,
        metavar="CSV|val|test",
        help="what happens: path,start,end,label; or the run's own recordings",
    )
    recordings.add_argument(
        "videos", nargs="*", metavar="VIDEO_OR_FOLDER", help="default: all of these recordings"
    )
    recordings.add_argument(
        "--choose", action="store_true", help="choose how predict --events decodes, by these"
    )
    recordings.add_argument(
        "--predicted", type=not_empty, metavar="CSV", help="judge these events, without --workdir"
    )
    recordings.add_argument(
        "--output", default="", metavar="DIR", help="of --predicted: write figures and pictures"
    )
    takes_hosts(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    if options.predicted:
        return run_predicted(options, overrides)
    if options.output:
        raise UserError("--output is for --predicted=CSV: all else is written into the workdir")
    if not options.workdir:
        raise UserError(
            "--workdir=DIR is missing, the folder of the training run; or judge a file of events "
            "with --events=TRUTH.csv --predicted=EVENTS.csv"
        )
    from vid3d import checkpoint

    checkpoint.resolve(options.workdir, options.checkpoint)  # before all else is imported
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
    page = None
    if options.report:
        from vid3d.report import write

        page = write.write(
            checkpoint.Workdir(options.workdir),
            folder,
            checkpoint=options.checkpoint,
            split=options.split or "test",
            overrides=overrides,
            data=options.data,
        )
    if options.json:
        print(json.dumps(figures))
    else:
        report.show(figures, folder)
        if page:
            print(page)
    return 0


def run_events(options: Namespace, overrides: Overrides) -> int:
    """Judges time lines, or chooses how they are decoded."""
    if options.split or options.report or options.data is not None:
        raise UserError("--events judges recordings: leave out --split, --data and --report")
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


def run_predicted(options: Namespace, overrides: Overrides) -> int:
    """Judges a file of events."""
    if not options.events:
        raise UserError("--predicted needs the truth: add --events=CSV")
    others = (options.workdir, options.videos, options.choose, options.split, options.data)
    if overrides or any(others):
        raise UserError(
            "--predicted judges a file of events without a network: leave out all but --events, "
            "--output and --json"
        )
    from vid3d.evaluation import events_report, predicted

    listen()
    figures, folder = predicted.judge(options.events, options.predicted, options.output)
    if options.json:
        print(json.dumps(figures))
    else:
        events_report.show(figures, folder)
    return 0

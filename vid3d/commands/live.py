"""Labels a camera, a stream or a file while it plays."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from vid3d.arguments import (
    Overrides,
    chosen_settings,
    not_empty,
    seconds,
    takes_config,
    takes_runtime,
    takes_settings,
    takes_workdir,
)
from vid3d.program import listen

HELP = "label a camera, a stream or a file while it plays"
SETTINGS = ("threshold", "window", "smoothing", "every")  # config.live


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(
        parser,
        example="--config.live.threshold=0.6; live.*, with --events predict.events.*",
    )
    takes_workdir(parser)
    takes_runtime(parser)
    parser.add_argument(
        "--source", required=True, metavar="0|FILE|URL", help="camera number, file, URL"
    )
    parser.add_argument("--output", default="", metavar="MP4", help="write this file; no window")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON per label, and per lost camera"
    )
    parser.add_argument(
        "--events", type=not_empty, metavar="FILE",
        help="write each event into this .csv or .jsonl as it ends; no window",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=seconds, default=0.0, metavar="N", help="end after N seconds"
    )
    parser.add_argument(
        "--wait", type=seconds, default=0.0, metavar="N", help="wait N seconds for the source"
    )
    takes_settings(parser, "live", SETTINGS)


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d.engine import choose
    from vid3d.inference import report
    from vid3d.inference.live import live
    from vid3d.inference.live_output import Event, Label, to_json

    def print_line(what: Label | Event) -> None:
        print(to_json(what), flush=True)

    choose.load_libraries(options.engine)
    listen()
    report.note_unfinished("live", options.workdir)
    totals = live(
        options.workdir,
        options.source,
        checkpoint=options.checkpoint,
        overrides=[*overrides, *chosen_settings(options, "live", SETTINGS)],
        output=options.output,
        on_label=print_line if options.json else None,
        on_event=print_line if options.json else None,
        seconds=options.seconds,
        wait=options.wait,
        events=options.events or "",
        engine=options.engine,
        precision=options.precision,
    )
    if totals.damage:
        print(f"vid3d live: warning: {options.source}: {totals.damage}", file=sys.stderr)
    if options.output and not options.json:
        frames, labels = totals.num_frames, totals.num_labels
        print(f"wrote {options.output}: {frames} frames, {labels} labels")
    if options.events and not options.json:
        print(f"wrote {options.events}: {totals.num_events} events, {totals.num_labels} labels")
    return 0

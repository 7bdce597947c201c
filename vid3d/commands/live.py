"""Labels a camera, a stream or a file while it plays."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides, takes_config, takes_workdir
from vid3d.program import listen

HELP = "label a camera, a stream or a file while it plays"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser, example="--config.live.threshold=0.6; only live.* can be set")
    takes_workdir(parser)
    parser.add_argument(
        "--source", required=True, metavar="0|FILE|URL", help="camera number, file, URL"
    )
    parser.add_argument("--output", default="", metavar="MP4", help="write this file; no window")
    parser.add_argument("--json", action="store_true", help="print one JSON object per label")


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d import compilation
    from vid3d.inference.live import live, to_json

    listen()
    compilation.set_up()
    totals = live(
        options.workdir,
        options.source,
        checkpoint=options.checkpoint,
        overrides=overrides,
        output=options.output,
        on_label=(lambda label: print(to_json(label), flush=True)) if options.json else None,
    )
    if totals.damage:
        print(f"vid3d live: warning: {options.source}: {totals.damage}", file=sys.stderr)
    if options.output and not options.json:
        frames, labels = totals.num_frames, totals.num_labels
        print(f"wrote {options.output}: {frames} frames, {labels} labels")
    return 0

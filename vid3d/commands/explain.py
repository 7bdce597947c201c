"""Shows where and when the network looks."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides, not_empty, stretch_of, takes_stretch, takes_workdir
from vid3d.errors import UserError
from vid3d.program import listen, say_loading

HELP = "show where and when the network looks in videos"


def add_arguments(parser: ArgumentParser) -> None:
    takes_workdir(parser)
    parser.add_argument("videos", type=not_empty, nargs="+", metavar="VIDEO_OR_FOLDER")
    parser.add_argument("--output", default="", metavar="DIR", help="write videos with heat maps")
    parser.add_argument("--json", action="store_true", help="print a line of JSON per video")
    parser.add_argument(
        "--label", default="", metavar="CLASS", help="explain this class instead of the answer"
    )
    parser.add_argument(
        "--method", default="gradcam", metavar="gradcam|integrated_gradients",
        help="default: gradcam",
    )  # fmt: skip
    takes_stretch(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    if not options.output and not options.json:
        raise UserError("say what is wanted: --output=DIR for videos with heat maps, or --json")
    span = stretch_of(options)
    say_loading("explain")
    from vid3d import compilation
    from vid3d.inference import heat, report

    listen()
    compilation.set_up()
    report.note_unfinished("explain", options.workdir)
    failed = False
    for found in heat.explain(
        options.workdir,
        options.videos,
        checkpoint=options.checkpoint,
        label=options.label,
        method=options.method,
        output=options.output,
        span=span,
    ):
        if found.error:
            failed = True
            print(f"error: {found.error}", file=sys.stderr)
        if options.json:
            print(json.dumps(heat.as_dict(found)), flush=True)
        elif found.explanation:
            print(f"{found.path}: {found.explanation.summary()}", flush=True)
    if options.output and not options.json:
        print(f"videos with heat maps are in {options.output}")
    return 1 if failed else 0

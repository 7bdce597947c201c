"""Labels videos."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides, not_empty, takes_config, takes_workdir
from vid3d.program import listen

HELP = "label videos"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser, example="--config.eval.long_videos=longest; only that and eval.views")
    takes_workdir(parser)
    parser.add_argument("videos", type=not_empty, nargs="+", metavar="VIDEO_OR_FOLDER")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--csv", action="store_true", help="print a CSV table")
    parser.add_argument("--output", default="", metavar="DIR", help="write annotated videos here")


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d import compilation
    from vid3d.inference.predict import predict
    from vid3d.inference.report import print_report

    listen()
    compilation.set_up()
    report = predict(
        options.workdir,
        options.videos,
        checkpoint=options.checkpoint,
        output=options.output,
        overrides=overrides,
    )
    print_report(report, as_json=options.json, as_csv=options.csv, output=options.output)
    return 1 if report.errors else 0

"""Labels videos."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides, not_empty, takes_config, takes_runtime, takes_workdir
from vid3d.errors import UserError
from vid3d.program import listen
from vid3d.schema import BY_NAME

HELP = "label videos"
SETTINGS = ("threshold", "window", "overlap", "smoothing")  # config.predict


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(
        parser, example="--config.eval.long_videos=longest; only that, eval.views and predict.*"
    )
    takes_workdir(parser)
    takes_runtime(parser)
    parser.add_argument("videos", type=not_empty, nargs="+", metavar="VIDEO_OR_FOLDER")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object at the end")
    form.add_argument("--csv", action="store_true", help="print a CSV row per video as it comes")
    form.add_argument("--jsonl", action="store_true", help="print a line of JSON per video")
    form.add_argument(
        "--rows", type=not_empty, metavar="FILE", help="add a row per video to this .csv or .jsonl"
    )
    parser.add_argument(
        "--resume", action="store_true", help="leave out the videos that have a row in --rows"
    )
    parser.add_argument("--output", default="", metavar="DIR", help="write annotated videos here")
    for name in SETTINGS:
        text = BY_NAME[f"predict.{name}"].help
        parser.add_argument(f"--{name}", metavar="NUMBER", help=text.replace("%", "%%"))


def run(options: Namespace, overrides: Overrides) -> int:
    if options.resume and not options.rows:
        raise UserError("--resume goes on with a file of rows: add --rows=FILE")
    from vid3d.engine import choose
    from vid3d.inference import predict, report, rows

    choose.load_libraries(options.engine)
    listen()
    target = rows.check_target(options.rows, resume=options.resume) if options.rows else None
    settings = [(f"predict.{name}", getattr(options, name)) for name in SETTINGS]
    overrides = [*overrides, *((key, text) for key, text in settings if text is not None)]
    labelling = predict.prepare(
        options.workdir,
        options.videos,
        checkpoint=options.checkpoint,
        output=options.output,
        overrides=overrides,
        engine=options.engine,
        precision=options.precision,
    )
    if options.csv or options.jsonl or target:
        suffix = target.suffix.lower() if target else ".csv" if options.csv else ".jsonl"
        form = rows.form_of(suffix, labelling.classifier)
        failed = report.print_rows(labelling, form, target)
    else:
        result = labelling.report()
        report.print_report(result, as_json=options.json, output=options.output)
        failed = bool(result.errors)
    return 1 if failed else 0

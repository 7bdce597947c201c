"""Labels videos."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

from vid3d.arguments import (
    Overrides,
    chosen_settings,
    not_empty,
    stretch_of,
    takes_config,
    takes_runtime,
    takes_settings,
    takes_stretch,
    takes_workdir,
)
from vid3d.errors import UserError
from vid3d.program import listen

HELP = "label videos"
SETTINGS = ("threshold", "window", "overlap", "smoothing")  # config.predict
EVENT_FORMATS = ("csv", "json", "jsonl", "boris", "boris-table", "elan", "srt")


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(
        parser,
        example="--config.eval.long_videos=longest; only that, eval.views, predict.* and "
        "data.frames_fps",
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
    form.add_argument(
        "--events", type=not_empty, metavar="FILE", help="write the events of long recordings here"
    )
    parser.add_argument(
        "--events-format",
        choices=EVENT_FORMATS,
        default="",
        help="default: by the ending of FILE; elan and srt write a file per video into a folder",
    )
    parser.add_argument(
        "--resume", action="store_true", help="leave out the videos done in --rows or --events"
    )
    parser.add_argument(
        "--retry", action="store_true", help="--resume, and try those with an error again"
    )
    parser.add_argument("--output", default="", metavar="DIR", help="write annotated videos here")
    takes_settings(parser, "predict", SETTINGS)
    takes_stretch(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    resume = options.resume or options.retry
    if resume and not (options.rows or options.events):
        which = "--retry" if options.retry else "--resume"
        raise UserError(f"{which} goes on with a file: add --rows=FILE or --events=FILE")
    if options.events_format and not options.events:
        raise UserError("--events-format is that of a file of events: add --events=FILE")
    span = stretch_of(options)
    if span and (options.rows or options.events):
        raise UserError("--rows and --events are of whole videos: leave out --start and --end")
    from vid3d.engine import choose
    from vid3d.inference import event_file, event_formats, predict, report, rows
    from vid3d.inference.stretch import check_single

    choose.load_libraries(options.engine)
    listen()
    target = rows.check_target(options.rows, resume=resume) if options.rows else None
    form = None
    if options.events:
        form = event_formats.choose(Path(options.events), options.events_format)
        target = event_file.check_target(options.events, form, resume=resume)
    labelling = predict.prepare(
        options.workdir,
        options.videos,
        checkpoint=options.checkpoint,
        output=options.output,
        overrides=[*overrides, *chosen_settings(options, "predict", SETTINGS)],
        events=bool(form),
        engine=options.engine,
        precision=options.precision,
    )
    if span:
        check_single(labelling.found.videos)
        labelling = replace(labelling, span=span)
    if form and target:
        with labelling.event_file(target, form, retry=options.retry) as file:
            failed = report.print_events(labelling, file, resume=resume)
    elif options.csv or options.jsonl or target:
        suffix = target.suffix.lower() if target else ".csv" if options.csv else ".jsonl"
        rows_form = rows.form_of(suffix, labelling.classifier)
        failed = report.print_rows(labelling, rows_form, target, resume=resume, retry=options.retry)
    else:
        result = labelling.report()
        report.print_report(result, as_json=options.json, output=options.output)
        failed = bool(result.errors)
    return 1 if failed else 0

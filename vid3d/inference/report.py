"""What `vid3d predict` prints: a table, JSON or CSV, and warnings and errors on standard error."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from vid3d import terminal
from vid3d.inference.prediction import Prediction

LISTED = 12  # segments per video in the table; JSON and CSV have all


@dataclass(frozen=True)
class Report:
    """The result of labelling some videos.

    Attributes:
        classes: class names in the order of the labels.
        predictions: path -> prediction, for each video that can be read.
        errors: path -> why it cannot be read, has no videos, or has no annotated copy.
        notes: sentences about files that were left out.
    """

    classes: Sequence[str]
    predictions: dict[str, Prediction]
    errors: dict[str, str]
    notes: Sequence[str] = ()


def print_report(
    report: Report, *, as_json: bool = False, as_csv: bool = False, output: str | Path = ""
) -> None:
    """Prints predictions on standard output, warnings and errors on standard error.

    Args:
        report: what `predict` returned.
        as_json: print one JSON object instead of the table.
        as_csv: print one row per video instead of the table.
        output: the folder of the annotated copies, if there is one.
    """
    predictions, errors = report.predictions, report.errors
    for note in report.notes:
        print(f"vid3d predict: note: {one_line(note)}", file=sys.stderr)
    for path, answer in predictions.items():
        if answer.damage:
            print(f"vid3d predict: warning: {one_line(path)}: {answer.damage}", file=sys.stderr)
    for reason in errors.values():
        print(f"vid3d predict: error: {one_line(reason)}", file=sys.stderr)
    if as_json:
        labelled = [{"path": path} | as_dict(answer) for path, answer in predictions.items()]
        failed = [{"path": path, "error": error} for path, error in errors.items()]
        print(json.dumps({"predictions": labelled, "errors": failed}))
    elif as_csv:
        write_csv(predictions, report.classes)
    elif predictions:
        print_table(predictions)
        if output and predictions.keys() - errors.keys():
            print(f"annotated videos are in {output}")


def one_line(text: str) -> str:
    """Replaces line breaks, which names of files may contain, by spaces."""
    return " ".join(text.split())


def as_dict(answer: Prediction) -> dict[str, object]:
    """The fields of a prediction in JSON."""
    return asdict(answer) | {"segments": [segment._asdict() for segment in answer.segments]}


def write_csv(answers: dict[str, Prediction], classes: Sequence[str]) -> None:
    """Prints one row per video: label, time line as text, and one probability per class."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    fixed = ("path", "label", "probability", "num_frames", "seconds", "segments", "damage", "note")
    writer.writerow((*fixed, *(f"probability:{name}" for name in classes)))
    for path, answer in answers.items():
        segments = "; ".join(f"{s.start:.2f}-{s.end:.2f} {s.label}" for s in answer.segments)
        row = (path, answer.label, answer.probability, answer.num_frames, answer.seconds, segments)
        writer.writerow((*row, answer.damage, answer.note, *answer.probabilities.values()))


def print_table(answers: dict[str, Prediction]) -> None:
    """Prints the table, and below it the notes on predictions that were made in another way."""
    console = terminal.console()
    console.print(table(answers))
    paths: dict[str, list[str]] = {}
    for path, answer in answers.items():
        if answer.note:
            paths.setdefault(answer.note, []).append(path)
    for note, noted in list(paths.items())[:LISTED]:
        others = f" and {len(noted) - 1} more" * (len(noted) > 1)
        console.print(Text(f"note: {one_line(noted[0])}{others}: {note}"))
    if len(paths) > LISTED:
        console.print(f"and {len(paths) - LISTED} more notes: see --json or --csv")


def table(answers: dict[str, Prediction]) -> Table:
    """One line per video, followed by one per segment if it has several."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("video", overflow="fold")
    shown.add_column("time", justify="right", no_wrap=True)
    shown.add_column("label", overflow="fold")
    shown.add_column("probability", justify="right")
    for path, answer in answers.items():
        segments = answer.segments
        shown.add_row(
            Text(one_line(path)),
            clock(answer.seconds),
            Text(answer.label, style="bold"),
            f"{answer.probability:.3f}",
        )
        for segment in segments[:LISTED] if len(segments) > 1 else ():
            span = f"{clock(segment.start)} - {clock(segment.end)}"
            shown.add_row("", span, Text(f"  {segment.label}"), f"{segment.probability:.3f}")
        if len(segments) > LISTED:
            shown.add_row("", "", f"  and {len(segments) - LISTED} more: see --json or --csv", "")
    return shown


def clock(seconds: float) -> str:
    """Minutes and seconds, such as 1:05.3."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f}:{rest:04.1f}"

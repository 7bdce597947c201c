"""What `vid3d predict` prints: a table, JSON or rows; warnings and errors on standard error.

The fields of the JSON are those of `prediction.Prediction`.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from vid3d import terminal
from vid3d.checkpoint import Address, Workdir
from vid3d.inference.event_file import EventFile
from vid3d.inference.prediction import Prediction, as_dict
from vid3d.inference.rows import Form, Row, RowFile

if TYPE_CHECKING:
    from vid3d.inference.predict import Labelling

LISTED = 12  # segments per video in the table; JSON and rows have all


@dataclass(frozen=True)
class Report:
    """The result of labelling some videos.

    Attributes:
        predictions: path -> prediction, for each video that can be read.
        errors: path -> why it cannot be read, has no videos, or has no annotated copy.
        notes: sentences about files that were left out.
    """

    predictions: dict[str, Prediction]
    errors: dict[str, str]
    notes: Sequence[str] = ()


def print_report(report: Report, *, as_json: bool = False, output: str | Path = "") -> None:
    """Prints predictions on standard output, warnings and errors on standard error.

    Args:
        report: what `predict` returned.
        as_json: print one JSON object instead of the table.
        output: the folder of the annotated copies, if there is one.
    """
    predictions, errors = report.predictions, report.errors
    print_notes("predict", report.notes)
    for path, answer in predictions.items():
        print_trouble(Row(path, answer))
    for path, reason in errors.items():
        print_trouble(Row(path, None, reason))
    if as_json:
        labelled = [{"path": path} | as_dict(answer) for path, answer in predictions.items()]
        failed = [{"path": path, "error": error} for path, error in errors.items()]
        print(json.dumps({"predictions": labelled, "errors": failed}))
    elif predictions:
        print_table(predictions)
        if output and predictions.keys() - errors.keys():
            print(f"annotated videos are in {output}")


def print_rows(
    labelling: Labelling,
    form: Form,
    target: Path | None,
    *,
    resume: bool = False,
    retry: bool = False,
) -> int:
    """Writes rows as they come, to standard output or a file; what went wrong to standard error.

    Args:
        labelling: the videos.
        form: of the rows.
        target: the file; videos that have a row in it are left out. None is standard output.
        resume: whether the file should have rows.
        retry: those that failed are not left out.

    Returns:
        How many of the videos failed, by the rows that were there before, too.
    """
    print_notes("predict", labelling.found.notes)
    if target:
        with RowFile(target, form, retry=retry) as file:
            return add_rows(labelling, file, resume=resume)
    failed = 0
    write(form.header)
    with contextlib.closing(labelling.rows(quiet=sys.stdout.isatty())) as rows:
        for row in rows:
            print_trouble(row)
            write(form.text(row))
            failed += bool(row.error)
    return failed


def print_events(labelling: Labelling, file: EventFile, *, resume: bool = False) -> int:
    """Adds the events of the videos that are not done; returns how many of all videos failed."""
    print_notes("predict", labelling.found.notes)
    return add_rows(
        labelling,
        file,
        lambda count: f"{file.num_events} events of {count} videos",
        resume=resume,
    )


def add_rows(
    labelling: Labelling,
    file: RowFile | EventFile,
    wrote: Callable[[int], str] = lambda count: f"{count} rows",
    *,
    resume: bool = False,
) -> int:
    """Adds the rows of the videos that have none; returns how many of all videos failed.

    Args:
        labelling: the videos.
        file: of rows or of events.
        wrote: says what was written of so many videos.
        resume: whether there should be something to go on with.
    """
    if resume and not file.done and not file.num_retried:
        what = "is begun, with the options of now: there is nothing in it to go on with"
        print(f"vid3d predict: note: {one_line(str(file.path))} {what}", file=sys.stderr)
    if file.torn_bytes:
        print_notes("predict", [f"{file.path}: its last row was torn, and is made again"])
    count = failed = 0
    try:
        with contextlib.closing(labelling.rows(file.done)) as rows:
            for row in rows:
                print_trouble(row)
                file.add(row)
                count, failed = count + 1, failed + bool(row.error)
    except KeyboardInterrupt:
        there = f"{len(file.done) + count} videos are in {file.path}"
        print_notes("predict", [f"{there}: the same command with --resume goes on from here"])
        raise
    before = [file.done[path] for path in labelling.paths() if path in file.done]
    said = f"wrote {file.path}: {wrote(count)}, {failed} with an error"
    if before:
        said += f"; {len(before)} were there, {sum(before)} with an error"
        said += f"; now it holds {file.held}"
    print(said)
    if again := failed + sum(before):
        print(
            f"--retry in place of --resume tries the {again} with an error again", file=sys.stderr
        )
    return again


def write(text: str) -> None:
    """Writes whole lines to standard output at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_notes(command: str, notes: Iterable[str]) -> None:
    """Prints sentences about the videos or the workdir of a command on standard error."""
    for note in notes:
        print(f"vid3d {command}: note: {one_line(note)}", file=sys.stderr)


def note_unfinished(command: str, workdir: Address) -> None:
    """Prints that the training run of a workdir has not ended, if so."""
    print_notes(command, filter(None, [Workdir(workdir).unfinished()]))


def print_trouble(row: Row) -> None:
    """Prints the damage and the error of a video on standard error."""
    if row.prediction and row.prediction.damage:
        damage = row.prediction.damage
        print(f"vid3d predict: warning: {one_line(row.path)}: {damage}", file=sys.stderr)
    if row.error:
        print(f"vid3d predict: error: {one_line(row.error)}", file=sys.stderr)


def one_line(text: str) -> str:
    """Replaces line breaks, which names of files may contain, by spaces."""
    return " ".join(text.split())


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

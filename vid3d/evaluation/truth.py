"""The truth of recordings: a CSV of events, `path,start,end,label`, as `predict` writes it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vid3d.errors import UserError, suggest
from vid3d.text import first_few
from vid3d.video.timeline import Event

COLUMNS = ("path", "start", "end", "label")
BEYOND = 0.5  # seconds by which an event may reach beyond the end of its recording


@dataclass(frozen=True)
class Truth:
    """What happens in recordings.

    Attributes:
        file: the CSV.
        events: absolute path -> its events; none of a recording in which nothing happens.
        sources: absolute path -> what its column `group` says, or the path.
        lines: (absolute path, event) -> number of its line.
    """

    file: Path
    events: dict[str, list[Event]]
    sources: dict[str, str]
    lines: dict[tuple[str, Event], int]

    def of(self, path: str, seconds: float) -> list[Event]:
        """The events of a recording, up to its end.

        Raises:
            UserError: one is beyond the end.
        """
        key, cut = absolute(path), []
        for event in self.events.get(key, ()):
            if event.end > seconds + BEYOND:
                raise UserError(
                    f"{self.file} line {self.lines[key, event]}: the event ends at {event.end:g} "
                    f"s, and {path} at {seconds:g} s"
                )
            cut.append(event._replace(end=min(event.end, seconds)))
        return [event for event in cut if event.start < event.end]

    def without(self, labels: Sequence[str]) -> Truth:
        """The truth without the events of some labels."""
        events = {
            path: [event for event in own if event.label not in labels]
            for path, own in self.events.items()
        }
        return replace(self, events=events)

    def check_videos(self, paths: Iterable[str]) -> None:
        """Raises a UserError for a video that the truth does not name."""
        for path in paths:
            if absolute(path) not in self.events:
                raise UserError(
                    f"{path}: {self.file} has no line with this path; where nothing happens in it, "
                    "add a line with its path alone"
                )


def read_truth(
    file: str | Path,
    classes: Sequence[str] | None = None,
    *,
    ignore: Sequence[str] = (),
    option: str = "--events",
    with_probabilities: bool = False,
) -> Truth:
    """Reads a CSV with a line per event.

    Paths are relative to its folder; what is not there, to the current folder.

    A line with a path and nothing else is a recording in which nothing happens. A column `group`
    names the source of the recording; other columns are not read.

    Args:
        file: the CSV.
        classes: labels that are known; None is any.
        ignore: labels whose lines are left out, as they are no events.
        option: that names the file, for messages.
        with_probabilities: whether these are predictions, of which there may be none: a column
            `probability` is read.

    Raises:
        UserError: it cannot be read, lacks a column, or a line is wrong; it names the line.
    """
    file = Path(file)
    truth = Truth(file, {}, {}, {})
    try:
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{option}={file}: cannot be read: {error.strerror}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise UserError(
                f"{option}={file} has no column {first_few(lacking)}: it has to begin with "
                f"{','.join(COLUMNS)}"
            )
        for row in reader:
            where = f"{file} line {reader.line_num}"
            path, label = (row["path"] or "").strip(), (row["label"] or "").strip()
            if not path:
                raise UserError(f"{where}: it has no path")
            below = file.parent / path
            key = absolute(below if below.exists() or not Path(path).exists() else path)
            own = truth.events.setdefault(key, [])
            truth.sources[key] = source(where, row, truth.sources.get(key), key)
            if not label and not row["start"] and not row["end"]:
                continue
            if classes is not None and label not in (*classes, *ignore):
                near = suggest(label, classes)
                raise UserError(f"{where}: the model has no class {label!r}{near}")
            if label not in ignore:
                sure = probability(where, row) if with_probabilities else 1.0
                own.append(event := Event(*times(where, row), label, sure))
                truth.lines[key, event] = reader.line_num
    except csv.Error as error:
        raise UserError(
            f"{file}, read up to line {reader.line_num}: {error}; is a quotation mark not closed?"
        ) from None
    if not truth.events and not with_probabilities:
        raise UserError(f"{option}={file} has no line but its header")
    for own in truth.events.values():
        own.sort()
    return truth


def times(where: str, row: dict[str, str]) -> tuple[float, float]:
    """Start and end of a line.

    Raises:
        UserError: they are not numbers, or the end is not after the start.
    """
    found = []
    for name in ("start", "end"):
        try:
            found.append(float(row[name] or ""))
        except ValueError:
            raise UserError(f"{where}: {name} {row[name]!r} is not a number of seconds") from None
    start, end = found
    if not 0 <= start < end < math.inf:
        raise UserError(f"{where}: from {start:g} to {end:g} s is no stretch of time")
    return start, end


def probability(where: str, row: dict[str, str]) -> float:
    """How sure a predicted event is; 1 where no column says so.

    Raises:
        UserError: that is no probability.
    """
    text = (row.get("probability") or "").strip()
    try:
        number = float(text or 1)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise UserError(f"{where}: the probability {text!r} is not a number from 0 to 1")
    return number


def source(where: str, row: dict[str, str], before: str | None, path: str) -> str:
    """The source of a recording.

    Raises:
        UserError: another line says another one.
    """
    named = (row.get("group") or "").strip()
    if before is not None and named and before not in (named, path):
        raise UserError(f"{where}: the group is {named!r}, and {before!r} in an earlier line")
    return named or before or path


def absolute(path: str | Path) -> str:
    """The path that recordings are known by."""
    return str(Path(path).resolve())

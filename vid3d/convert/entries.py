"""What a format says of a video or a stretch of one, and the files that say it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vid3d.errors import UserError
from vid3d.text import quote
from vid3d.video.spans import Span


@dataclass(frozen=True)
class Entry:
    """A labelled video, or stretch of one.

    Attributes:
        video: a path or a name, with or without its suffix; several names are tried in turn.
        label: name of the class.
        where: "FILE line 7" or the like, for messages.
        split: as it is called there, or "".
        spans: of the stretch, for each of the names; None is the whole video.
        frames: of a folder of frames, how many it has; 0 is unknown.
    """

    video: tuple[str, ...]
    label: str
    where: str
    split: str = ""
    spans: tuple[Span | None, ...] = (None,)
    frames: int = 0


@dataclass(frozen=True)
class Wrong:
    """A line that gives no entry, and why."""

    where: str
    why: str


@dataclass(frozen=True)
class Options:
    """What a format may need besides its file.

    Attributes:
        names: of the classes, where the file has numbers; () is unknown.
        fold: of data sets with several official splits.
    """

    names: tuple[str, ...] = ()
    fold: int = 1


Found = Iterator[Entry | Wrong]


def stretch(video: str, label: str, where: str, start: Any, end: Any, **more: Any) -> Entry | Wrong:
    """An entry for a stretch in seconds, or what is wrong with it."""
    try:
        seconds = float(start), float(end)
    except (TypeError, ValueError):
        return Wrong(where, f"{quote(str(start))} to {quote(str(end))} are not two numbers")
    if not all(map(math.isfinite, seconds)) or seconds[0] < 0:
        return Wrong(where, f"{start} to {end} is no stretch of a video")
    if seconds[1] <= seconds[0]:
        return Wrong(where, f"it ends ({end}) before it begins, or where it does ({start})")
    if not label.strip():
        return Wrong(where, "it has no label")
    spans = (Span(round(seconds[0], 6), round(seconds[1], 6)),)
    return Entry((video,), label, where, spans=spans, **more)


def whole(video: str, label: str, where: str, split: str = "") -> Entry | Wrong:
    """An entry for a whole video, or what is missing."""
    if not video or not label.strip():
        return Wrong(where, "it has no label" if video else "it names no video")
    return Entry((video,), label, where, split)


def not_this(file: Path, what: str, why: str) -> UserError:
    """The error for a file of another format."""
    return UserError(f"{file} is not {what}: {why}")


def read_text(file: Path, what: str) -> str:
    """The text of a file.

    Raises:
        UserError: it cannot be read, or is not text.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise not_this(file, what, "it is not text in UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None


def numbered_lines(file: Path, what: str) -> Iterator[tuple[str, str]]:
    """Each line that is not blank, with where it is."""
    for number, line in enumerate(read_text(file, what).splitlines(), start=1):
        if line.strip():
            yield f"{file} line {number}", line


def read_json(file: Path, what: str) -> Any:
    """What a JSON file holds.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return json.loads(read_text(file, what))
    except ValueError as error:
        raise not_this(file, what, f"it is not JSON ({error})") from None


def read_table(
    file: Path, what: str, *needed: str, lower: bool = True
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV or of a table with tabs, by the name of the column, with where each is.

    Args:
        file: the table.
        what: its format, for messages.
        needed: columns that it has to have.
        lower: whether names of columns count in lower case.

    Raises:
        UserError: a column is missing.
    """
    text = read_text(file, what)
    first = text.partition("\n")[0]
    rows = csv.reader(text.splitlines(), delimiter=max("\t,;", key=first.count))
    header = [name.strip().lower() if lower else name.strip() for name in next(rows, [])]
    for name in needed:
        if name not in header:
            raise not_this(
                file, what, f"it has no column {name!r}; its first line is {quote(first)}"
            )
    for row in filter(any, rows):
        cells = [cell.strip() for cell in row]
        yield f"{file} line {rows.line_num}", dict(zip(header, cells, strict=False))


def runs(column: list[bool]) -> Iterator[Span]:
    """The stretches of frames in which a column of a frame table is on."""
    start = 0
    for number, value in enumerate([*column, False]):
        if value and (number == 0 or not column[number - 1]):
            start = number
        elif not value and number and column[number - 1]:
            yield Span(start, number, "frames")


def name_of(label: str, options: Options, where: str) -> str | Wrong:
    """The name of a class that is written as a number, where the names are known."""
    if not options.names:
        return label
    if not label.isdecimal() or int(label) >= len(options.names):
        return Wrong(where, f"the label {quote(label)} is none of the {len(options.names)} names")
    return options.names[int(label)]

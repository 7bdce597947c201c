"""A CSV that lists videos, with their groups and splits or folds where these are known."""

from __future__ import annotations

import codecs
import csv
import itertools
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from vid3d.datasets import columns, groups, stretches
from vid3d.datasets.problems import MOST_TOLD, Problems
from vid3d.datasets.split_names import describe, splits_by_name
from vid3d.datasets.videos import ALL_COLUMNS, ListedVideo, Listing
from vid3d.errors import UserError
from vid3d.text import first_few, quote, shorten
from vid3d.video.files import VIDEO_SUFFIXES

NAME = "manifest.csv"
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
EXCEL = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # a first line that names the separator
MARKS = {  # the longer ones first: that of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UNDECODED = {"utf-8-sig": "surrogateescape"}  # a file name need not be valid text


class Lines:
    """The lines of an open file, and the newest with its number for errors to quote."""

    def __init__(self, file: TextIO):
        """Reads nothing yet."""
        self.file = file
        self.number = 0
        self.line = ""

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.line, self.number = line, self.number + 1
            yield line

    @property
    def quoted(self) -> str:
        return quote(self.line.rstrip("\r\n"))


def listing(path: Path, group_pattern: str = "") -> Listing:
    """A CSV with a header: path, label, and optional group, split and fold columns.

    With the columns start and end, or start_frame and end_frame, a line is a stretch of its file.
    The group is what the column says; where that says nothing, what `data.group_pattern` captures
    in the path; of a stretch, otherwise, the file.

    Paths are relative to the CSV or absolute; one that leads out of its folder through ".." is
    refused. The fields are separated by commas, semicolons, tabs, bars or blanks; the text is
    UTF-8, or UTF-16 that begins with its mark.

    Raises:
        UserError: names the file, and the lines with what is wrong with each.
    """
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise UserError(f"{path} is a video: give a folder of videos, or a CSV that lists them")
    problems = Problems(path)
    videos, notes = read_file(path, problems)
    videos, named = name_splits(videos, problems)
    for line, text in stretches.conflicts(videos):
        problems.add(line, text)
    problems.check()
    if not videos:
        raise UserError(f"{path} lists no videos")
    root = path.parent.absolute()
    if not any((root / video.path).exists() for video in videos):
        raise UserError(
            f"{path} line {videos[0].line}: there is no file "
            f"{shorten(root / videos[0].path, 300)}, nor any other of the {len(videos)} listed "
            "ones; paths are relative to the folder of the CSV"
        )
    listed = Listing(str(root), tuple(videos), "manifest", (*notes, *named))
    return groups.by_file(groups.by_pattern(listed, group_pattern))


def read_file(path: Path, problems: Problems) -> tuple[list[ListedVideo], list[str]]:
    """The videos of a CSV, and notes; lines with mistakes become problems.

    Raises:
        UserError: it is not such a CSV.
    """
    encoding = "UTF-8"
    try:
        encoding = encoding_of(path)
        with path.open(newline="", encoding=encoding, errors=UNDECODED.get(encoding)) as file:
            return read_rows(Lines(file), path, problems)
    except UnicodeError as error:
        raise UserError(f"{path} cannot be read as {encoding.upper()}: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def read_rows(lines: Lines, path: Path, problems: Problems) -> tuple[list[ListedVideo], list[str]]:
    """`read_file` of an open file."""
    videos: dict[str, ListedVideo] = {}
    try:
        header, rows, notes = open_table(lines, path)
        for row in filter(None, rows):
            try:
                video = read_row(header, row, lines.quoted, path.parent)
            except UserError as error:
                problems.add(lines.number, str(error))
                continue
            if before := videos.get(video.name):
                told = f"{shorten(video.name)} is already in line {before.line}"
                problems.add(lines.number, told)
                continue
            videos[video.name] = replace(video, line=lines.number)
    except csv.Error as error:
        raise UserError(
            f"{path} is not a CSV file with the columns path and label: {error}, in line "
            f"{lines.number}, {lines.quoted}"
        ) from None
    return list(videos.values()), notes


def encoding_of(path: Path) -> str:
    """The encoding by the first bytes: UTF-16 and UTF-32 begin with a mark, UTF-8 may."""
    with path.open("rb") as file:
        first = file.read(4)
    for mark, name in MARKS.items():
        if first.startswith(mark):
            return name
    return "utf-8-sig"


def open_table(lines: Lines, path: Path) -> tuple[list[str], Iterator[list[str]], list[str]]:
    """Reads the header; returns its names, the rows to come, and notes.

    Raises:
        UserError: see `columns.check_header`, or a header with NUL bytes.
    """
    ahead = iter(lines)
    first = next(ahead, "")
    sep_line = EXCEL.fullmatch(first.strip())
    if sep_line:  # what Excel writes and reads
        first = next(ahead, "")
    where = f"{path} line {max(lines.number, 1)}"
    if "\0" in first:
        raise UserError(f"{where}: it has a NUL byte; a CSV in UTF-16 has to be saved as UTF-8")
    separator = (
        sep_line[1]
        if sep_line
        else max(SEPARATORS, key=lambda mark: count_known_columns(first, mark))
    )
    rows = csv.reader(
        itertools.chain([first] * bool(first), ahead), delimiter=separator, skipinitialspace=True
    )
    header = column_names(next(rows, ()))
    notes = columns.check_header(header, first.rstrip("\r\n"), where)
    if separator != ",":
        named = SEPARATORS.get(separator, repr(separator))
        notes.append(f"the fields of the manifest are separated by {named}")
    return header, rows, notes


def column_names(header: Iterable[str]) -> list[str]:
    """The names of a header in lower case."""
    return [name.strip().lower() for name in header]


def count_known_columns(line: str, separator: str) -> int:
    """How many known columns a header has with this separator."""
    header = column_names(next(csv.reader([line], delimiter=separator, skipinitialspace=True), ()))
    return len({*columns.NEEDED, *columns.OPTIONAL, *ALL_COLUMNS} & set(header))


def read_row(header: Sequence[str], row: Sequence[str], quoted: str, folder: Path) -> ListedVideo:
    """One line of a manifest, with its split as written.

    Args:
        header: names of the columns.
        row: its cells, which may be more or fewer.
        quoted: the line, for messages.
        folder: that of the CSV.

    Raises:
        UserError: what is wrong with it.
    """
    if any(cell.strip() for cell in row[len(header) :]):
        raise UserError(
            f"more fields than columns (quote a path that has the separator in it): {quoted}"
        )
    written = dict.fromkeys(header, "") | dict(zip(header, row, strict=False))
    cells = {name: cell.strip() for name, cell in written.items() if name}
    if any("\0" in text for text in cells.values()):
        raise UserError("it has a NUL byte; a CSV in UTF-16 has to be saved as UTF-8")
    for name in columns.NEEDED:
        if not cells[name]:
            raise UserError(f"the {name} is empty: {quoted}")
    unstripped = written["path"]
    if unstripped != cells["path"] and (folder / unstripped).exists():  # a name may end in a blank
        cells["path"] = unstripped
    name = posixpath.normpath(cells["path"])
    if name == ".." or name.startswith("../"):
        raise UserError(
            f"{shorten(cells['path'])} leads out of the folder of the CSV: write an "
            "absolute path instead"
        )
    span = stretches.read_span(cells)
    return ListedVideo(
        path=name,
        label=cells["label"],
        group=cells.get("group", ""),
        split=cells.get("split", ""),
        fold=cells.get("fold", ""),
        span=span,
    )


def name_splits(
    videos: Sequence[ListedVideo], problems: Problems
) -> tuple[list[ListedVideo], list[str]]:
    """The videos of a manifest with "train", "val" and "test" for what it calls these, and notes.

    Other names, and lines without a split where others have one, are problems.
    """
    split_of = splits_by_name({video.split for video in videos})
    unsplit = [video for video in videos if not video.split]
    if len(unsplit) < len(videos):
        for video in unsplit:
            told = "the split is empty, but other lines have one: give every line train, val or "
            problems.add(video.line, f"{told}test, or none")
    for video in videos:
        if video.split and video.split not in split_of:
            told = f"split {quote(video.split)} is not train, val or test"
            problems.add(video.line, told)
    odd = any(name.lower() != split for name, split in split_of.items())
    notes = [f"the splits of the manifest by their names: {describe(split_of)}"] if odd else []
    return [replace(video, split=split_of.get(video.split, "")) for video in videos], notes


def by_fold(listed: Listing, test_fold: int, val_fold: int) -> Listing:
    """Turns the folds of a manifest into splits, where there are folds and they are wanted.

    Args:
        listed: a manifest.
        test_fold: -1 takes the lowest fold, unless the manifest has splits.
        val_fold: -1 takes the fold after the test fold; fewer than three folds leave validation
            open.

    Raises:
        UserError: a fold is not a number, or there is no such fold.
    """
    chosen = test_fold >= 0 or val_fold >= 0
    if not any(video.fold for video in listed.videos):
        if chosen:
            raise UserError(
                f"data.test_fold={test_fold} and data.val_fold={val_fold} need a manifest with a "
                "column 'fold'"
            )
        return listed
    if not chosen and any(video.split for video in listed.videos):
        unread = (
            "the column 'split' is read, and 'fold' is not: data.test_fold and data.val_fold "
            "choose folds"
        )
        return replace(listed, notes=(*listed.notes, unread))
    fold_of = fold_numbers(listed.videos)
    test_fold, val_fold, notes = choose_folds(sorted(set(fold_of.values())), test_fold, val_fold)
    split_of = {test_fold: "test", val_fold: "val"}
    videos = tuple(
        replace(video, split=split_of.get(fold_of[video.name], "train")) for video in listed.videos
    )
    return replace(listed, videos=videos, notes=(*listed.notes, *notes))


def fold_numbers(videos: Iterable[ListedVideo]) -> dict[str, int]:
    """Name of the video -> number of its fold.

    Raises:
        UserError: a fold is not a number.
    """
    numbers, wrong = {}, []
    for video in videos:
        try:
            numbers[video.name] = int(video.fold)
        except ValueError:
            line = f" (line {video.line})" if video.line else ""
            wrong.append(f"{quote(video.fold)} of {shorten(video.name)}{line}")
    if wrong:
        many = len(wrong) > 1
        raise UserError(
            f"the fold{'s' * many} {first_few(wrong, MOST_TOLD)} "
            f"{'are not whole numbers' if many else 'is not a whole number'}"
        )
    return numbers


def choose_folds(folds: Sequence[int], test_fold: int, val_fold: int) -> tuple[int, int, list[str]]:
    """The folds to test and to validate on, and a note on each that the config leaves open.

    Args:
        folds: those of the manifest, ascending.
        test_fold: see `by_fold`.
        val_fold: see `by_fold`.

    Raises:
        UserError: there is no such fold, or one would do both.
    """
    named = first_few(folds)
    for key, fold in (("test_fold", test_fold), ("val_fold", val_fold)):
        if fold >= 0 and fold not in folds:
            raise UserError(f"data.{key}={fold}: the manifest has the folds {named}")
    if list(folds) == [val_fold]:
        raise UserError(f"data.val_fold={val_fold}: the manifest has no other fold to test on")
    notes = []
    if test_fold < 0:
        test_fold = next(fold for fold in folds if fold != val_fold)
        notes.append(f"data.test_fold is not set: fold {test_fold} of {named} is the test set")
    if val_fold < 0 and len(folds) > 2:
        val_fold = folds[(folds.index(test_fold) + 1) % len(folds)]
        notes.append(f"data.val_fold is not set: fold {val_fold} is for validation")
    if val_fold == test_fold:
        raise UserError(
            f"data.val_fold and data.test_fold are both {test_fold}: validation would see the test "
            "set"
        )
    return test_fold, val_fold, notes

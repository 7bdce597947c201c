"""A CSV that lists videos, with their groups and splits or folds where these are known."""

from __future__ import annotations

import csv
import posixpath
from dataclasses import replace
from pathlib import Path

from vid3d.config import UserError
from vid3d.data.listings import SPLIT_NAMES, Listing, Video

NAME = "manifest.csv"


def listing(path: Path) -> Listing:
    """A CSV with a header: path, label, and optional group, split and fold columns.

    Paths are relative to the CSV or absolute; one that leads out of its folder through ".." is refused.

    Raises:
        UserError: names the file, the line and what is wrong with it.
    """
    videos, lines = [], {}
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            header = [name.strip().lower() for name in rows.fieldnames or ()]
            for name in ("path", "label"):
                if name not in header:
                    raise UserError(
                        f"{path} line 1: no column {name!r}; the header has to name path, label and, where known, "
                        f"group, split or fold; it has {', '.join(header) or 'nothing'}"
                    )
            rows.fieldnames = header
            for row in rows:
                video = read_row(row, f"{path} line {rows.line_num}")
                if video.path in lines:
                    raise UserError(
                        f"{path} line {rows.line_num}: {video.path} stands already in line {lines[video.path]}"
                    )
                lines[video.path] = rows.line_num
                videos.append(video)
    except csv.Error as error:
        raise UserError(f"{path} is no CSV file: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if not videos:
        raise UserError(f"{path} lists no videos")
    root = path.parent.absolute()
    if not any((root / video.path).exists() for video in videos):
        raise UserError(
            f"{path} line {lines[videos[0].path]}: there is no file {root / videos[0].path}, nor any other of the "
            f"{len(videos)} listed ones; paths are relative to the folder of the CSV"
        )
    unsplit = [video.path for video in videos if not video.split]
    if unsplit and len(unsplit) < len(videos):
        raise UserError(
            f"{path} line {lines[unsplit[0]]}: the split is empty, but other lines have one: "
            "give every line train, val or test, or none"
        )
    return Listing(str(root), tuple(videos), "manifest")


def read_row(row: dict[str | None, str | list[str] | None], where: str) -> Video:
    """One line of a manifest; `where` starts the messages of its errors."""
    if row.get(None):
        raise UserError(f"{where}: more fields than columns (quote a path that has a comma in it)")
    cells = {name: (value or "").strip() for name, value in row.items() if name}
    if any("\0" in text for text in cells.values()):
        raise UserError(f"{where}: it has a NUL byte; a CSV in UTF-16 has to be saved as UTF-8")
    for name in ("path", "label"):
        if not cells[name]:
            raise UserError(f"{where}: the {name} is empty")
    name = posixpath.normpath(cells["path"])
    if name == ".." or name.startswith("../"):
        raise UserError(
            f"{where}: {cells['path']} leads out of the folder of the CSV: write an absolute path instead"
        )
    split = cells.get("split", "").lower()
    if split and split not in SPLIT_NAMES:
        raise UserError(f"{where}: split {split!r} is not train, val or test")
    return Video(
        path=name,
        label=cells["label"],
        group=cells.get("group", ""),
        split=SPLIT_NAMES.get(split, ""),
        fold=cells.get("fold", ""),
    )


def by_fold(listed: Listing, test_fold: int, val_fold: int) -> Listing:
    """Turns the folds of a manifest into splits, where there are folds and they are wanted.

    Args:
        listed: a manifest.
        test_fold: -1 takes the lowest fold, unless the manifest has splits.
        val_fold: -1 takes the fold after the test fold; fewer than three folds leave validation open.

    Raises:
        UserError: a fold is no number, or there is no such fold.
    """
    has_folds = any(video.fold for video in listed.videos)
    if not has_folds:
        if test_fold >= 0 or val_fold >= 0:
            raise UserError(
                f"data.test_fold={test_fold} and data.val_fold={val_fold} need a manifest with a column 'fold'"
            )
        return listed
    if test_fold < 0 and val_fold < 0 and any(video.split for video in listed.videos):
        return listed
    numbers = {}
    for video in listed.videos:
        try:
            numbers[video.path] = int(video.fold)
        except ValueError:
            raise UserError(f"the fold {video.fold!r} of {video.path} is no whole number") from None
    folds = sorted(set(numbers.values()))
    named = ", ".join(map(str, folds))
    notes = []
    for key, fold in (("test_fold", test_fold), ("val_fold", val_fold)):
        if fold >= 0 and fold not in folds:
            raise UserError(f"data.{key}={fold}: the manifest has the folds {named}")
    if folds == [val_fold]:
        raise UserError(f"data.val_fold={val_fold}: the manifest has no other fold to test on")
    if test_fold < 0:
        test_fold = next(fold for fold in folds if fold != val_fold)
        notes.append(f"data.test_fold is not set: fold {test_fold} of {named} is the test set")
    if val_fold < 0 and len(folds) > 2:
        val_fold = folds[(folds.index(test_fold) + 1) % len(folds)]
        notes.append(f"data.val_fold is not set: fold {val_fold} is for validation")
    if val_fold == test_fold:
        raise UserError(
            f"data.val_fold and data.test_fold are both {test_fold}: validation would see the test set"
        )
    sides = {test_fold: "test", val_fold: "val"}
    videos = tuple(
        replace(video, split=sides.get(numbers[video.path], "train")) for video in listed.videos
    )
    return replace(listed, videos=videos, notes=(*listed.notes, *notes))

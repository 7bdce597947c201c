"""Which folders are classes and which are splits, judged by their names and places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vid3d.datasets.split_names import FOLD, are_splits, describe, splits_by_name
from vid3d.errors import UserError
from vid3d.text import first_few

REMEDY = "or list the videos in a manifest.csv with a column 'split'"


class Layout(NamedTuple):
    """Where the class and the split are in the path of a video.

    Attributes:
        label_at: index of the class folder in the path.
        splits: name of a folder -> its split; {} where there are none.
        split_at: index of the split folder in the path.
        notes: what was taken from the names, for the report.
    """

    label_at: int
    splits: dict[str, str]
    split_at: int
    notes: list[str]


def find_layout(root: Path, files: Sequence[str], classes: Sequence[str]) -> Layout:
    """The layout of a folder of videos: its top folders are classes or splits.

    Args:
        root: the folder, for messages.
        files: the videos in it, relative and with "/".
        classes: known names of classes; where the top folders are all of them, or some of them,
            they are not splits.

    Raises:
        UserError: folders that may be splits as well as classes, or splits that only some of the
            videos are in.
    """
    folders = [path.split("/")[:-1] for path in files if "/" in path]
    tops: dict[str, set[str]] = {}
    for first, *below in folders:
        tops.setdefault(first, set()).update(below[:1])
    names = {" ".join(top.split()) for top in tops}
    are_classes = bool(classes) and (names <= set(classes) or names >= set(classes))
    if not are_classes and (splits := splits_on_top(root, tops)):
        return Layout(
            1, splits, 0, [f"these folders are splits by their names: {describe(splits)}"]
        )
    for place in range(1, min(map(len, folders), default=0)):
        below_classes = {parts[place] for parts in folders}
        splits = splits_by_name(below_classes)
        if splits.keys() == below_classes and are_splits(splits.values()):
            note = (
                f"these folders in the class folders are splits by their names: {describe(splits)}"
            )
            return Layout(0, splits, place, [note])
    check_scattered(root, folders)
    return Layout(0, {}, 0, [] if are_classes else note_equal_folders(root, tops))


def splits_on_top(root: Path, tops: dict[str, set[str]]) -> dict[str, str]:
    """Top folder -> split, or {} where they are classes.

    Args:
        root: the folder, for messages.
        tops: top folder -> the names of the folders in it.

    Raises:
        UserError: some of them look like splits and others do not.
    """
    splits = splits_by_name(tops)
    others = sorted(tops.keys() - splits)
    if not others:
        alone = len(splits) == 1 and not any(tops.values())  # one class, whatever it is called
        return {} if alone else splits
    if are_splits(splits.values()):
        raise UserError(
            f"{root} holds the splits {first_few(sorted(splits))} and beside them "
            f"{first_few(others, 3)}: move those away, {REMEDY}; where all of them are classes, "
            "name them in data.classes"
        )
    if splits and (shared := set.intersection(*tops.values())):
        raise UserError(
            f"{root} holds {first_few(sorted(splits))}, the name of a split, beside "
            f"{first_few(others, 3)}, with folders of the same names in them "
            f"({first_few(sorted(shared), 3)}): if they are splits, call them train, val and test, "
            f"{REMEDY}; if they are classes, name them in data.classes"
        )
    return {}


def check_scattered(root: Path, folders: Sequence[Sequence[str]]) -> None:
    """Raises a UserError where only some of the videos are in folders with names of splits."""
    for place in range(1, max(map(len, folders), default=0)):
        for label in sorted({parts[0] for parts in folders}):
            below = {p[place] for p in folders if p[0] == label and len(p) > place}
            splits = splits_by_name(below)
            if are_splits(splits.values()):
                outside = next(
                    "/".join(p) for p in folders if len(p) <= place or p[place] not in splits
                )
                raise UserError(
                    f"the class folder {root / label} holds the splits "
                    f"{first_few(sorted(splits))}, but the videos in {outside} are in none: sort "
                    f"all of them in, {REMEDY}"
                )


def note_equal_folders(root: Path, tops: dict[str, set[str]]) -> list[str]:
    """A note where all class folders hold folders of the same names: those may be the classes.

    Raises:
        UserError: the class folders are numbered folds or splits.
    """
    shared = set.intersection(*tops.values()) if len(tops) > 1 else set()
    if len(shared) < 2:
        return []
    named = first_few(sorted(shared), 3)
    if all(FOLD.fullmatch(top) for top in tops):
        raise UserError(
            f"{root} holds the folds {first_few(sorted(tops), 3)}, and in each the folders "
            f"{named}: list the videos in a manifest.csv with a column 'fold', or name the folds "
            "in data.classes if they are classes"
        )
    return [
        f"all {len(tops)} class folders, such as {sorted(tops)[0]!r}, hold folders of the same "
        f"names ({named}): if these are the classes, and what is above them splits, call those "
        "train, val and test; if they are persons or recordings, data.group_pattern keeps each in "
        "one split"
    ]

"""Class names: which are equal, which are wanted, and which look alike."""

from __future__ import annotations

import difflib
import os
import unicodedata
from dataclasses import replace

from vid3d.datasets.videos import ListedVideo, Listing
from vid3d.errors import UserError
from vid3d.text import first_few


def tidy(name: str) -> str:
    """A class name without outer blanks, and with single ones inside."""
    return " ".join(name.split())


def tidy_labels(listing: Listing) -> Listing:
    """The listing with tidy class names, and a note where that changes any.

    Raises:
        UserError: a name is blank.
    """
    names = sorted({video.label for video in listing.videos})
    changed = [name for name in names if name != tidy(name)]
    if not changed:
        return listing
    if empty := [video.name for video in listing.videos if not tidy(video.label)]:
        raise UserError(f"the name of the class of {empty[0]!r} is nothing but blanks: rename it")
    merged = [f"{n!r} is one class with {tidy(n)!r}" for n in changed if tidy(n) in names]
    others = [f"{n!r} is {tidy(n)!r}" for n in changed if tidy(n) not in names]
    note = f"blanks around class names are ignored: {first_few([*merged, *others])}"
    videos = tuple(replace(video, label=tidy(video.label)) for video in listing.videos)
    return replace(listing, videos=videos, notes=(*listing.notes, note))


def check_distinct(classes: tuple[str, ...], root: str) -> None:
    """Raises a UserError where class names differ only in case or in the encoding of accents."""
    seen: dict[str, str] = {}
    for name in classes:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            what = "case" if other.casefold() == name.casefold() else "encoding"
            raise UserError(
                f"{root} has the classes {other!r} and {name!r}, which differ in {what} only: give "
                "them one name, or name all classes in data.classes to keep them apart"
            )


def choose_classes(
    listing: Listing, wanted: tuple[str, ...]
) -> tuple[tuple[ListedVideo, ...], tuple[str, ...]]:
    """Keeps the videos of the wanted classes, in the order of the labels.

    All classes, sorted, where none is named.

    Raises:
        UserError: a wanted class has no videos (the near one is suggested), or is named twice.
    """
    videos = listing.videos
    present = sorted({video.label for video in videos})
    for name in wanted:
        if name not in present:
            raise UserError(
                f"data.classes: no videos of the class {name!r}{suggestion(name, present)}"
            )
        if wanted.count(name) > 1:
            raise UserError(f"data.classes names {name!r} twice")
    classes = wanted or tuple(present)
    return tuple(video for video in videos if video.label in classes), classes


def check_several(listing: Listing, classes: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    """Makes sure that there are two classes or more.

    Raises:
        UserError: there is one, or none.
    """
    videos = listing.videos
    if len(classes) < 2:
        below = {video.path.split("/")[1] for video in videos if video.path.count("/") > 1}
        deeper = listing.kind == "folders" and not wanted and len(below) > 1
        remedy = (
            f"; if the folders in it ({first_few(sorted(below), 3)}) are the classes or the "
            f"splits, set data.root to {os.path.join(listing.root, videos[0].path.split('/')[0])}"
        )
        raise UserError(
            f"there is one class only ({classes[0]!r}): a classifier needs two or "
            f"more{remedy * deeper}"
        )


def suggestion(name: str, known: tuple[str, ...] | list[str]) -> str:
    """`; did you mean 'x'?` where a known name is near, otherwise what there is."""
    if near := nearest(name, known):
        return f"; did you mean {near!r}?"
    return f"; there are {first_few(known)}"


def nearest(name: str, known: tuple[str, ...] | list[str]) -> str:
    """The known name that is most similar, ignoring case; "" where none does."""
    folded = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1)
    return folded[near[0]] if near else ""

"""Which files of a folder are videos by their names."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vid3d.errors import UserError

VIDEO_SUFFIXES = frozenset(
    [
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m1v", ".m2t"),
        *(".m2ts", ".m2v", ".m4v", ".mkv", ".mod", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts"),
        *(".mxf", ".nut", ".ogv", ".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm", ".wmv"),
        *(".264", ".265", ".h264", ".h265", ".hevc", ".ivf", ".mjpeg", ".mjpg", ".obu", ".y4m"),
    ]
)
TEXT_SUFFIXES = (".csv", ".txt", ".md", ".json")  # not worth a note beside videos


def find_videos(root: Path) -> tuple[list[str], Counter[str]]:
    """The relative paths of the videos below a folder, sorted, and the other files by suffix.

    Files that go with a data set, such as lists and notes, are not counted.

    Raises:
        UserError: a folder cannot be read.
    """
    videos: list[str] = []
    others: Counter[str] = Counter()
    for path in walk(root):
        suffix = posixpath.splitext(path)[1].lower()
        if suffix in VIDEO_SUFFIXES:
            videos.append(path)
        elif suffix not in TEXT_SUFFIXES:
            others[suffix or "no suffix"] += 1
    return videos, others


def left_out(others: Counter[str]) -> str:
    """Says which files of `find_videos` are not videos."""
    count = others.total()
    counts = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(5))
    noun = (
        "1 file is not a video by its name and was"
        if count == 1
        else (f"{count} files are not videos by their names and were")
    )
    return f"{noun} left out: {counts}"


def walk(root: Path) -> Iterator[str]:
    """Relative paths of all files below root, sorted, without hidden ones.

    Links are followed, but not in cycles.

    Raises:
        UserError: a folder cannot be read.
    """

    def below(directory: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
        try:
            with os.scandir(directory) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"cannot read the folder {directory}: {error.strerror}") from None
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if not is_folder(entry):
                yield prefix + entry.name
                continue
            status = os.stat(entry.path)
            identity = (status.st_dev, status.st_ino)
            if identity not in above:
                yield from below(entry.path, f"{prefix}{entry.name}/", above | {identity})

    status = os.stat(root)
    yield from below(str(root), "", frozenset({(status.st_dev, status.st_ino)}))


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder or links to one.

    A link to itself counts as an unreadable file.
    """
    try:
        return entry.is_dir()
    except OSError:
        return False

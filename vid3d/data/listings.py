"""Videos as a source lists them, and the plain source: a folder with one sub-folder a class."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vid3d.config import UserError

VIDEO_SUFFIXES = frozenset(
    [
        *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    ]
)
# How people call the three splits, in folder names and in the split column of a manifest.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# The names of UCF-101, which others have taken over: class, recording, clip.
UCF_NAME = re.compile(r"v_(?P<label>.+)_g(?P<group>\d+)_c\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Video:
    """One video as it was listed.

    Attributes:
        path: relative to the root, with "/"; a manifest may hold absolute ones; "builder/split/000123" for tfds.
        label: name of the class.
        group: names the recording that the video was cut from; "" where that is unknown.
        split: "train", "val", "test", or "" where it is still to be assigned.
        fold: as the manifest has it, or "".
    """

    path: str
    label: str
    group: str = ""
    split: str = ""
    fold: str = ""


@dataclass(frozen=True)
class Listing:
    """What a source lists, before splits are assigned.

    Attributes:
        root: absolute folder of the paths.
        videos: in any order; their splits are those that the source names.
        kind: what the splits of the source are called in the protocol, such as "manifest".
        notes: sentences for the report.
    """

    root: str
    videos: tuple[Video, ...]
    kind: str
    notes: tuple[str, ...] = ()


def folder(root: Path, group_pattern: str) -> Listing:
    """One sub-folder a class, any depth below it; train/, val/ and test/ on top are splits.

    Hidden files and folders are skipped, symbolic links are followed. Without a pattern, names as in UCF-101 (all of
    them) still tell the recordings.

    Raises:
        UserError: no videos, videos outside of class folders, or split folders beside others.
    """
    files, others = [], Counter()
    for path in walk(root):
        suffix = posixpath.splitext(path)[1].lower()
        if suffix in VIDEO_SUFFIXES:
            files.append(path)
        elif suffix not in (".csv", ".txt", ".md", ".json"):
            others[suffix or "no suffix"] += 1
    if not files:
        seen = f" ({sum(others.values())} other files)" if others else ""
        raise UserError(
            f"no videos in {root}{seen}: expected one sub-folder a class with videos in it"
        )
    notes = []
    if others:
        counts = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(5))
        notes.append(
            f"{sum(others.values())} files are no videos by their names and were left out: {counts}"
        )
    splits = split_folders(root, {path.split("/")[0] for path in files if "/" in path})
    depth = 2 if splits else 1
    loose = [path for path in files if path.count("/") < depth]
    if len(loose) == len(files):
        raise UserError(
            f"the videos in {root} are not sorted into classes ({loose[0]}): put them into one sub-folder a class"
        )
    if loose:
        notes.append(
            f"{len(loose)} videos are in no class folder and were left out, such as {loose[0]}"
        )
    pattern = compile_group_pattern(group_pattern)
    videos = []
    for path in files:
        parts = path.split("/")
        if len(parts) > depth:
            split = splits[parts[0]] if splits else ""
            videos.append(Video(path, parts[depth - 1], group=group_of(path, pattern), split=split))
    if not pattern and all(UCF_NAME.match(stem_of(video.path)) for video in videos):
        videos = [replace(video, group=ucf_group(video)) for video in videos]
        notes.append("the names are like UCF-101's: class and gNN tell the recording")
    return Listing(str(root), tuple(videos), "folders", tuple(notes))


def stem_of(path: str) -> str:
    """File name without its folder and suffix."""
    return posixpath.splitext(posixpath.basename(path))[0]


def ucf_group(video: Video) -> str:
    """The recording of a video with a UCF-101 name: g07 of one class and of another are different ones."""
    return f"{video.label}_g{int(UCF_NAME.match(stem_of(video.path))['group']):02d}"


def split_folders(root: Path, tops: set[str]) -> dict[str, str]:
    """Folder name -> split where the top folders are splits, {} where they are classes.

    Raises:
        UserError: some are splits and others are not.
    """
    named = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    others = sorted(tops - set(named))
    if "train" not in named.values() or (others and len(named) == 1):
        return {}
    if others:
        raise UserError(
            f"{root} holds the splits {', '.join(sorted(named))} and beside them {', '.join(others[:3])}: "
            "move those away, or list the videos in a manifest.csv"
        )
    return named


def walk(root: Path) -> Iterator[str]:
    """Relative paths of all files below root, sorted, without hidden ones; follows links, but never in a circle.

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
    """Whether it is one, or leads to one; a link that leads round to itself is a file that cannot be read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def compile_group_pattern(pattern: str) -> re.Pattern[str] | None:
    """Compiles `data.group_pattern`; None where it is empty.

    Raises:
        UserError: it is no regular expression.
    """
    try:
        return re.compile(pattern) if pattern else None
    except re.error as error:
        raise UserError(
            f"data.group_pattern={pattern!r} is no regular expression: {error}"
        ) from None


def group_of(path: str, pattern: re.Pattern[str] | None) -> str:
    """What the pattern captures in the path (without captures, what it matches), or ""."""
    match = pattern.search(path) if pattern else None
    if not match:
        return ""
    return "/".join(part or "" for part in match.groups()) or match.group()

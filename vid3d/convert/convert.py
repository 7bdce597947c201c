"""`vid3d convert`: the lists of a format become a manifest of the videos that are there."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from vid3d import storage
from vid3d.convert.entries import Entry, Options, Wrong
from vid3d.convert.formats import FORMATS, Format
from vid3d.convert.library import Library
from vid3d.datasets import manifest
from vid3d.datasets.split_names import parse_name
from vid3d.datasets.videos import ListedVideo, span_cells, span_columns
from vid3d.errors import UserError, suggest
from vid3d.text import first_few
from vid3d.video.container import VideoError
from vid3d.video.frame_folder import find_frames


class Line(NamedTuple):
    """A line of the manifest, and what it comes from."""

    video: ListedVideo
    where: str


@dataclass
class Converted:
    """What became of the lists.

    Attributes:
        lines: of the manifest.
        wrong: lines of the lists that gave none.
        missing: names of the videos that are not there; their lines are left out.
        differing: lines that say something else of a folder of frames than what is on disk.
        notes: for the user.
    """

    lines: list[Line] = field(default_factory=list)
    wrong: list[Wrong] = field(default_factory=list)
    missing: dict[str, None] = field(default_factory=dict)
    differing: list[Wrong] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def convert(
    name: str,
    inputs: Sequence[str],
    output: str,
    *,
    videos: str = "",
    labels: str = "",
    fold: int = 1,
) -> Converted:
    """Reads lists and writes a manifest.

    Args:
        name: of the format.
        inputs: files or folders; of several files, those named after splits are these splits.
        output: the manifest.
        videos: the folder of the videos; by default that of the first input.
        labels: a file with the names of the classes, one a line, or a list in JSON.
        fold: of data sets with several official splits.

    Raises:
        UserError: no such format or file, a file of another format, or no video that is there.
    """
    if name not in FORMATS:
        known = first_few(FORMATS, len(FORMATS))
        raise UserError(f"no format {name!r}{suggest(name, FORMATS)}; there are {known}")
    chosen, options = FORMATS[name], Options(read_names(labels), fold)
    files = [path for text in inputs for path in input_files(Path(text), chosen)]
    root = Path(videos) if videos else (files[0] if files[0].is_dir() else files[0].parent)
    if not root.is_dir():
        raise UserError(f"--videos={videos}: there is no such folder")
    library, done = Library(root.absolute()), Converted()
    here = Path(output).absolute().parent
    for file in files:
        split = split_of(file) if len(files) > 1 and not chosen.is_per_video else ""
        for found in chosen.read(file, options):
            add(done, found, library, here, split)
    if not done.lines:
        reason = f"{done.wrong[0].where}: {done.wrong[0].why}" if done.wrong else "no line"
        if done.missing:
            reason = f"{len(done.missing)} are not there, such as {first_few(done.missing, 3)}"
        raise UserError(f"none of the videos in {files[0]} is in {root}: {reason}; name their "
                        "folder with --videos=DIR")  # fmt: skip
    finish(done)
    storage.write_whole(Path(output), table(done))
    check(Path(output), done)
    return done


def input_files(path: Path, chosen: Format) -> list[Path]:
    """The files to read: a folder stands for those in it, unless the format is a folder."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if not path.is_dir() or chosen.takes_folder:
        return [path]
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in chosen.suffixes)
    if not files:
        raise UserError(f"{path} holds no file with the suffix {' or '.join(chosen.suffixes)}")
    return files


def split_of(file: Path) -> str:
    """The split that a file is named after, or ""."""
    return parse_name(file.stem)[0]


def read_names(labels: str) -> tuple[str, ...]:
    """The names of classes in a file; "12 name", as in classInd.txt, is the name alone."""
    if not labels:
        return ()
    try:
        text = Path(labels).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--labels={labels} cannot be read: {error}") from None
    if labels.lower().endswith(".json"):
        try:
            content = json.loads(text)
        except ValueError as error:
            raise UserError(f"--labels={labels} is not JSON: {error}") from None
        if isinstance(content, dict):  # name -> number
            return tuple(sorted(content, key=lambda name: int(content[name])))
        return tuple("_".join(c) if isinstance(c, list) else str(c) for c in content)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if all(line.split()[0].isdecimal() and len(line.split()) > 1 for line in lines):
        return tuple(line.split(maxsplit=1)[1] for line in lines)
    return tuple(lines)


def add(done: Converted, found: Entry | Wrong, library: Library, here: Path, split: str) -> None:
    """Adds what a format found: a line where the video is there."""
    if isinstance(found, Wrong):
        done.wrong.append(found)
        return
    for name, span in zip(found.video, found.spans, strict=True):
        place = library.find(name)
        if isinstance(place, str):
            done.wrong.append(Wrong(found.where, place))
            return
        if place is not None:
            path = str(place.relative_to(here) if place.is_relative_to(here) else place)
            path = path.replace(os.sep, "/")
            video = ListedVideo(path, found.label.strip(), split=found.split or split, span=span)
            done.lines.append(Line(video, found.where))
            if found.frames and (why := differs(place, found.frames)):
                done.differing.append(Wrong(found.where, f"{path} {why}"))
            return
    done.missing[found.video[-1]] = None


def differs(folder: Path, count: int) -> str:
    """What is other on disk than a number of frames in a folder, or ""."""
    try:
        total = find_frames(str(folder)).total
    except VideoError as error:
        return f"has {count} frames by the list; on disk: {error}"
    return "" if total == count else f"has {count} frames by the list, and {total} on disk"


def finish(done: Converted) -> None:
    """Leaves out what is there twice, and splits that not all lines have."""
    seen: dict[str, Line] = {}
    for line in done.lines:
        before = seen.setdefault(line.video.name, line)
        if before is not line:
            same = before.video.label == line.video.label
            what = "already" if same else f"already, as {before.video.label!r},"
            done.wrong.append(Wrong(line.where, f"{line.video.name} is {what} in {before.where}"))
    done.lines = list(seen.values())
    splits = {line.video.split for line in done.lines}
    if "" in splits and len(splits) > 1:
        done.lines = [Line(replace(v, split=""), where) for v, where in done.lines]
        done.notes.append("some lines have no split: vid3d draws the splits of all")
    names = {line.video.label for line in done.lines}
    if mirrored := sorted(name for name in names if mirror(name) in names - {name}):
        done.notes.append(
            f"classes that mirror each other, such as {mirrored[0]!r} and {mirror(mirrored[0])!r}: "
            "train without flips, --config.augment.flip=off"
        )


def mirror(name: str) -> str:
    """The name of a class with left for right, and right for left."""
    other = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    return re.sub("left|right|Left|Right", lambda found: other[found[0]], name)


def table(done: Converted) -> str:
    """The text of the manifest."""
    videos = [line.video for line in done.lines]
    columns = (*span_columns(videos), *["split"] * any(video.split for video in videos))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", "label", *columns))
    for video in videos:
        cells = span_cells(video, [name for name in columns if name != "split"])
        rows.writerow((video.path, video.label, *cells, *[video.split] * ("split" in columns)))
    return text.getvalue()


def check(output: Path, done: Converted) -> None:
    """Reads the manifest back, and notes what still has to be put right in it."""
    try:
        done.notes += manifest.listing(output).notes
    except UserError as error:
        done.notes.append(f"before you train on it, put this right: {error}")

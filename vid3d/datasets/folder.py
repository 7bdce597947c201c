"""A folder of videos with one sub-folder per class."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vid3d.datasets import layout
from vid3d.datasets.classes import tidy
from vid3d.datasets.layout import Layout
from vid3d.datasets.videos import ListedVideo, Listing
from vid3d.errors import UserError
from vid3d.text import first_few, quote
from vid3d.video.files import find_videos, left_out
from vid3d.video.frame_folder import find_frame_folders

# File names as in UCF-101, which other data sets copy: class, recording, clip.
UCF_NAME = re.compile(r"v_(?P<label>.+)_g(?P<group>\d+)_c\d+$", re.IGNORECASE)


def listing(
    root: Path, classes: Sequence[str] = (), *, frames_fps: float = 0.0, ucf_groups: bool = True
) -> Listing:
    """Videos with one sub-folder per class; train/, val/ and test/ above or below it are splits.

    Hidden files and folders are skipped, symbolic links are followed.

    Args:
        root: the folder.
        classes: known class names, even where they look like those of splits.
        frames_fps: `data.frames_fps`; above 0, folders of frames are videos, too.
        ucf_groups: take the groups from the names where all are like UCF-101's.

    Raises:
        UserError: no videos, videos outside of class folders, or folders that may be splits as well
            as classes.
    """
    files, notes = find_files(root, frames_fps)
    found = layout.find_layout(root, files, classes)
    sorted_in, loose = split_by_depth(root, files, found)
    videos = [to_video(path, found) for path in sorted_in]
    notes += [*found.notes, *loose, *note_empty(root, found, sorted_in, classes)]
    if ucf_groups and all(UCF_NAME.match(stem_of(video.path)) for video in videos):
        videos = [replace(video, group=ucf_group(video)) for video in videos]
        notes.append("the names are like UCF-101's: class and gNN name the recording")
    return Listing(str(root), tuple(videos), "folders", tuple(notes))


def find_files(root: Path, frames_fps: float) -> tuple[list[str], list[str]]:
    """The relative paths of the videos below a folder, and a note on the other files.

    Raises:
        UserError: there are no videos.
    """
    files, others = find_videos(root)
    folders = find_frame_folders(root) if not files or frames_fps else {}
    if frames_fps:
        files = sorted([*files, *folders])
        others -= sum(folders.values(), Counter())
    elif folders:
        raise UserError(
            f"no videos in {root}, but {len(folders)} folders of numbered pictures, such as "
            f"{next(iter(folders))}: set data.frames_fps to their frames per second"
        )
    if not files:
        seen = f" ({others.total()} other files)" if others else ""
        raise UserError(
            f"no videos in {root}{seen}: expected one sub-folder per class with videos in it"
        )
    return files, [left_out(others)] if others else []


def split_by_depth(root: Path, files: Sequence[str], found: Layout) -> tuple[list[str], list[str]]:
    """The videos that are in class folders, and a note on the others.

    Raises:
        UserError: none is in a class folder.
    """
    depth = found.label_at + 1
    sorted_in = [path for path in files if path.count("/") >= depth]
    loose = [path for path in files if path.count("/") < depth]
    if not sorted_in:
        below = f" below the splits {first_few(sorted(found.splits))}" if found.splits else ""
        raise UserError(
            f"the videos in {root} are not sorted into classes{below} ({loose[0]}): put them into "
            "one sub-folder per class"
        )
    if not loose:
        return sorted_in, []
    note = f"{len(loose)} videos are in no class folder and were left out, such as {loose[0]}"
    return sorted_in, [note]


def note_empty(
    root: Path, found: Layout, files: Sequence[str], classes: Sequence[str]
) -> list[str]:
    """A note on the class folders without videos, whose classes are missing from the others.

    Args:
        root: the folder.
        found: where the class folders are.
        files: the videos that are in some.
        classes: those that are wanted; () is all.
    """
    labels = {tidy(path.split("/")[found.label_at]) for path in files}
    above = {path.split("/")[0] for path in files} if found.label_at else {""}
    folders = [Path(root, name) for name in sorted(above)]
    names = {tidy(p.name) for folder in folders for p in folder.iterdir() if is_shown_folder(p)}
    empty = sorted(name for name in names - labels if not classes or name in classes)
    if not empty:
        return []
    what = "1 class folder holds" if len(empty) == 1 else f"{len(empty)} class folders hold"
    return [f"{what} no videos: {first_few(map(quote, empty))}"]


def is_shown_folder(path: Path) -> bool:
    """Whether a path is a folder in which videos are looked for."""
    return path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"


def to_video(path: str, found: Layout) -> ListedVideo:
    """A video with the class and the split that its path tells."""
    parts = path.split("/")
    split = found.splits[parts[found.split_at]] if found.splits else ""
    return ListedVideo(path, parts[found.label_at], split=split)


def stem_of(path: str) -> str:
    """File name without its folder and suffix."""
    return posixpath.splitext(posixpath.basename(path))[0]


def ucf_group(video: ListedVideo) -> str:
    """The recording of a video with a UCF-101 name: its class and number together."""
    match = UCF_NAME.match(stem_of(video.path))
    if match is None:
        raise ValueError(f"{video.path} has no UCF-101 name")
    return f"{video.label}_g{int(match['group']):02d}"

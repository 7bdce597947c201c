"""The videos behind the paths of a command line, and where their annotated copies go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vid3d.errors import UserError
from vid3d.video.files import VIDEO_SUFFIXES, find_videos, left_out
from vid3d.video.frame_folder import find_frame_folders, holds_frames


class Found(NamedTuple):
    """The videos behind the paths of a command line.

    Attributes:
        videos: path -> the path of its copy below the folder of annotated copies.
        empty: folder -> why it has no videos.
        notes: sentences about files that were left out.
    """

    videos: dict[str, str]
    empty: dict[str, str]
    notes: list[str]


def collect(paths: Sequence[str | Path], frames_fps: float = 0.0) -> Found:
    """The videos to label.

    A path that is not a folder counts as a file, even if it does not exist: reading it reports
    that.

    Args:
        paths: videos, and folders that are searched for videos at any depth.
        frames_fps: `data.frames_fps`; above 0, folders of frames are videos, too.

    Raises:
        UserError: there are only folders without videos.
    """
    found = Found({}, {}, [])
    for given in paths:
        path = Path(given)
        if not path.is_dir() or (frames_fps and holds_frames(os.listdir(path))):
            found.videos[str(given)] = path.name if path.is_file() else f"{path.name}.mp4"
            continue
        below, others = find_videos(path)
        folders = find_frame_folders(path) if not below or frames_fps else {}
        if frames_fps:
            below = sorted([*below, *folders])
            others -= sum(folders.values(), Counter())
        if not below:
            found.empty[str(given)] = f"{path}: {why_empty(path, folders)}"
        elif others:
            found.notes.append(f"{path}: {left_out(others)}")
        names = ((name, f"{name}.mp4" if name in folders else name) for name in below)
        found.videos.update((str(path / name), copy) for name, copy in names)
    if found.empty and not found.videos:
        raise UserError(next(iter(found.empty.values())))
    return found


def why_empty(path: Path, folders: Mapping[str, object]) -> str:
    """Why a folder has no videos."""
    if folders or holds_frames(os.listdir(path)):
        return (
            "no videos in this folder, but numbered pictures: --config.data.frames_fps=25 takes "
            "them for the frames of a video, 25 a second"
        )
    return f"no videos in this folder; looked for {', '.join(sorted(VIDEO_SUFFIXES))}"


def name_copies(videos: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """The path of each video's annotated copy: an .mp4 of its name, numbered if names coincide.

    Args:
        videos: path -> the path of its copy below the folder, with any ending.
        folder: is made where it is missing.

    Raises:
        UserError: a copy would overwrite a video, or the folder is a file, has no parent folder, or
            cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output={folder} is a file: give a folder for the annotated videos")
    if not folder.parent.exists():
        raise UserError(f"cannot write to --output={folder}: there is no folder {folder.parent}")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to --output={folder}: {error.strerror}") from None
    originals = {Path(path).resolve() for path in videos}
    copies: dict[str, Path] = {}
    taken: set[Path] = set()
    for path, name in ((path, Path(name)) for path, name in videos.items()):
        copy, number = folder / name.with_suffix(".mp4"), 1
        while copy in taken:
            number += 1
            copy = folder / name.with_name(f"{name.stem}-{number}.mp4")
        if copy.resolve() in originals:
            raise UserError(f"--output={folder} would overwrite {copy}: give another folder")
        taken.add(copy)
        copies[path] = copy
    return copies

"""UCF-101 and its official train/test lists."""

from __future__ import annotations

import posixpath
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from vid3d.datasets.folder import UCF_NAME, stem_of, ucf_group
from vid3d.datasets.videos import ListedVideo, Listing
from vid3d.errors import UserError
from vid3d.video.files import VIDEO_SUFFIXES, walk

LISTS = "ucfTrainTestlist"


def listing(root: Path, protocol: str, classes: tuple[str, ...]) -> Listing:
    """UCF-101: `v_Class_gNN_cNN.avi` in class folders or one, with its lists in or beside the root.

    A group is a class together with its number: g07 of one class and g07 of another are different
    recordings. Names are compared without case, since the lists say HandStandPushups where folders
    say HandstandPushups.

    Source: Soomro, Zamir, Shah: UCF101, CRCV-TR-12-01, 2012, with the train/test lists for action
    recognition.

    Args:
        root: the folder.
        protocol: `data.protocol`; with "officialN" every file of that list has to be there.
        classes: `data.classes`; () is all.

    Raises:
        UserError: no UCF-101 videos, no lists where the protocol needs them, or files of the lists
            are missing.
    """
    found, others = find_files(root)
    lists = next((d for d in (root / LISTS, root.parent / LISTS) if d.is_dir()), None)
    official = protocol.startswith("official")
    if official and not lists:
        raise UserError(f"data.protocol={protocol} needs the folder {LISTS} in {root} or beside it")
    listed = read_lists(lists, protocol) if lists else {}
    if classes:
        wanted = {name.lower() for name in classes}
        listed = {stem: entry for stem, entry in listed.items() if label_of(stem) in wanted}
    notes = check_missing(listed, found, f"{lists} are missing in {root}", protocol)
    videos = to_videos(found, class_names(lists) if lists else [])
    if official:
        videos, unlisted = by_list(videos, listed)
        if unlisted and not classes:
            notes.append(
                f"{len(unlisted)} videos are in no list of {protocol}, such as {unlisted[0]}"
            )
    if others:
        notes.append(f"{len(others)} videos have no UCF-101 name, such as {others[0]}")
    return Listing(str(root), tuple(videos), protocol, tuple(notes))


def check_missing(
    listed: Mapping[str, tuple[str, str]], found: Container[str], where: str, protocol: str
) -> list[str]:
    """A note on the videos that the lists name and the folder lacks.

    Args:
        listed: see `read_lists`.
        found: lower-case file names without suffix.
        where: says which lists and which folder.
        protocol: `data.protocol`.

    Raises:
        UserError: some are missing, and the protocol is official.
    """
    missing = [name for stem, (name, _) in sorted(listed.items()) if stem not in found]
    if not missing:
        return []
    names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    line = f"{len(missing)} of the {len(listed)} videos in {where}: {names}"
    if protocol.startswith("official"):
        raise UserError(f"{line}; without them the accuracy is not that of {protocol}")
    return [line]


def to_videos(found: Mapping[str, str], names: Iterable[str]) -> list[ListedVideo]:
    """The files as videos with class and recording.

    Args:
        found: lower-case file name without suffix -> path.
        names: of the classes, in the spelling of the lists.
    """
    spelling = {name.lower(): name for name in names}
    videos = []
    for _, path in sorted(found.items()):
        label = label_of(stem_of(path))
        video = ListedVideo(path, spelling.setdefault(label.lower(), label))
        videos.append(replace(video, group=ucf_group(video)))
    return videos


def by_list(
    videos: Iterable[ListedVideo], listed: Mapping[str, tuple[str, str]]
) -> tuple[list[ListedVideo], list[str]]:
    """The videos that are listed, with their splits, and the paths of the others."""
    chosen, unlisted = [], []
    for video in videos:
        if entry := listed.get(stem_of(video.path).lower()):
            chosen.append(replace(video, split=entry[1]))
        else:
            unlisted.append(video.path)
    return chosen, unlisted


def find_files(root: Path) -> tuple[dict[str, str], list[str]]:
    """Lower-case file name without suffix -> path; and the paths of videos with other names.

    Raises:
        UserError: there are none, or one is there twice.
    """
    found: dict[str, str] = {}
    others = []
    for path in walk(root):
        stem, suffix = stem_of(path), posixpath.splitext(path)[1]
        if suffix.lower() not in VIDEO_SUFFIXES:
            continue
        if not UCF_NAME.match(stem):
            others.append(path)
        elif stem.lower() in found:
            raise UserError(f"{root} holds the same video twice: {found[stem.lower()]} and {path}")
        else:
            found[stem.lower()] = path
    if not found:
        raise UserError(f"no UCF-101 videos (v_Class_g01_c01.avi) in {root}")
    return found, others


def label_of(stem: str) -> str:
    """The class in a UCF-101 file name without its suffix; "" for another kind of name."""
    match = UCF_NAME.match(stem)
    return match["label"] if match else ""


def class_names(lists: Path) -> list[str]:
    """The class names of classInd.txt, or none where there is no such file."""
    path = lists / "classInd.txt"
    lines = path.read_text().split("\n") if path.is_file() else []
    return [line.split(maxsplit=1)[1].strip() for line in lines if len(line.split()) > 1]


def read_lists(lists: Path, protocol: str) -> dict[str, tuple[str, str]]:
    """Lower-case file name without suffix -> (name as listed, split).

    Lists 1 where the protocol is not official.
    """
    number = protocol.removeprefix("official") if protocol.startswith("official") else "1"
    entries = {}
    for split in ("train", "test"):
        path = lists / f"{split}list{int(number):02d}.txt"
        if not path.is_file():
            if protocol.startswith("official"):
                raise UserError(f"data.protocol={protocol} needs the list {path}")
            continue
        for line in path.read_text().splitlines():
            if line.strip():
                name = line.split()[0]
                entries[stem_of(name).lower()] = (name, split)
    return entries

"""The ways in which videos are listed: a folder of classes, UCF-101 with its lists, a CSV manifest."""

from __future__ import annotations

import csv
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vid3d.config import UserError

VIDEO_SUFFIXES = frozenset(
    ".avi .mp4 .m4v .mov .mkv .webm .mpg .mpeg .m2v .wmv .asf .flv .3gp .ts .mts .m2ts .ogv .vob .gif".split()
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
MANIFEST = "manifest.csv"
UCF_LISTS = "ucfTrainTestlist"
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

    Hidden files and folders are skipped, symbolic links are followed.

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
    if pattern and not any(video.group for video in videos):
        raise UserError(
            f"data.group_pattern={group_pattern!r} matches no video, such as {videos[0].path!r}"
        )
    return Listing(str(root), tuple(videos), "folders", tuple(notes))


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
    """Relative paths of all files below root, sorted, without hidden ones; follows links, but never in a circle."""

    def below(directory: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
        with os.scandir(directory) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if not entry.is_dir():
                yield prefix + entry.name
                continue
            status = os.stat(entry.path)
            identity = (status.st_dev, status.st_ino)
            if identity not in above:
                yield from below(entry.path, f"{prefix}{entry.name}/", above | {identity})

    status = os.stat(root)
    yield from below(str(root), "", frozenset({(status.st_dev, status.st_ino)}))


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


def ucf101(root: Path, protocol: str, classes: tuple[str, ...]) -> Listing:
    """UCF-101: `v_Class_gNN_cNN.avi` in class folders or side by side, and its lists in or beside the root.

    A group is a class together with its number: g07 of one class and g07 of another are different recordings. Names are
    compared without case, since the lists say HandStandPushups where folders say HandstandPushups.

    Source: Soomro, Zamir, Shah: UCF101, CRCV-TR-12-01, 2012, with the train/test lists for action recognition.

    Args:
        root: the folder.
        protocol: `data.protocol`; with "officialN" every file of that list has to be there.
        classes: `data.classes`; () is all.

    Raises:
        UserError: no UCF-101 videos, no lists where the protocol needs them, or files of the lists are missing.
    """
    found = {}
    for path in walk(root):
        stem, suffix = posixpath.splitext(posixpath.basename(path))
        match = UCF_NAME.match(stem)
        if suffix.lower() in VIDEO_SUFFIXES and match:
            found[stem.lower()] = (path, match["label"], f"g{int(match['group']):02d}")
    if not found:
        raise UserError(f"no UCF-101 videos (v_Class_g01_c01.avi) in {root}")
    lists = next((d for d in (root / UCF_LISTS, root.parent / UCF_LISTS) if d.is_dir()), None)
    wanted = {name.lower() for name in classes}
    listed = read_ucf_lists(lists, protocol) if lists else {}
    if protocol.startswith("official") and not listed:
        raise UserError(
            f"data.protocol={protocol} needs the folder {UCF_LISTS} in {root} or beside it"
        )
    spelling = {name.lower(): name for name in ucf_classes(lists)} if lists else {}
    for stem, (path, label, _) in sorted(found.items()):
        del stem
        folder_name = path.split("/")[-2] if "/" in path else label
        spelling.setdefault(
            label.lower(), folder_name if folder_name.lower() == label.lower() else label
        )
    notes = []
    missing = [
        name
        for stem, (name, _) in sorted(listed.items())
        if stem not in found and (not wanted or ucf_label(stem) in wanted)
    ]
    if missing:
        expected = sum(1 for stem in listed if not wanted or ucf_label(stem) in wanted)
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        line = f"{len(missing)} of the {expected} videos in {lists} are missing in {root}: {names}"
        if protocol.startswith("official"):
            raise UserError(f"{line}; without them the number is no number of {protocol}")
        notes.append(line)
    videos, unlisted = [], []
    for stem, (path, label, number) in sorted(found.items()):
        label = spelling[label.lower()]
        split = listed[stem][1] if stem in listed and protocol.startswith("official") else ""
        if protocol.startswith("official") and not split:
            unlisted.append(path)
            continue
        videos.append(Video(path, label, group=f"{label}_{number}", split=split))
    if unlisted:
        notes.append(
            f"{len(unlisted)} videos are in no list of {protocol} and were left out, such as {unlisted[0]}"
        )
    return Listing(str(root), tuple(videos), protocol, tuple(notes))


def ucf_label(stem: str) -> str:
    """Lower-case class of a lower-case UCF-101 file name without its suffix."""
    match = UCF_NAME.match(stem)
    return match["label"] if match else ""


def ucf_classes(lists: Path) -> list[str]:
    """The class names of classInd.txt, or none where there is no such file."""
    path = lists / "classInd.txt"
    lines = path.read_text().split("\n") if path.is_file() else []
    return [line.split(maxsplit=1)[1].strip() for line in lines if len(line.split()) > 1]


def read_ucf_lists(lists: Path, protocol: str) -> dict[str, tuple[str, str]]:
    """Lower-case file name without suffix -> (name as listed, split); lists 1 where the protocol is not official."""
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
                stem = posixpath.splitext(posixpath.basename(name))[0].lower()
                entries[stem] = (name, split)
    return entries


def manifest(path: Path) -> Listing:
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
                video = manifest_row(row, f"{path} line {rows.line_num}")
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


def manifest_row(row: dict[str | None, str | list[str] | None], where: str) -> Video:
    """One line of a manifest; `where` starts the messages of its errors."""
    if row.get(None):
        raise UserError(f"{where}: more fields than columns (quote a path that has a comma in it)")
    cells = {name: (value or "").strip() for name, value in row.items() if name}
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


def by_fold(listing: Listing, test_fold: int, val_fold: int) -> Listing:
    """Turns the folds of a manifest into splits, where there are folds and they are wanted.

    Args:
        listing: of a manifest.
        test_fold: -1 takes the lowest fold, unless the manifest has splits.
        val_fold: -1 takes the fold after the test fold; fewer than three folds leave validation open.

    Raises:
        UserError: a fold is no number, or there is no such fold.
    """
    has_folds = any(video.fold for video in listing.videos)
    if not has_folds:
        if test_fold >= 0 or val_fold >= 0:
            raise UserError(
                f"data.test_fold={test_fold} and data.val_fold={val_fold} need a manifest with a column 'fold'"
            )
        return listing
    if test_fold < 0 and val_fold < 0 and any(video.split for video in listing.videos):
        return listing
    numbers = {}
    for video in listing.videos:
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
        replace(video, split=sides.get(numbers[video.path], "train")) for video in listing.videos
    )
    return replace(listing, videos=videos, notes=(*listing.notes, *notes))

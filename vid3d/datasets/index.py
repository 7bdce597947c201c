"""The index: every video with its label, source group and split, and the protocol of the splits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ml_collections import ConfigDict

from vid3d.datasets import folder, folds, groups, manifest, splits, stretches, ucf101
from vid3d.datasets.classes import (
    check_distinct,
    check_several,
    choose_classes,
    nearest,
    tidy,
    tidy_labels,
)
from vid3d.datasets.protocol import (
    choose_protocol,
    describe_carving,
    guard_against_leaks,
    keep_given_splits,
)
from vid3d.datasets.videos import Index, ListedVideo, Listing
from vid3d.errors import UserError
from vid3d.text import NAMED

__all__ = ["Index", "ListedVideo", "examine", "find", "find_unsplit"]


def find(data: ConfigDict, seed: int) -> Index:
    """Lists the videos of `data.source` and assigns the splits of `data.protocol`.

    Args:
        data: `config.data`.
        seed: `config.seed`; together with a group it decides the group's split.

    Raises:
        UserError: nothing to list, an unknown class, a class without videos in a split, or a
            protocol that the source does not have.
    """
    index, problem = examine(data, seed)
    if problem:
        raise UserError(problem)
    return index


def examine(data: ConfigDict, seed: int) -> tuple[Index, str]:
    """The index of `find`, also of too few videos to train on, and what they lack, or "".

    Raises:
        UserError: see `find`; but not for too few classes, or for a class with too few videos.
    """
    problems: list[str] = []
    wanted = tuple(map(tidy, data.classes))
    listing = list_videos(data, seed, wanted)
    groups.check_pattern(listing, data.group_pattern)
    if data.background and not any(video.span for video in listing.videos):
        raise UserError(
            f"data.background={data.background!r} needs a manifest with the columns start and end: "
            "it is the class of the time that no line labels"
        )
    videos, classes = choose_classes(listing, wanted)
    with collecting(problems):
        check_several(listing, classes, wanted)
    if not wanted:
        check_distinct(classes, listing.root)
    check_encodable(classes, listing.kind)
    asked = "grouped" if data.folds and data.protocol == "auto" else data.protocol
    protocol = choose_protocol(asked, listing.kind, videos)
    videos, overruled = keep_given_splits(videos, listing.kind, protocol, data.validate_on_test)
    by_group = protocol != "random"
    unit = splits.by_group if by_group else splits.by_path
    with collecting(problems):
        videos = folds.assign(videos, data, unit=unit) if data.folds else videos
    given = {video.split for video in videos}
    videos = assign_splits(videos, data, seed, unit)
    with collecting(problems):
        splits.check_classes(videos, classes, needed=needed_splits(data, given), grouped=by_group)
    carving = describe_carving(videos, given, data, by_group=by_group)
    protocol, guard = guard_against_leaks(videos, protocol, validate_on_test=data.validate_on_test)
    if data.folds:
        protocol += f", test fold {folds.test_fold(data)} of {data.folds}"
    notes = (*listing.notes, *overruled, *guard, *carving)
    index = Index(listing.root, videos, classes, protocol, notes, data.validate_on_test)
    return index, next(iter(problems), "")


@contextlib.contextmanager
def collecting(problems: list[str]) -> Iterator[None]:
    """Keeps the UserError of the block for later."""
    try:
        yield
    except UserError as error:
        problems.append(str(error))


def check_encodable(classes: Sequence[str], kind: str) -> None:
    """Raises a UserError where the name of a class cannot be written as UTF-8."""
    for name in classes:
        if name != name.encode("utf-8", "replace").decode():
            where = "rename its folder" if kind == "folders" else "write it in UTF-8"
            raise UserError(f"the name of the class {name!r} is not valid text: {where}")


def assign_splits(
    videos: tuple[ListedVideo, ...],
    data: ConfigDict,
    seed: int,
    unit: Callable[[ListedVideo], str],
) -> tuple[ListedVideo, ...]:
    """The videos, sorted by path, each with a split; those that the source names are kept."""
    assigned = splits.assign(
        videos,
        val_fraction=0.0 if data.validate_on_test else data.val_fraction,
        test_fraction=data.test_fraction,
        seed=seed,
        unit=unit,
    )
    return tuple(sorted(assigned, key=lambda video: video.order))


def needed_splits(data: ConfigDict, given: set[str]) -> list[str]:
    """The splits that need videos of every class.

    Args:
        data: `config.data`.
        given: those that the source names.
    """
    needed = ["train"]
    if data.test_fraction or "test" in given:
        needed.append("test")
    if data.val_fraction and not data.validate_on_test and "val" not in given:
        needed.append("val")
    return needed


def find_unsplit(data: ConfigDict, classes: tuple[str, ...]) -> Index:
    """Lists all videos of another set for testing, with labels in the order of `classes`.

    Raises:
        UserError: nothing to list, or a class that is not among `classes`.
    """
    listing = list_videos(data, 0, classes)
    unknown = sorted({video.label for video in listing.videos} - set(classes))
    if unknown:
        near = {name: nearest(name, classes) for name in unknown[:NAMED]}
        lines = {v.label: f" in line {v.line}" for v in reversed(listing.videos) if v.line}
        named = [
            f"{k!r}{lines.get(k, '')} (did you mean {v!r}?)" if v else repr(k) + lines.get(k, "")
            for k, v in near.items()
        ]
        more = f" and {len(unknown) - len(near)} more" if len(unknown) > len(near) else ""
        raise UserError(
            f"{listing.root} has videos of classes that the model does not know: "
            f"{', '.join(named)}{more}; give them the names that the model was trained with, or "
            "leave them out"
        )
    videos = tuple(
        sorted((replace(v, split="test") for v in listing.videos), key=lambda v: v.order)
    )
    return Index(listing.root, videos, classes, f"all of {Path(listing.root).name}", listing.notes)


def list_videos(data: ConfigDict, seed: int, classes: tuple[str, ...]) -> Listing:
    """Lists the videos of `data.source`, with tidy class names.

    Args:
        data: `config.data`.
        seed: `config.seed`.
        classes: known class names, even where they look like those of splits.

    Raises:
        UserError: there is no such root, or nothing in it.
    """
    listing = tidy_labels(list_source(data, seed, classes))
    if source_of(data) == "manifest":  # whose stretches have groups in any case
        return listing
    return groups.by_pattern(listing, data.group_pattern)


def list_source(data: ConfigDict, seed: int, classes: tuple[str, ...]) -> Listing:
    """`list_videos`, with the class names as in the source."""
    if data.source == "synthetic":
        from vid3d.datasets import synthetic, synthetic_recordings

        if data.synthetic.untrimmed:
            return list_manifest(synthetic_recordings.write(data, seed), data)
        listing = folder.listing(synthetic.write(data, seed), ucf_groups=False)
        return groups.by_pattern(listing, synthetic.GROUP_PATTERN)
    if data.source == "tfds":
        from vid3d.datasets import tfds

        return tfds.listing(data)
    root, source = find_root(data), source_of(data)
    if source == "manifest":
        return list_manifest(root, data)
    if not root.is_dir():
        raise UserError(f"data.root={data.root} is a file; data.source={source} needs a folder")
    if source == "ucf101":
        return ucf101.listing(root, data.protocol, tuple(data.classes))
    return folder.listing(
        root, classes, frames_fps=data.frames_fps, ucf_groups=not data.group_pattern
    )


def source_of(data: ConfigDict) -> str:
    """`data.source`; "auto" is "manifest" or "folder", as there is a manifest or not."""
    if data.source != "auto":
        return data.source
    root = find_root(data)
    return "manifest" if root.is_file() or (root / manifest.NAME).is_file() else "folder"


def list_manifest(root: Path, data: ConfigDict) -> Listing:
    """Lists a manifest, or the one in a folder, with its folds as splits unless those are drawn.

    Raises:
        UserError: there is none, or it has a mistake.
    """
    path = root / manifest.NAME if root.is_dir() else root
    if not path.is_file():
        raise UserError(f"data.source=manifest: there is no {path}")
    listing = manifest.listing(path, data.group_pattern)
    if data.background:
        listing = with_background(listing, data)
    if data.protocol in ("random", "grouped") or data.folds:
        return listing
    return manifest.by_fold(listing, data.test_fold, data.val_fold)


def with_background(listing: Listing, data: ConfigDict) -> Listing:
    """The listing with unlabelled time as a class, where it has stretches."""
    paths = sorted({video.path for video in listing.videos if video.span})
    if not paths:
        return listing
    lengths = stretches.read_lengths(Path(listing.root), paths, data)
    found, note = stretches.background(listing.videos, data, lengths)
    return replace(listing, videos=(*listing.videos, *found), notes=(*listing.notes, note))


def find_root(data: ConfigDict) -> Path:
    """The absolute path of `data.root`; where the source needs none, it is not looked at.

    Raises:
        UserError: there is no such root.
    """
    root = Path(os.path.abspath(Path(data.root).expanduser()))
    if data.source not in ("synthetic", "tfds"):
        if not data.root:
            raise UserError(
                "data.root is empty: set --config.data.root to the folder of the videos"
            )
        if not root.exists():
            raise UserError(f"data.root={data.root}: there is no such folder or file")
    return root

"""The index: every video with its label, source group and split, and the protocol of the splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ml_collections import ConfigDict

from vid3d.datasets import folder, folds, manifest, splits, stretches, ucf101
from vid3d.datasets.classes import check_distinct, choose_classes, nearest, tidy, tidy_labels
from vid3d.datasets.videos import Index, ListedVideo, Listing
from vid3d.errors import UserError
from vid3d.text import NAMED, quote

__all__ = ["Index", "ListedVideo", "find", "find_unsplit"]


def find(data: ConfigDict, seed: int) -> Index:
    """Lists the videos of `data.source` and assigns the splits of `data.protocol`.

    Args:
        data: `config.data`.
        seed: `config.seed`; together with a group it decides the group's split.

    Raises:
        UserError: nothing to list, an unknown class, a class without videos in a split, or a
            protocol that the source does not have.
    """
    wanted = tuple(map(tidy, data.classes))
    listing = list_videos(data, seed, wanted)
    check_group_pattern(listing, data.group_pattern)
    if data.background and not any(video.span for video in listing.videos):
        raise UserError(
            f"data.background={data.background!r} needs a manifest with the columns start and end: "
            "it is the class of the time that no line labels"
        )
    videos, classes = choose_classes(listing, wanted)
    if not wanted:
        check_distinct(classes, listing.root)
    check_encodable(classes, listing.kind)
    asked = "grouped" if data.folds and data.protocol == "auto" else data.protocol
    protocol = choose_protocol(asked, listing.kind, videos)
    videos, overruled = keep_given_splits(videos, listing.kind, protocol, data.validate_on_test)
    by_group = protocol != "random"
    if data.folds:
        videos = folds.assign(videos, data, unit=splits.by_group if by_group else splits.by_path)
    given = {video.split for video in videos}
    videos = assign_splits(videos, classes, data, seed, by_group=by_group)
    carving = describe_carving(videos, given, data, by_group=by_group)
    protocol, guard = guard_against_leaks(videos, protocol, validate_on_test=data.validate_on_test)
    if data.folds:
        protocol += f", test fold {folds.test_fold(data)} of {data.folds}"
    notes = (*listing.notes, *overruled, *guard, *carving)
    return Index(listing.root, videos, classes, protocol, notes, data.validate_on_test)


def check_group_pattern(listing: Listing, pattern: str) -> None:
    """Raises a UserError where `data.group_pattern` matches no path of a folder."""
    if listing.kind != "folders" or not pattern:
        return
    if not any(video.group for video in listing.videos):
        raise UserError(
            f"data.group_pattern={pattern!r} matches no video, such as {listing.videos[0].path!r}"
        )


def check_encodable(classes: Sequence[str], kind: str) -> None:
    """Raises a UserError where the name of a class cannot be written as UTF-8."""
    for name in classes:
        if name != name.encode("utf-8", "replace").decode():
            where = "rename its folder" if kind == "folders" else "write it in UTF-8"
            raise UserError(f"the name of the class {name!r} is not valid text: {where}")


def choose_protocol(asked: str, kind: str, videos: Sequence[ListedVideo]) -> str:
    """The protocol that `data.protocol` stands for, given what the source names.

    Raises:
        UserError: the source does not have this protocol.
    """
    has_splits = any(video.split for video in videos)
    if asked == "auto":
        return kind if has_splits else "grouped"
    if asked == "manifest":
        if not has_splits:
            raise UserError(
                "data.protocol=manifest needs a manifest.csv with a column 'split' or 'fold', or "
                "the folders train, val and test"
            )
        return kind
    if asked.startswith("official") and kind != asked:
        raise UserError(f"data.protocol={asked} needs data.source=ucf101")
    return asked


def keep_given_splits(
    videos: tuple[ListedVideo, ...], kind: str, protocol: str, validate_on_test: bool
) -> tuple[tuple[ListedVideo, ...], list[str]]:
    """The videos with the source's splits as far as the protocol keeps them, and notes."""
    notes = []
    if protocol in ("random", "grouped"):
        if any(video.split for video in videos):
            notes.append(f"data.protocol={protocol} draws other splits than those of the {kind}")
        videos = tuple(replace(video, split="") for video in videos)
    if validate_on_test:
        videos = tuple(replace(v, split="train") if v.split == "val" else v for v in videos)
    return videos, notes


def assign_splits(
    videos: tuple[ListedVideo, ...],
    classes: Sequence[str],
    data: ConfigDict,
    seed: int,
    *,
    by_group: bool,
) -> tuple[ListedVideo, ...]:
    """The videos, sorted by path, each with a split; those that the source names are kept.

    Raises:
        UserError: a class has no videos in a split that needs some.
    """
    given = {video.split for video in videos}
    val_fraction = 0.0 if data.validate_on_test else data.val_fraction
    assigned = splits.assign(
        videos,
        val_fraction=val_fraction,
        test_fraction=data.test_fraction,
        seed=seed,
        unit=splits.by_group if by_group else splits.by_path,
    )
    needed = ["train"]
    if data.test_fraction or "test" in given:
        needed.append("test")
    if val_fraction and "val" not in given:
        needed.append("val")
    splits.check_classes(assigned, classes, needed=needed, grouped=by_group)
    return tuple(sorted(assigned, key=lambda video: video.order))


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
    return tidy_labels(list_source(data, seed, classes))


def list_source(data: ConfigDict, seed: int, classes: tuple[str, ...]) -> Listing:
    """`list_videos`, with the class names as in the source."""
    if data.source == "synthetic":
        from vid3d.datasets import synthetic, synthetic_recordings

        if data.synthetic.untrimmed:
            return list_manifest(synthetic_recordings.write(data, seed), data)
        return folder.listing(synthetic.write(data, seed), synthetic.GROUP_PATTERN)
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
    return folder.listing(root, data.group_pattern, classes, frames_fps=data.frames_fps)


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
    listing = manifest.listing(path)
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


def guard_against_leaks(
    videos: tuple[ListedVideo, ...], protocol: str, *, validate_on_test: bool
) -> tuple[str, list[str]]:
    """The protocol as it is printed, and notes on what is wrong or unknown about it."""
    notes = []
    leaky = validate_on_test
    if validate_on_test:
        notes.append("validation uses the test videos: the test set chooses the checkpoint")
    unknown = sum(not video.group for video in videos)
    if protocol == "random" and unknown < len(videos):
        leaky = True
        notes.append("videos of one source are in training and test: the accuracy is too high")
    elif protocol != "random":
        shared = splits.shared_groups(videos) or splits.shared_files(videos)
        if shared:
            leaky = True
            group, named = next(iter(shared.items()))
            notes.append(
                f"{len(shared)} source groups are in two splits, such as {quote(group)} in "
                f"{' and '.join(named)}: the accuracy is too high"
            )
        if unknown == len(videos):
            notes.append(
                "groups are unknown: every video is its own group. If several were cut from one "
                "recording, name it with data.group_pattern or in a manifest, or the accuracy is "
                "too high"
            )
            if protocol == "grouped":
                protocol = "grouped (groups unknown)"
        elif unknown:
            notes.append(f"{unknown} videos have no group and are taken as their own")
    return protocol + (" (leaky)" if leaky else ""), notes


def describe_carving(
    videos: tuple[ListedVideo, ...], given: set[str], data: ConfigDict, *, by_group: bool
) -> list[str]:
    """Notes on splits that were carved out of training, and on shares far from those asked for."""
    notes = []
    are_few = splits.are_few(videos, splits.by_group if by_group else splits.by_path)
    by_group = by_group and any(video.group for video in videos)
    reason = "groups go whole" if by_group else "every class needs one"
    reason += ", and no other choice comes nearer" if are_few else ", and each is drawn by itself"
    counts = Counter(video.split for video in videos)
    shares = {
        "test": (data.test_fraction, len(videos)),
        "val": (data.val_fraction, len(videos) - counts["test"]),
    }
    for split, (asked, total) in shares.items():
        if split in given or not counts[split]:
            continue
        if given & {"train", "test", "val"}:
            notes.append(
                f"no {split} videos are named: {counts[split]} were taken out of training"
                + (", by group" if by_group else "")
            )
        wanted = asked * total
        if abs(counts[split] - wanted) > 2 and not wanted / 1.5 <= counts[split] <= wanted * 1.5:
            of = "the videos" if split == "test" else "the videos that are not test videos"
            notes.append(
                f"{counts[split]} of {total}, {counts[split] / total:.0%} of {of}, are {split} "
                f"videos where {asked:.0%} was asked for: {reason}; a manifest.csv can name the "
                "splits, and vid3d cv tests every video"
            )
    if are_few and {"test", "val"} & counts.keys() - given:
        what = "sources" if by_group else "videos"
        notes.append(
            f"with fewer than {splits.FEW} {what}, the splits are drawn together, to come near the "
            f"shares asked for: new {what} may move others into another split"
        )
    return notes

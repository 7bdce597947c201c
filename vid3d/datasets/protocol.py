"""The split protocol: which one it is, what it keeps, and what its name has to admit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ml_collections import ConfigDict

from vid3d.datasets import splits
from vid3d.datasets.videos import ListedVideo
from vid3d.errors import UserError
from vid3d.text import quote


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
        if shared := describe_shared(videos):
            leaky = True
            notes.append(shared)
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


def describe_shared(videos: Sequence[ListedVideo]) -> str:
    """Says which groups or files are in two splits; "" where none is."""
    shared = splits.shared_groups(videos) or splits.shared_files(videos)
    if not shared:
        return ""
    group, named = next(iter(shared.items()))
    return (
        f"{len(shared)} source groups are in two splits, such as {quote(group)} in "
        f"{' and '.join(named)}: the accuracy is too high"
    )


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

"""Draws the splits that a source does not bring along, and finds sources that are in two."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from vid3d.datasets.videos import ListedVideo
from vid3d.errors import UserError

FEW = 100  # units below which they are dealt out together, as draws of their own miss the share


def by_group(video: ListedVideo) -> str:
    """Videos of one source stay together; a video without a known source is its own."""
    return f"group {video.group}" if video.group else by_path(video)


def by_path(video: ListedVideo) -> str:
    """Each video is a unit of its own."""
    return f"video {video.name}"


def draw(unit: str, *, seed: int, split: str) -> float:
    """A number in [0, 1) that depends on these three and nothing else."""
    digest = hashlib.sha256(f"{seed}/{split}/{unit}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def carve(
    videos: Sequence[ListedVideo],
    split: str,
    fraction: float,
    *,
    seed: int,
    unit: Callable[[ListedVideo], str],
    leave: int = 1,
    together: bool = False,
) -> tuple[ListedVideo, ...]:
    """Moves about a fraction of the videos of each class into a split, in whole units.

    A unit goes to the split where `draw(unit) < fraction`, which depends on the seed and the unit
    alone, so that new videos move no others; or, `together`, where `nearest` puts it. There is one
    exception: where that leaves a class without a unit in the split, or with fewer than `leave`
    units outside, its units with the draws nearest to the threshold are moved, as long as no other
    class loses its last one. Only such a unit can move back, once its class has another.

    Args:
        videos: the candidates; those of other splits are not among them.
        split: "test" or "val".
        fraction: of the units, above 0.
        seed: of the split.
        unit: `by_group` or `by_path`.
        leave: units that each class should keep outside, where it has enough.
        together: come as near to the fraction as units allow; new videos may then move others.

    Returns:
        The videos, with their `split` set for the chosen ones.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for video in videos:
        counts[unit(video)][video.label] += 1
    draws = {name: draw(name, seed=seed, split=split) for name in counts}
    ordered = sorted(counts, key=lambda name: (draws[name], name))
    taken = {name for name in counts if draws[name] < fraction}
    if together:
        taken = nearest({name: counts[name] for name in ordered}, fraction)
        ordered.sort(key=lambda name: counts[name].total())  # a class's only one is a small one
    carving = Carving({name: set(counts[name]) for name in ordered}, taken, leave)
    # Twice, since a unit of several classes that is moved for one of them may be missed by another.
    for label in sorted(carving.units_of) * 2:
        carving.give_back(label)
        carving.take_over(label)
    return tuple(
        replace(video, split=split) if unit(video) in carving.taken else video for video in videos
    )


def nearest(counts: dict[str, Counter[str]], fraction: float) -> set[str]:
    """Units whose share of each class, and of all videos, comes near a fraction.

    They are taken in their order as long as that helps, then moved and exchanged until none of
    that helps any more. The measure is the sum of squared deviations over the classes, to which
    that of all videos adds as much as they do together.

    Args:
        counts: unit -> class -> videos, in the order in which units are taken.
        fraction: from 0 to 1.
    """
    labels = sorted({label for count in counts.values() for label in count})
    videos_UK = np.array([[count[label] for label in labels] for count in counts.values()], float)
    share_UK = videos_UK / videos_UK.sum(axis=0)
    whole_U1 = videos_UK.sum(axis=1, keepdims=True) / videos_UK.sum()
    share_UK = np.hstack([share_UK, np.sqrt(len(labels)) * whole_U1])
    asked_K = fraction * share_UK.sum(axis=0)

    def cost(shares_K: np.ndarray) -> np.ndarray:
        return ((shares_K - asked_K) ** 2).sum(axis=-1)

    sign_U, now_K = np.ones(len(share_UK)), np.zeros(len(asked_K))  # 1: may be taken; -1: is
    for number, share_K in enumerate(share_UK):
        if cost(now_K + share_K) < cost(now_K):
            sign_U[number], now_K = -1, now_K + share_K
    while True:
        move_UK = sign_U[:, None] * share_UK
        cost_UU = cost(now_K + move_UK[:, None] + move_UK[None])  # two at a time
        np.fill_diagonal(cost_UU, cost(now_K + move_UK))  # one alone
        pair = np.unravel_index(cost_UU.argmin(), cost_UU.shape)
        if cost_UU[pair] > cost(now_K) - 1e-9:
            return {name for name, sign in zip(counts, sign_U, strict=True) if sign < 0}
        chosen = sorted(set(map(int, pair)))
        now_K = now_K + move_UK[chosen].sum(axis=0)
        sign_U[chosen] *= -1


class Carving:
    """Which units go to a split while it is carved out.

    Attributes:
        labels_of: unit -> the classes of its videos.
        units_of: class -> its units, in the order of `labels_of`.
        taken: the units that go to the split.
        leave: see `carve`.
    """

    def __init__(self, labels_of: dict[str, set[str]], taken: set[str], leave: int):
        """Begins with the units that are `taken`; the first of a class are the first to join."""
        self.labels_of = labels_of
        self.units_of: dict[str, list[str]] = defaultdict(list)
        for name, labels in labels_of.items():
            for label in labels:
                self.units_of[label].append(name)
        self.taken = taken
        self.leave = leave

    def inside(self, label: str) -> int:
        """How many units of a class are in the split."""
        return sum(name in self.taken for name in self.units_of[label])

    def outside(self, label: str) -> int:
        """How many units of a class are not in the split."""
        return len(self.units_of[label]) - self.inside(label)

    def give_back(self, label: str) -> None:
        """Moves units out of the split where a class would keep too few."""
        keep = min(self.leave, len(self.units_of[label]) - 1)
        if self.outside(label) >= max(keep, 1):
            return
        for name in [name for name in reversed(self.units_of[label]) if name in self.taken]:
            spared = all(self.inside(other) > 1 for other in self.labels_of[name])
            if not self.outside(label) or (self.outside(label) < keep and spared):
                self.taken.remove(name)

    def take_over(self, label: str) -> None:
        """Moves a unit into the split where a class has none there."""
        for name in self.units_of[label]:
            if self.inside(label):
                return
            if all(self.outside(other) > 1 for other in self.labels_of[name]):
                self.taken.add(name)


def are_few(videos: Iterable[ListedVideo], unit: Callable[[ListedVideo], str]) -> bool:
    """Whether there are fewer than `FEW` units."""
    return len({unit(video) for video in videos}) < FEW


def assign(
    videos: Sequence[ListedVideo],
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    unit: Callable[[ListedVideo], str] = by_group,
) -> tuple[ListedVideo, ...]:
    """Fills in the splits: a test or validation set that no video names comes out of training.

    Validation is never carved out of the test set. A fraction of 0 leaves its split empty. Fewer
    than `FEW` units are dealt out together, see `carve`.

    Args:
        videos: with the splits that their source names; "" counts as training.
        val_fraction: of what is not test.
        test_fraction: of all.
        seed: of the split.
        unit: what stays together.
    """
    given = {video.split for video in videos}
    together = are_few(videos, unit)
    videos = tuple(replace(video, split=video.split or "train") for video in videos)
    for split, fraction in (("test", test_fraction), ("val", val_fraction)):
        if split in given or not fraction:
            continue
        pool = [video for video in videos if video.split == "train"]
        leave = 2 if split == "test" and val_fraction and "val" not in given else 1
        carved = carve(pool, split, fraction, seed=seed, unit=unit, leave=leave, together=together)
        split_of = {video.name: video.split for video in carved}
        videos = tuple(replace(v, split=split_of.get(v.name, v.split)) for v in videos)
    return videos


def shared_groups(videos: Iterable[ListedVideo]) -> dict[str, tuple[str, ...]]:
    """Known groups that are in more than one split, with these splits."""
    splits_of: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        if video.group:
            splits_of[video.group].add(video.split)
    return {
        group: tuple(sorted(found)) for group, found in sorted(splits_of.items()) if len(found) > 1
    }


def shared_files(videos: Iterable[ListedVideo]) -> dict[str, tuple[str, ...]]:
    """Files with stretches in more than one split, with these splits."""
    return shared_groups(replace(video, group=video.path) for video in videos if video.span)


def check_classes(
    videos: Sequence[ListedVideo], classes: Sequence[str], *, needed: Iterable[str], grouped: bool
) -> None:
    """Makes sure that every class has videos in every split that needs some.

    Raises:
        UserError: names the class, what it has, and the remedy.
    """
    present = {(video.label, video.split) for video in videos}
    units: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        units[video.label].add(by_group(video) if grouped else by_path(video))
    words = {"train": "training", "val": "validation", "test": "test"}
    remedies = {
        "train": "add videos of that class, or leave it out of data.classes",
        "val": "add videos of it from other sources, give one a split in a manifest.csv, "
        "or set data.val_fraction=0 to go without validation",
        "test": "add videos of it from other sources, give one a split in a manifest.csv, "
        "or set data.test_fraction=0 to go without a test set",
    }
    for split in needed:
        for label in classes:
            if (label, split) not in present:
                count = len(units[label])
                noun = "source group" if grouped else "video"
                raise UserError(
                    f"the class {label!r} has no {words[split]} videos (it has {count} "
                    f"{noun}{'s' * (count != 1)}): {remedies[split]}"
                )

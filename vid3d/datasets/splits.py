"""Training, validation and test: which side a video is on, and the guard against a source on two sides."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from vid3d.datasets.videos import Video
from vid3d.errors import UserError


def by_group(video: Video) -> str:
    """Videos of one source stay together; a video without a known source is its own."""
    return f"group {video.group}" if video.group else by_path(video)


def by_path(video: Video) -> str:
    """Each video for itself."""
    return f"video {video.path}"


def draw(unit: str, *, seed: int, side: str) -> float:
    """A number in [0, 1) that depends on these three and nothing else."""
    digest = hashlib.sha256(f"{seed}/{side}/{unit}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def carve(
    videos: Sequence[Video],
    side: str,
    fraction: float,
    *,
    seed: int,
    unit: Callable[[Video], str],
    leave: int = 1,
) -> tuple[Video, ...]:
    """Gives `side` to about a fraction of the videos, in whole units, from each class.

    A unit goes to the side where `draw(unit) < fraction`. So its place depends on the seed and the unit alone, and new
    videos move none. There is one exception. Where that rule leaves a class without a unit on the side, or with fewer
    than `leave` units off it, the units of that class whose draws are nearest to the threshold are moved over, as long
    as no other class loses its last one. Only such a helped unit can come back, when its class gets a new unit that
    makes the help needless.

    Args:
        videos: those to choose from; the others of a split stay out of the call.
        side: "test" or "val".
        fraction: of the units, above 0.
        seed: of the split.
        unit: `by_group` or `by_path`.
        leave: units that each class should keep off the side, where it has enough.

    Returns:
        The videos, with `split` set to `side` for the chosen ones.
    """
    labels_of: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        labels_of[unit(video)].add(video.label)
    draws = {name: draw(name, seed=seed, side=side) for name in labels_of}
    carving = Carving(labels_of, draws, fraction, leave)
    # Twice, since a unit of several classes that is moved for one of them may be missed by another.
    for label in sorted(carving.units_of) * 2:
        carving.give_back(label)
        carving.take_over(label)
    return tuple(
        replace(video, split=side) if unit(video) in carving.taken else video for video in videos
    )


class Carving:
    """Which units go to a split while it is carved out.

    Attributes:
        labels_of: unit -> the classes of its videos.
        units_of: class -> its units, those with the lowest draws first.
        taken: the units that go to the split.
        leave: see `carve`.
    """

    def __init__(
        self, labels_of: dict[str, set[str]], draws: dict[str, float], fraction: float, leave: int
    ):
        """Takes the units whose draws are below the fraction."""
        self.labels_of = labels_of
        self.units_of: dict[str, list[str]] = defaultdict(list)
        for name in sorted(labels_of, key=lambda name: (draws[name], name)):
            for label in labels_of[name]:
                self.units_of[label].append(name)
        self.taken = {name for name in labels_of if draws[name] < fraction}
        self.leave = leave

    def on(self, label: str) -> int:
        """How many units of a class are in the split."""
        return sum(name in self.taken for name in self.units_of[label])

    def off(self, label: str) -> int:
        """How many units of a class are not in the split."""
        return len(self.units_of[label]) - self.on(label)

    def give_back(self, label: str) -> None:
        """Moves units out of the split where a class would keep too few."""
        keep = min(self.leave, len(self.units_of[label]) - 1)
        if self.off(label) >= max(keep, 1):
            return
        for name in [name for name in reversed(self.units_of[label]) if name in self.taken]:
            spared = all(self.on(other) > 1 for other in self.labels_of[name])
            if not self.off(label) or (self.off(label) < keep and spared):
                self.taken.remove(name)

    def take_over(self, label: str) -> None:
        """Moves a unit into the split where a class has none there."""
        for name in self.units_of[label]:
            if self.on(label):
                return
            if all(self.off(other) > 1 for other in self.labels_of[name]):
                self.taken.add(name)


def assign(
    videos: Sequence[Video],
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    unit: Callable[[Video], str] = by_group,
) -> tuple[Video, ...]:
    """Fills in the splits that are open: a test or validation set that no video names is carved out of training.

    Validation is never carved out of the test set. A fraction of 0 leaves its split empty.

    Args:
        videos: with the splits that their source names; "" counts as training.
        val_fraction: of what is not test.
        test_fraction: of all.
        seed: of the split.
        unit: what stays together.
    """
    given = {video.split for video in videos}
    videos = tuple(replace(video, split=video.split or "train") for video in videos)
    for side, fraction in (("test", test_fraction), ("val", val_fraction)):
        if side in given or not fraction:
            continue
        pool = [video for video in videos if video.split == "train"]
        leave = 2 if side == "test" and val_fraction and "val" not in given else 1
        carved = carve(pool, side, fraction, seed=seed, unit=unit, leave=leave)
        sides = {video.path: video.split for video in carved}
        videos = tuple(replace(v, split=sides.get(v.path, v.split)) for v in videos)
    return videos


def shared_groups(videos: Iterable[Video]) -> dict[str, tuple[str, ...]]:
    """Known groups that are on more than one side, with their sides."""
    sides: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        if video.group:
            sides[video.group].add(video.split)
    return {group: tuple(sorted(on)) for group, on in sorted(sides.items()) if len(on) > 1}


def check_classes(
    videos: Sequence[Video], classes: Sequence[str], *, needed: Iterable[str], grouped: bool
) -> None:
    """Makes sure that every class has videos on every side that is needed.

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
        "val": "add videos of it from other sources, name the splits in a manifest.csv, "
        "or set data.val_fraction=0 to go without validation",
        "test": "add videos of it from other sources, name the splits in a manifest.csv, "
        "or set data.test_fraction=0 to go without a test set",
    }
    for side in needed:
        for label in classes:
            if (label, side) not in present:
                count = len(units[label])
                noun = "source group" if grouped else "video"
                raise UserError(
                    f"the class {label!r} has no {words[side]} videos (it has {count} {noun}{'s' * (count != 1)}): "
                    f"{remedies[side]}"
                )

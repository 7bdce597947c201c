"""Folds for cross-validation: sources stay whole, and classes are spread over them evenly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from ml_collections import ConfigDict

from vid3d.datasets.videos import ListedVideo
from vid3d.errors import UserError


def draw(
    videos: Sequence[ListedVideo], count: int, *, unit: Callable[[ListedVideo], str]
) -> dict[str, int]:
    """Name of a video -> fold, from 0 to count - 1; it depends on the videos alone, on no seed.

    Args:
        videos: all of them.
        count: of folds.
        unit: what stays together, `splits.by_group` or `splits.by_path`.

    Raises:
        UserError: a class has fewer units than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    units_of: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        units_of[video.label].add(unit(video))
    for label, units in sorted(units_of.items()):
        if len(units) < count:
            what = "source groups" if any(video.group for video in videos) else "videos"
            raise UserError(
                f"{count} folds: the class {label!r} has {len(units)} {what}, and every fold needs "
                "one: take fewer folds, or leave the class out of data.classes"
            )
    ordered = sorted(videos, key=lambda video: video.order)
    labels = [video.label for video in ordered]
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    found = splitter.split(labels, labels, [unit(video) for video in ordered])
    return {ordered[k].name: fold for fold, (_, chosen) in enumerate(found) for k in chosen}


def assign(
    videos: Sequence[ListedVideo], data: ConfigDict, *, unit: Callable[[ListedVideo], str]
) -> tuple[ListedVideo, ...]:
    """The videos with the splits of `data.test_fold` among `data.folds` folds.

    The fold after it, or `data.val_fold`, validates, if there are three folds or more and
    `data.val_fraction` is above 0; otherwise validation is left open.

    Raises:
        UserError: see `draw`.
    """
    fold_of = draw(videos, data.folds, unit=unit)
    split_of = {test_fold(data): "test"}
    if data.folds > 2 and data.val_fraction and not data.validate_on_test:
        after = (test_fold(data) + 1) % data.folds
        split_of[after if data.val_fold < 0 else data.val_fold] = "val"
    return tuple(replace(v, split=split_of.get(fold_of[v.name], "train")) for v in videos)


def test_fold(data: ConfigDict) -> int:
    """`data.test_fold`, which is 0 where it is not set."""
    return max(data.test_fold, 0)

"""From probabilities to numbers: accuracy, interval, per-class figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

DRAWN_AT_ONCE = 500  # of the signs of all groups

Z_95 = 1.959963984540054  # the 97.5% point of the standard normal distribution


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95% interval of a proportion (Wilson 1927), which stays inside [0, 1] and holds for few videos."""
    p, z2 = correct / total, Z_95**2
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def group_interval(
    shares: Sequence[float], groups: Sequence[str], *, draws: int = 2000
) -> tuple[float, float]:
    """The 95% interval of the mean of `shares` where videos of one group are alike: the bootstrap over whole groups.

    Groups are drawn with replacement, from a fixed seed (Field and Welsh 2007, "Bootstrapping clustered data").

    Args:
        shares: how right each video is, from 0 to 1.
        groups: the group of each video.
        draws: of as many groups as there are.
    """
    _, number_N = np.unique(groups, return_inverse=True)
    right_G, total_G = np.bincount(number_N, weights=shares), np.bincount(number_N)
    drawn = np.random.default_rng(0).integers(0, len(total_G), (draws, len(total_G)))
    means = right_G[drawn].sum(axis=1) / total_G[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def best_interval(figures: dict[str, Any]) -> tuple[str, Sequence[float]]:
    """Of the two intervals of `summarise`: ("groups", that over groups) where there is one, otherwise ("wilson", it)."""
    by_group = figures.get("interval_groups")
    return ("groups", by_group) if by_group else ("wilson", figures["interval"])


def sign_flip_p_value(
    gains: Sequence[float], groups: Sequence[str], *, draws: int = 20_000
) -> float:
    """How probable a difference as large as this one is, two-sided, if both sides were equally good.

    Videos of one group are alike: the signs of whole groups are flipped, all ways of it where there are at most `draws`,
    otherwise that many at random from a fixed seed. With one video a group this is McNemar's exact test. Source: Winkler
    et al. 2015, "Multi-level block permutation", NeuroImage 123.

    Args:
        gains: by how much the first side is better on each video.
        groups: the group of each video.
        draws: of signs.
    """
    _, number_N = np.unique(groups, return_inverse=True)
    gain_G = np.bincount(number_N, weights=gains)
    gain_G = gain_G[gain_G != 0]
    if not len(gain_G):
        return 1.0
    if 2 ** len(gain_G) <= draws:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(gain_G))))
        return float(np.mean(np.abs(signs @ gain_G) >= abs(gain_G.sum())))
    random, as_large = np.random.default_rng(0), 0
    for start in range(0, draws, DRAWN_AT_ONCE):
        signs = random.choice((-1, 1), (min(DRAWN_AT_ONCE, draws - start), len(gain_G)))
        as_large += np.count_nonzero(np.abs(signs @ gain_G) >= abs(gain_G.sum()))
    return (as_large + 1) / (draws + 1)


def top_k_correct(probabilities_NK: np.ndarray, labels_N: np.ndarray, k: int) -> int:
    """How many videos have their label among the k most probable classes; of equal ones the lower index is first."""
    order_NK = np.argsort(-probabilities_NK, axis=1, kind="stable")
    return int((order_NK[:, :k] == labels_N[:, None]).any(axis=1).sum())


def confusion_matrix(labels_N: np.ndarray, predicted_N: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts, int64 [true class, predicted class]."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels_N, predicted_N), 1)
    return matrix


def summarise(
    probabilities_NK: np.ndarray,
    losses_N: np.ndarray,
    labels_N: np.ndarray,
    classes: Sequence[str],
    *,
    groups: Sequence[str] = (),
) -> dict[str, Any]:
    """Every figure of one evaluation, as plain Python values.

    Args:
        probabilities_NK: one row a video.
        losses_N: cross-entropy a video.
        labels_N: the true classes.
        classes: names, in the order of the labels.
        groups: the source of each video; without them each video is its own.

    Returns:
        accuracy, top5_accuracy (None below six classes, where it says nothing), loss, interval (Wilson's, as if the
        videos were independent), interval_groups (the bootstrap over groups; None where it says nothing else, or
        nothing at all: where all videos are one group, or all groups alike, such as all right), num_groups, correct,
        num_videos and per_class: precision, recall and f1 (0 where a class was never predicted or has no video) and count.
    """
    from sklearn.metrics import precision_recall_fscore_support

    total = len(labels_N)
    num_groups = len(set(groups)) or total
    correct = top_k_correct(probabilities_NK, labels_N, 1)
    predicted_N = probabilities_NK.argmax(axis=1)
    figures = precision_recall_fscore_support(
        labels_N, predicted_N, labels=range(len(classes)), zero_division=0
    )
    per_class = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "count": int(n)}
        for name, p, r, f, n in zip(classes, *figures, strict=True)
    }
    by_group = group_interval(predicted_N == labels_N, groups) if 1 < num_groups < total else None
    if by_group and by_group[0] == by_group[1]:
        by_group = None
    return {
        "accuracy": correct / total,
        "top5_accuracy": (
            top_k_correct(probabilities_NK, labels_N, 5) / total if len(classes) > 5 else None
        ),
        "loss": float(losses_N.astype(np.float64).mean()),
        "interval": list(wilson_interval(correct, total)),
        "interval_groups": by_group and list(by_group),
        "num_groups": num_groups,
        "correct": correct,
        "num_videos": total,
        "per_class": per_class,
    }

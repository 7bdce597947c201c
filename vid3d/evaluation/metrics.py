"""From probabilities to numbers: accuracy, interval, per-class figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vid3d.evaluation import calibration

DRAWN_AT_ONCE = 500  # signs of all groups: bounds the memory

MOST_CONFUSED = 10  # pairs of classes in metrics.json
Z_95 = 1.959963984540054  # the 97.5% point of the standard normal distribution


def wilson_interval(correct: float, total: float) -> tuple[float, float]:
    """The 95% interval of a proportion (Wilson 1927), inside [0, 1] and right for few videos.

    SciPy's takes whole numbers only; an effective number of videos is not whole.
    """
    p, z2 = correct / total, Z_95**2
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    low = 0.0 if p == 0 else max(0.0, centre - half)
    return low, 1.0 if p == 1 else min(1.0, centre + half)


def group_interval(shares: Sequence[float], groups: Sequence[str]) -> tuple[float, float]:
    """The 95% interval of the mean of `shares` where videos of one group are alike: Wilson's, for
    as many independent videos as say as much about the mean.

    These are the videos over the design effect, the variance by groups over that of independent
    videos; and fewer by the factor (z / t)^2, as that variance is itself an estimate (Korn and
    Graubard 1998, "Confidence intervals for proportions with small expected number of positive
    counts"; with Wilson's interval Franco et al. 2019). They are never more than the videos and
    never fewer than the groups, a group that holds more of the videos than others counting for less
    (Kish 1965). t has the degrees of freedom of that number of groups (Carter, Schnepel and
    Steigerwald 2017), and no more than there are groups with a wrong video, or with a right one:
    the fewer, the less is known of how alike videos are. Where all are right, nothing is, and each
    group counts as one video.

    `experiments/coverage.py` measures how often it holds.

    Args:
        shares: how right each video is, from 0 to 1.
        groups: the group of each video.
    """
    return ratio_interval(shares, [1.0] * len(shares), groups)


def ratio_interval(
    right: Sequence[float], out_of: Sequence[float], groups: Sequence[str]
) -> tuple[float, float]:
    """`group_interval` of sum(right) / sum(out_of), where a video has more than one share.

    Such as seconds, of which `right` are right `out_of` all that the video has.

    Args:
        right: of each video, from 0 to what it has.
        out_of: what each video has; what has nothing does not count.
        groups: the group of each video.
    """
    from scipy.stats import t

    _, number_N = np.unique(groups, return_inverse=True)
    right_G, total_G = (np.bincount(number_N, weights=w) for w in (right, out_of))
    right_G, total_G = right_G[total_G > 0], total_G[total_G > 0]
    right_G = np.where(np.isclose(right_G, total_G, rtol=1e-9, atol=0), total_G, right_G)
    total, mean = total_G.sum(), min(right_G.sum() / total_G.sum(), 1.0)
    effective = total**2 / (total_G**2).sum()
    freedom = min(effective - 1, np.count_nonzero(right_G), np.count_nonzero(right_G < total_G))
    if freedom > 0:
        deviations = ((right_G - mean * total_G) ** 2).sum() / total**2
        variance = deviations * len(total_G) / (len(total_G) - 1)
        design_effect = max(1.0, variance * total / (mean * (1 - mean)))
        shrink = (Z_95 / t.ppf(0.975, freedom)) ** 2
        effective = max(effective, total / design_effect * shrink)
    low, high = wilson_interval(mean * effective, effective)
    return float(low), float(high)


def best_interval(figures: dict[str, Any]) -> tuple[str, Sequence[float]]:
    """Which interval of `summarise` to show, and the interval.

    "groups", the one over groups, where there is one, otherwise "wilson".
    """
    by_group = figures.get("interval_groups")
    return ("groups", by_group) if by_group else ("wilson", figures["interval"])


def interval_kind(figures: dict[str, Any]) -> str:
    """What `best_interval` is, in words: "95%, 12 sources", or "95%, Wilson"."""
    over_sources = best_interval(figures)[0] == "groups"
    return f"95%, {sources(figures)}" if over_sources else "95%, Wilson"


def sources(figures: dict[str, Any]) -> str:
    """How many sources `best_interval` is over, in words."""
    if best_interval(figures)[0] == "wilson":
        return "each video its own source"
    return f"{figures['num_groups']} source" + "s" * (figures["num_groups"] != 1)


def sign_flip_p_value(
    gains: Sequence[float], groups: Sequence[str], *, draws: int = 20_000
) -> float:
    """The two-sided probability of a difference at least this large if both runs were equally good.

    Videos of one group are alike: the signs of whole groups are flipped, in all ways where there
    are at most `draws` of them, otherwise in that many ways, drawn from a fixed seed. With one
    video per group this is McNemar's exact test. Source: Winkler et al. 2015, "Multi-level block
    permutation", NeuroImage 123.

    Args:
        gains: by how much the first run is better on each video.
        groups: the group of each video.
        draws: of signs.
    """
    from scipy.stats import permutation_test

    _, number_N = np.unique(groups, return_inverse=True)
    gain_G = np.bincount(number_N, weights=gains)
    gain_G = gain_G[gain_G != 0]
    if len(gain_G) < 2:  # either sign is as large
        return 1.0
    found = permutation_test(
        (gain_G,),
        lambda gain_G, axis: abs(gain_G.sum(axis=axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=draws,
        batch=DRAWN_AT_ONCE,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def top_k_correct(probabilities_NK: np.ndarray, labels_N: np.ndarray, k: int) -> int:
    """How many videos have their label among the k most probable classes.

    Of equally probable classes the lower index comes first.
    """
    order_NK = np.argsort(-probabilities_NK, axis=1, kind="stable")
    return int((order_NK[:, :k] == labels_N[:, None]).any(axis=1).sum())


def confusion_matrix(labels_N: np.ndarray, predicted_N: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts, int64 [true class, predicted class]."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels_N, predicted_N), 1)
    return matrix


class ConfusedPair(NamedTuple):
    """Videos of one class that were taken for another one."""

    true: int  # class
    predicted: int  # class
    videos: int  # how many
    total: int  # of all videos of the true class


def confused_pairs(matrix: np.ndarray) -> list[ConfusedPair]:
    """The pairs of different classes that were confused, those with most videos first.

    Of equal counts the larger share of the true class comes first.

    Args:
        matrix: see `confusion_matrix`.
    """
    total_K = matrix.sum(axis=1)
    pairs = [
        ConfusedPair(true, predicted, int(matrix[true, predicted]), int(total_K[true]))
        for true, predicted in np.argwhere(matrix).tolist()
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair.videos, pair.total))


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
        probabilities_NK: one row per video.
        losses_N: cross-entropy of each video.
        labels_N: the true classes.
        classes: names, in the order of the labels.
        groups: the source of each video; without them each video is its own.

    Returns:
        accuracy, top5_accuracy (None below six classes, where it says nothing), loss, interval
        (Wilson's, as if the videos were independent), interval_groups (that over groups; None where
        each video is one), num_groups, balanced_accuracy and macro_f1 (the means of recall and f1
        over the classes that have a video), calibration (see `calibration.summarise`), correct,
        num_videos, most_confused (`MOST_CONFUSED` pairs at most: true, predicted, videos, total),
        per_group (see `accuracy_per_group`; {} where each video is its own)
        and per_class: precision, recall and f1 (0 where a class was never predicted or has no
        video) and count.
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
    matrix = confusion_matrix(labels_N, predicted_N, len(classes))
    by_group = group_interval(predicted_N == labels_N, groups) if num_groups < total else None
    return {
        "accuracy": correct / total,
        "top5_accuracy": (
            top_k_correct(probabilities_NK, labels_N, 5) / total if len(classes) > 5 else None
        ),
        "loss": float(losses_N.astype(np.float64).mean()),
        "interval": list(wilson_interval(correct, total)),
        "interval_groups": by_group and list(by_group),
        "num_groups": num_groups,
        "balanced_accuracy": mean_over_classes(per_class, "recall"),
        "macro_f1": mean_over_classes(per_class, "f1"),
        "calibration": calibration.summarise(
            probabilities_NK, labels_N, groups or [str(number) for number in range(total)]
        ),
        "correct": correct,
        "num_videos": total,
        "most_confused": [
            pair._asdict() | {"true": classes[pair.true], "predicted": classes[pair.predicted]}
            for pair in confused_pairs(matrix)[:MOST_CONFUSED]
        ],
        "per_group": (
            accuracy_per_group(predicted_N == labels_N, groups) if num_groups < total else {}
        ),
        "per_class": per_class,
    }


def accuracy_per_group(
    right: Sequence[bool] | np.ndarray, groups: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Group -> accuracy, correct and count (of its videos), the least accurate group first.

    Of equal ones, that with more videos comes first.

    Args:
        right: whether each video was answered rightly.
        groups: the group of each video.
    """
    names, number_N = np.unique(groups, return_inverse=True)
    correct_G = np.bincount(number_N, weights=right).astype(int).tolist()
    count_G = np.bincount(number_N).tolist()
    rows = [
        (str(name), {"accuracy": correct / count, "correct": correct, "count": count})
        for name, correct, count in zip(names, correct_G, count_G, strict=True)
    ]
    return dict(sorted(rows, key=lambda row: (row[1]["accuracy"], -row[1]["count"], row[0])))


def mean_over_classes(per_class: Mapping[str, Mapping[str, float]], key: str) -> float:
    """The mean of a figure over the classes that have a video.

    A class without one has neither a recall nor a use for an F1 of 0, whatever was taken for it:
    that is an error of the classes that have videos.
    """
    return float(np.mean([row[key] for row in per_class.values() if row["count"]]))

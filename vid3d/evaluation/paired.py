"""The paired test of two runs on the same videos, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

from vid3d.evaluation import metrics
from vid3d.evaluation.runs import ComparedRun


@dataclass(frozen=True)
class Paired:
    """McNemar's test of two runs on the same test videos (McNemar 1947), exact.

    Attributes:
        only_first: videos that only the first run has right; only_second: likewise.
        both, neither: the other videos.
        p_value: two-sided, of a difference this large if the two were equally good and the videos
            independent.
        num_groups: source groups that the videos come from; None where that is not known of all.
        p_value_groups: the same where videos of one group are alike; None likewise.
        differing: (path, true class, prediction of the first, of the second) where the two predict
            another class.
    """

    only_first: int
    only_second: int
    both: int
    neither: int
    p_value: float
    num_groups: int | None
    p_value_groups: float | None
    differing: list[tuple[str, str, str, str]]


def pair(first: ComparedRun, second: ComparedRun) -> Paired | None:
    """The paired test; None where the two were not both tested on the same videos."""
    if not first.answers or first.answers.keys() != second.answers.keys():
        return None
    from scipy.stats import binomtest

    counts = {(a, b): 0 for a in (True, False) for b in (True, False)}
    differing, gains = [], []
    for video, (label, a) in first.answers.items():
        b = second.answers[video][1]
        counts[a == label, b == label] += 1
        gains.append(int(a == label) - int(b == label))
        if a != b:
            differing.append((video[0], label, a, b))
    discordant = counts[True, False] + counts[False, True]
    p = binomtest(counts[True, False], discordant).pvalue if discordant else 1.0
    groups = [first.groups[path] for path, _ in first.answers if path in first.groups]
    # The source of a video that the training run did not list, such as one that was renamed since,
    # is not known.
    known = len(groups) == len(first.answers)
    return Paired(
        only_first=counts[True, False],
        only_second=counts[False, True],
        both=counts[True, True],
        neither=counts[False, False],
        p_value=float(p),
        num_groups=len(set(groups)) if known else None,
        p_value_groups=metrics.sign_flip_p_value(gains, groups) if known else None,
        differing=differing,
    )

"""Time lines against their truth: the measures of the field, pure NumPy.

- Seconds: accuracy is the share of time at which the labels are right, none included; F1 of a
  label is that of its time. Both are exact: they are integrals over time, and not counted on a grid
  of frames.
- Segments: F1 at a temporal intersection over union (IoU) of 10%, 25% and 50%, and the edit score,
  as in temporal action segmentation (Lea et al. 2017, "Temporal convolutional networks for action
  segmentation and detection"; Farha and Gall 2019, "MS-TCN"). Time without a label is background
  and no segment.
- Detection: mean average precision at a temporal IoU of 0.3 to 0.7, as ActivityNet computes it
  (Caba Heilbron et al. 2015): interpolated precision, the mean over the labels that have a truth.

All are from 0 to 1, and None where there is nothing that they could be of. Intervals (95%) are over
sources: of accuracy and every F1 as of an accuracy (`metrics.ratio_interval`), as F1 is the share
of matched time or segments in those of truth and prediction; of the edit score as of the mean of
recordings; of the mean average precision by leaving out one source at a time (jackknife).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from vid3d.evaluation.metrics import group_interval, ratio_interval
from vid3d.video.timeline import Event

IOUS = (0.1, 0.25, 0.5)  # of segments
TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)  # of detection


class Recording(NamedTuple):
    """A recording with what happens in it and what was found.

    Attributes:
        path: that names it.
        source: recordings of one source are alike.
        seconds: how long it is.
        truth: the true events.
        found: the predicted ones.
    """

    path: str
    source: str
    seconds: float
    truth: Sequence[Event]
    found: Sequence[Event]


class Counts(NamedTuple):
    """What an F1 is made of, in segments or seconds."""

    both: float  # in truth and prediction
    true: float
    found: float

    def f1(self) -> float | None:
        """None where there is neither truth nor prediction."""
        total = self.true + self.found
        return 2 * self.both / total if total else None


def seconds_right(recording: Recording) -> float:
    """Seconds at which truth and prediction have the same labels."""
    both = (recording.truth, recording.found)
    labels = {event.label for events in both for event in events}
    unions = {label: [union(events, label) for events in both] for label in labels}
    edges = [edge for pair in unions.values() for edge_N in pair for edge in edge_N.ravel()]
    edges_M = np.unique(np.clip([0.0, recording.seconds, *edges], 0.0, recording.seconds))
    middles_M = (edges_M[1:] + edges_M[:-1]) / 2
    same_M = np.ones(len(middles_M), bool)
    for pair in unions.values():
        truth_M, found_M = (np.searchsorted(own.ravel(), middles_M) % 2 for own in pair)
        same_M &= truth_M == found_M
    return float(np.diff(edges_M)[same_M].sum())


def second_counts(recording: Recording, label: str) -> Counts:
    """Seconds of a label in truth, prediction and both."""
    truth_N2, found_M2 = (union(events, label) for events in (recording.truth, recording.found))
    true, found = (float((own[:, 1] - own[:, 0]).sum()) for own in (truth_N2, found_M2))
    if not len(truth_N2) or not len(found_M2):
        return Counts(0.0, true, found)
    # The seconds of truth up to each of its edges, and in between by interpolation.
    lengths = np.stack([np.zeros(len(truth_N2)), truth_N2[:, 1] - truth_N2[:, 0]], axis=1)
    until_M2 = np.interp(found_M2, truth_N2.ravel(), np.cumsum(lengths.ravel()))
    return Counts(float((until_M2[:, 1] - until_M2[:, 0]).sum()), true, found)


def union(events: Iterable[Event], label: str) -> np.ndarray:
    """The time of a label, as ascending stretches that do not touch: float64 [N, 2]."""
    stretches: list[list[float]] = []
    for start, end in sorted((e.start, e.end) for e in events if e.label == label):
        if stretches and start <= stretches[-1][1]:
            stretches[-1][1] = max(end, stretches[-1][1])
        else:
            stretches.append([start, end])
    return np.array(stretches, np.float64).reshape(-1, 2)


def overlaps(found: Sequence[Event], truth: Sequence[Event]) -> np.ndarray:
    """Temporal intersection over union of each pair: float64 [found, truth]."""
    one_N2, other_M2 = (
        np.array([(e.start, e.end) for e in own], np.float64).reshape(-1, 2)
        for own in (found, truth)
    )
    start_NM = np.maximum(one_N2[:, None, 0], other_M2[None, :, 0])
    end_NM = np.minimum(one_N2[:, None, 1], other_M2[None, :, 1])
    shared_NM = np.maximum(end_NM - start_NM, 0.0)
    lengths = (own[:, 1] - own[:, 0] for own in (one_N2, other_M2))
    return shared_NM / (np.add.outer(*lengths) - shared_NM)


def segment_counts(recording: Recording, label: str, iou: float) -> Counts:
    """Segments of a label in truth, prediction, and matched.

    Each predicted one, by start, is compared with the true one that it overlaps most (of equals the
    first); that is matched where the overlap is at least `iou` and no earlier one has it.
    """
    truth = sorted(event for event in recording.truth if event.label == label)
    found = sorted(event for event in recording.found if event.label == label)
    if not truth or not found:
        return Counts(0, len(truth), len(found))
    iou_NM = overlaps(found, truth)
    taken_N = iou_NM.argmax(axis=1)[iou_NM.max(axis=1) >= iou]
    return Counts(len(np.unique(taken_N)), len(truth), len(found))


def edit_score(recording: Recording) -> float | None:
    """1 minus the normalised edit distance of the labels in their order; None without any."""
    truth, found = (
        [event.label for event in sorted(events)] for events in (recording.truth, recording.found)
    )
    if not truth and not found:
        return None
    before = list(range(len(found) + 1))
    for i, label in enumerate(truth, 1):
        row = [i]
        for j, other in enumerate(found, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (label != other)))
        before = row
    return 1 - before[-1] / max(len(truth), len(found))


def average_precision(
    recordings: Sequence[Recording], label: str, tious: Sequence[float] = TIOUS
) -> np.ndarray | None:
    """Average precision of a label at each temporal IoU, float64; None where it has no truth.

    Predictions take true events by descending probability (of equals by path and start), each the
    one that it overlaps most among those that are left.
    """
    truth = {r.path: [e for e in r.truth if e.label == label] for r in recordings}
    total = sum(map(len, truth.values()))
    if not total:
        return None
    found = sorted(
        ((r.path, event) for r in recordings for event in r.found if event.label == label),
        key=lambda pair: (-pair[1].probability, pair[0], pair[1].start, pair[1].end),
    )
    right_TN = np.zeros((len(tious), len(found)), bool)
    free = [{path: set(range(len(own))) for path, own in truth.items()} for _ in tious]
    for n, (path, event) in enumerate(found):
        iou_M = overlaps([event], truth[path])[0]
        near = np.flatnonzero(iou_M >= min(tious))
        order = near[np.argsort(-iou_M[near], kind="stable")].tolist()
        for t, tiou in enumerate(tious):
            for k in order:
                if iou_M[k] >= tiou and k in free[t][path]:
                    free[t][path].remove(k)
                    right_TN[t, n] = True
                    break
    return np.array([interpolated(right_N, total) for right_N in right_TN])


def interpolated(right_N: np.ndarray, total: int) -> float:
    """The area below precision over recall, where precision is the highest at that recall or more.

    Args:
        right_N: whether each prediction is right, by descending probability.
        total: true events.
    """
    if not right_N.any():
        return 0.0
    precision_N = np.cumsum(right_N) / np.arange(1, len(right_N) + 1)
    highest_N = np.maximum.accumulate(precision_N[::-1])[::-1]
    return float(highest_N[right_N].sum() / total)


def mean_average_precision(
    recordings: Sequence[Recording], labels: Sequence[str], tious: Sequence[float] = TIOUS
) -> np.ndarray | None:
    """The mean over the labels that have a truth, at each temporal IoU; None without any truth."""
    found = [average_precision(recordings, label, tious) for label in labels]
    of_labels = [precision_T for precision_T in found if precision_T is not None]
    return np.mean(of_labels, axis=0) if of_labels else None


def summarise(recordings: Sequence[Recording], labels: Sequence[str]) -> dict[str, Any]:
    """Every measure, as plain Python values, over all labels and of each.

    Over all labels, F1 is of the sums (micro); `macro` has the means over the labels that have a
    truth. An interval is next to its figure, as `NAME_interval`.

    Args:
        recordings: with truth and prediction.
        labels: that are judged.
    """
    sources = [recording.source for recording in recordings]
    figures: dict[str, Any] = {
        "num_recordings": len(recordings),
        "num_sources": len(set(sources)),
        "hours": sum(recording.seconds for recording in recordings) / 3600,
    }
    right = [seconds_right(recording) for recording in recordings]
    lengths = [recording.seconds for recording in recordings]
    figures |= with_interval("accuracy", right, lengths, sources)
    per_label: dict[str, dict[str, Any]] = {label: {} for label in labels}
    for name, count in counters().items():
        counts = {label: [count(r, label) for r in recordings] for label in labels}
        everything = [total(row) for row in zip(*counts.values(), strict=True)]
        figures |= f1_with_interval(name, everything, sources)
        for label, own in counts.items():
            per_label[label] |= f1_with_interval(name, own, sources)
    edits = [(edit_score(r), r.source) for r in recordings]
    figures |= mean_with_interval("edit", [(e, s) for e, s in edits if e is not None])
    figures |= detection(recordings, labels)
    for label, row in per_label.items():
        precision_T = average_precision(recordings, label)
        row["average_precision"] = None if precision_T is None else float(precision_T.mean())
        row["true_events"] = sum(e.label == label for r in recordings for e in r.truth)
        row["found_events"] = sum(e.label == label for r in recordings for e in r.found)
        row["true_seconds"] = sum(second_counts(r, label).true for r in recordings)
        row["found_seconds"] = sum(second_counts(r, label).found for r in recordings)
    with_truth = [row for row in per_label.values() if row["true_events"]]
    figures["macro"] = {
        name: float(np.mean([row[name] for row in with_truth])) if with_truth else None
        for name in counters()
    }
    return figures | {"per_label": per_label}


def counters() -> dict[str, Callable[[Recording, str], Counts]]:
    """What the F1 of each name counts."""
    named: dict[str, Callable[[Recording, str], Counts]] = {"second_f1": second_counts}
    for iou in IOUS:
        named[f"segment_f1@{100 * iou:.0f}"] = partial(segment_counts, iou=iou)
    return named


def total(counts: Iterable[Counts]) -> Counts:
    """The sums."""
    return Counts(*(math.fsum(column) for column in zip(*counts, strict=True)))


def f1_with_interval(name: str, counts: Sequence[Counts], sources: Sequence[str]) -> dict[str, Any]:
    """F1 of the sum over all recordings: matched time or segments, of truth and of prediction."""
    matched = [2 * own.both for own in counts]
    return with_interval(name, matched, [own.true + own.found for own in counts], sources)


def with_interval(
    name: str, right: Sequence[float], out_of: Sequence[float], sources: Sequence[str]
) -> dict[str, Any]:
    """The share that is right, and its interval over sources."""
    if not sum(out_of):
        return {name: None, f"{name}_interval": None}
    return {
        name: math.fsum(right) / math.fsum(out_of),
        f"{name}_interval": list(ratio_interval(right, out_of, sources)),
    }


def mean_with_interval(name: str, scores: Sequence[tuple[float, str]]) -> dict[str, Any]:
    """The mean of recordings, and its interval over their sources."""
    if not scores:
        return {name: None, f"{name}_interval": None}
    shares, sources = zip(*scores, strict=True)
    return {
        name: float(np.mean(shares)),
        f"{name}_interval": list(group_interval(shares, sources)),
    }


def detection(recordings: Sequence[Recording], labels: Sequence[str]) -> dict[str, Any]:
    """Mean average precision at each temporal IoU and its mean, with the interval of the mean."""
    precision_T = mean_average_precision(recordings, labels)
    if precision_T is None:
        return {"map": None, "map_interval": None, "map@": {}}
    whole = float(precision_T.mean())
    return {
        "map": whole,
        "map_interval": jackknife_interval(recordings, labels, whole),
        "map@": {f"{tiou:g}": float(p) for tiou, p in zip(TIOUS, precision_T, strict=True)},
    }


def jackknife_interval(
    recordings: Sequence[Recording], labels: Sequence[str], whole: float
) -> list[float] | None:
    """The 95% interval of the mean average precision; None for fewer than two sources.

    Student's, by the variance of what is left when a source is left out (Tukey 1958).
    """
    from scipy.stats import t

    found = []
    for source in sorted({recording.source for recording in recordings}):
        rest = mean_average_precision([r for r in recordings if r.source != source], labels)
        if rest is not None:
            found.append(float(rest.mean()))
    without_S, count = np.array(found), len(found)
    if count < 2:
        return None
    squares = float(np.square(without_S - without_S.mean()).sum())
    deviation = math.sqrt((count - 1) / count * squares)
    half = float(t.ppf(0.975, count - 1)) * deviation
    return [max(whole - half, 0.0), min(whole + half, 1.0)]

"""Measures of time lines, against independent implementations written from the definitions.

The ones here count on a fine grid, recurse, or follow the published evaluation code step by step;
the product integrates, fills a table and sorts once.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings as effort, strategies as st

from vid3d.evaluation import events as measures, timeline_plot
from vid3d.evaluation.events import Recording, summarise
from vid3d.evaluation.metrics import group_interval, ratio_interval
from vid3d.evaluation.timeline_plot import timeline_figure
from vid3d.video.timeline import Event

LABELS = ("a", "b")
STEP = 0.25  # seconds; all times of the tests are multiples of it


def recording(truth: str, found: str, *, path: str = "x", source: str = "") -> Recording:
    """A letter per second; a space is background. Probabilities fall with time."""

    def runs(text: str) -> list[Event]:
        made, start = [], 0
        for k in range(1, len(text) + 1):
            if k == len(text) or text[k] != text[start]:
                if text[start] != " ":
                    made.append(Event(float(start), float(k), text[start], 1 - k / 100))
                start = k
        return made

    return Recording(path, source or path, float(len(truth)), runs(truth), runs(found))


def on_grid(one: Recording) -> tuple[list[set[str]], list[set[str]]]:
    """The labels of truth and prediction at every quarter of a second, in its middle."""
    moments = [STEP * (k + 0.5) for k in range(round(one.seconds / STEP))]
    return tuple(
        [{e.label for e in events if e.start < m < e.end} for m in moments]
        for events in (one.truth, one.found)
    )


def grid_f1(recordings: list[Recording], label: str) -> float | None:
    pairs = [pair for one in recordings for pair in zip(*on_grid(one), strict=True)]
    tp = sum(label in t and label in f for t, f in pairs)
    fp = sum(label not in t and label in f for t, f in pairs)
    fn = sum(label in t and label not in f for t, f in pairs)
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None


def grid_iou(one: Event, other: Event) -> float:
    """By counting cells."""
    cells = [{k for k in range(4000) if e.start <= STEP * k < e.end - 1e-9} for e in (one, other)]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


def paper_segment_f1(recordings: list[Recording], labels, iou: float) -> float | None:
    """Farha and Gall 2019: a prediction is a hit where its best true segment is still free."""
    tp = fp = fn = 0
    for one in recordings:
        for label in labels:
            truth = sorted(e for e in one.truth if e.label == label)
            hit = [False] * len(truth)
            for event in sorted(e for e in one.found if e.label == label):
                scores = [grid_iou(event, other) for other in truth]
                if scores and max(scores) >= iou and not hit[scores.index(max(scores))]:
                    tp += 1
                    hit[scores.index(max(scores))] = True
                else:
                    fp += 1
            fn += hit.count(False)
    if not tp + fp + fn:
        return None
    precision, recall = tp / max(tp + fp, 1), tp / max(tp + fn, 1)
    return 2 * precision * recall / (precision + recall) if tp else 0.0


def paper_edit(one: Recording) -> float | None:
    """The recursive definition of the Levenshtein distance."""
    truth, found = ([e.label for e in sorted(own)] for own in (one.truth, one.found))
    if not truth and not found:
        return None

    @functools.cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(
            distance(i - 1, j) + 1,
            distance(i, j - 1) + 1,
            distance(i - 1, j - 1) + (truth[i - 1] != found[j - 1]),
        )

    return 1 - distance(len(truth), len(found)) / max(len(truth), len(found))


def paper_average_precision(recordings: list[Recording], label: str, tiou: float) -> float | None:
    """ActivityNet: lock true events one by one; interpolate; sum where recall grows."""
    truth = [[r.path, e, False] for r in recordings for e in r.truth if e.label == label]
    if not truth:
        return None
    found = [(r.path, e) for r in recordings for e in r.found if e.label == label]
    found.sort(key=lambda pair: (-pair[1].probability, pair[0], pair[1].start, pair[1].end))
    tp, fp = np.zeros(len(found)), np.zeros(len(found))
    for n, (path, event) in enumerate(found):
        candidates = [row for row in truth if row[0] == path]
        candidates.sort(key=lambda row: grid_iou(row[1], event), reverse=True)
        for row in candidates:
            if grid_iou(row[1], event) < tiou:
                break
            if not row[2]:
                row[2], tp[n] = True, 1
                break
        fp[n] = 1 - tp[n]
    recall = np.cumsum(tp) / len(truth)
    precision = np.cumsum(tp) / np.maximum(np.cumsum(tp) + np.cumsum(fp), 1)
    mrec, mprec = np.hstack([[0], recall, [1]]), np.hstack([[0], precision, [0]])
    for k in range(len(mprec) - 2, -1, -1):
        mprec[k] = max(mprec[k], mprec[k + 1])
    grows = np.flatnonzero(mrec[1:] != mrec[:-1])
    return float(((mrec[grows + 1] - mrec[grows]) * mprec[grows + 1]).sum())


@st.composite
def time_lines(draw) -> list[Recording]:
    """Up to three recordings of 10 s; events of one label may overlap, and probabilities tie."""
    times = st.integers(0, 36)
    made = []
    for number in range(draw(st.integers(1, 3))):
        own = []
        for _ in range(2):
            events = []
            for _ in range(draw(st.integers(0, 4))):
                start, length = draw(times), draw(st.integers(1, 8))
                label = draw(st.sampled_from(LABELS))
                probability = draw(st.sampled_from([0.25, 0.5, 0.75]))
                end = min(start + length, 40)
                events.append(Event(start * STEP, end * STEP, label, probability))
            own.append(sorted(events))
        made.append(Recording(f"{number}.mp4", f"source {number % 2}", 10.0, *own))
    return made


@given(recordings=time_lines())
@effort(max_examples=60)
def test_every_measure_is_that_of_its_definition(recordings):
    figures = summarise(recordings, LABELS)
    grids = [pair for one in recordings for pair in zip(*on_grid(one), strict=True)]
    assert figures["accuracy"] == pytest.approx(np.mean([t == f for t, f in grids]))
    for label, row in figures["per_label"].items():
        assert row["second_f1"] == pytest.approx(grid_f1(recordings, label))
        for name, iou in (("10", 0.1), ("25", 0.25), ("50", 0.5)):
            expected = paper_segment_f1(recordings, [label], iou)
            assert row[f"segment_f1@{name}"] == pytest.approx(expected)
    for name, iou in (("10", 0.1), ("25", 0.25), ("50", 0.5)):
        expected = paper_segment_f1(recordings, LABELS, iou)
        assert figures[f"segment_f1@{name}"] == pytest.approx(expected)
    edits = [score for one in recordings if (score := paper_edit(one)) is not None]
    assert figures["edit"] == pytest.approx(np.mean(edits) if edits else None)
    for tiou in measures.TIOUS:
        precisions = [paper_average_precision(recordings, label, tiou) for label in LABELS]
        known = [precision for precision in precisions if precision is not None]
        expected = pytest.approx(np.mean(known)) if known else None
        assert figures["map@"].get(f"{tiou:g}") == expected
    for name, value in figures.items():
        if interval := figures.get(f"{name}_interval"):
            assert 0 <= interval[0] <= value + 1e-9 and value - 1e-9 <= interval[1] <= 1


def test_a_perfect_time_line_has_ones_and_an_interval_that_few_sources_leave_wide():
    perfect = [recording("aa bb a", "aa bb a", path=f"{k}.mp4") for k in range(4)]
    figures = summarise(perfect, LABELS)
    for name in ("accuracy", "second_f1", "segment_f1@10", "segment_f1@50", "edit", "map"):
        assert figures[name] == 1.0, name
    assert figures["segment_f1@50_interval"] == pytest.approx(
        list(group_interval([1.0] * 24, [f"{k // 6}" for k in range(24)]))
    )
    assert figures["accuracy_interval"][0] < 0.7 and figures["accuracy_interval"][1] == 1.0
    assert (figures["num_recordings"], figures["num_sources"]) == (4, 4)
    assert figures["hours"] == pytest.approx(28 / 3600)


def test_where_nothing_happens_and_nothing_is_found_there_is_only_accuracy():
    figures = summarise([recording("    ", "    ")], LABELS)
    assert figures["accuracy"] == 1.0
    for name in ("second_f1", "segment_f1@50", "edit", "map", "map_interval"):
        assert figures[name] is None, name
    assert figures["map@"] == {} and figures["macro"]["second_f1"] is None


def test_no_prediction_and_no_truth_are_zero_and_not_an_error():
    missed = summarise([recording("aa  ", "    ")], LABELS)
    assert (missed["accuracy"], missed["second_f1"], missed["edit"]) == (0.5, 0.0, 0.0)
    assert (missed["segment_f1@10"], missed["map"]) == (0.0, 0.0)
    invented = summarise([recording("    ", "aa  ")], LABELS)
    assert (invented["segment_f1@10"], invented["edit"], invented["map"]) == (0.0, 0.0, None)


def test_fragments_and_shifts_are_told_apart():
    """Fragments keep most seconds and lose segments; the second of two hits of one is wrong."""
    figures = summarise([recording("aaaaaaaaaa", "aaaa aaaaa")], LABELS)
    assert figures["accuracy"] == pytest.approx(0.9)
    assert figures["segment_f1@25"] == pytest.approx(2 * 1 / 3)
    assert figures["edit"] == pytest.approx(0.5)
    order = summarise([recording("aabb", "bbaa")], LABELS)
    assert (order["accuracy"], order["segment_f1@10"], order["edit"]) == (0.0, 0.0, 0.0)


def test_labels_without_truth_do_not_count_in_the_means():
    figures = summarise([recording("aa  ", "aabb")], LABELS)
    assert figures["macro"]["segment_f1@50"] == 1.0 and figures["map"] == 1.0
    assert figures["per_label"]["b"]["average_precision"] is None
    assert figures["per_label"]["b"]["segment_f1@50"] == 0.0
    assert figures["segment_f1@50"] == pytest.approx(2 / 3)


def test_a_ratio_of_single_shares_has_the_interval_of_their_mean():
    shares, groups = [1.0, 0.0, 1.0, 1.0, 0.5, 1.0], list("aabbcc")
    assert ratio_interval(shares, [1.0] * 6, groups) == group_interval(shares, groups)
    whole = ratio_interval([1.0, 2.0, 1.5, 0.0], [2.0, 2.0, 2.0, 0.0], list("abcd"))
    assert whole == group_interval(shares, groups)


def test_recordings_are_named_by_what_tells_them_apart():
    folder = "/data/of/a/long/name/that/says/nothing"
    named = timeline_plot.without_common_folder
    assert named([f"{folder}/a/1.mp4", f"{folder}/a/2.mp4"]) == ["1.mp4", "2.mp4"]
    assert named([f"{folder}/a/1.mp4", f"{folder}/b/1.mp4"]) == ["a/1.mp4", "b/1.mp4"]
    assert named(["a/1.mp4"]) == ["1.mp4"] and named(["1.mp4", "a/1.mp4"]) == ["1.mp4", "a/1.mp4"]


def test_the_picture_has_truth_over_prediction_in_the_colours_of_the_legend():
    many = [recording("aab  ", "  bba", path=f"{k}.mp4") for k in range(timeline_plot.MOST + 2)]
    figure = timeline_figure(many, LABELS)
    axes, beside = figure.axes
    assert len(axes.get_yticklabels()) == timeline_plot.MOST
    assert [text.get_text() for text in beside.get_yticklabels()[:2]] == ["truth", "prediction"]
    assert beside.get_yticks()[0] < beside.get_yticks()[1] and beside.get_ylim() == axes.get_ylim()
    assert "2 more recordings are not drawn" in axes.get_title()
    legend = {text.get_text(): patch.get_facecolor() for text, patch in zip(
        figure.legends[0].get_texts(), figure.legends[0].get_patches(), strict=True)}  # fmt: skip
    boxes = {}
    for bar in axes.collections[:6]:  # of the first recording: two backgrounds, four events
        (path,) = bar.get_paths()
        start, top = path.vertices.min(axis=0)
        end, _ = path.vertices.max(axis=0)
        boxes[float(start), float(end)] = float(top), tuple(bar.get_facecolor()[0])
    assert boxes[0, 2][1] == boxes[4, 5][1] == legend["a"] != legend["b"] == boxes[2, 3][1]
    assert boxes[0, 2][0] == boxes[2, 3][0] < boxes[4, 5][0] == boxes[2, 4][0]

"""The time line decoder: what each of its steps does to probabilities that are written by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings as effort, strategies as st

from vid3d.video.plan import smoothed, stretches, window_labels
from vid3d.video.timeline import Decoder, Event, Settings, decode, suppress, temporal_iou

CLASSES = ("eat", "groom", "rest")


def rows(text: str) -> np.ndarray:
    """A row per letter: e, g, r are certain, E, G, R 0.6 sure, "." is undecided."""
    made = np.full((len(text), 3), 1 / 3, np.float32)
    for row_K, letter in zip(made, text, strict=True):
        if letter != ".":
            sure = 1.0 if letter.islower() else 0.6
            row_K[:] = (1 - sure) / 2
            row_K["egr".index(letter.lower())] = sure
    return made


def found(text: str, **settings) -> list[tuple[float, float, str]]:
    """Events of windows of one second each, without probabilities."""
    events = decode(range(len(text) + 1), rows(text), CLASSES, Settings(**settings))
    return [(event.start, event.end, event.label) for event in events]


def test_by_default_events_are_the_stretches_of_one_label():
    assert found("eeggr") == [(0, 2, "eat"), (2, 4, "groom"), (4, 5, "rest")]
    (event,) = decode([0.0, 1.0, 4.0], rows("eE"), CLASSES, Settings())
    assert event == Event(0.0, 4.0, "eat", pytest.approx((1.0 + 3 * 0.6) / 4))


def test_what_is_below_the_threshold_is_left_out_or_kept_as_unknown():
    assert found("e..eG", threshold=0.5) == [(0, 1, "eat"), (3, 4, "eat"), (4, 5, "groom")]
    kept = found("e..e", threshold=0.5, unknown=True)
    assert kept == [(0, 1, "eat"), (1, 3, "unknown"), (3, 4, "eat")]
    (event,) = decode([0.0, 2.0], rows("."), CLASSES, Settings(threshold=0.5, unknown=True))
    assert event.probability == pytest.approx(1 / 3)


def test_background_is_no_event_and_does_not_keep_events_apart():
    assert found("errg", background=("rest",)) == [(0, 1, "eat"), (3, 4, "groom")]
    assert found("erre", background=("rest",), merge=2.0) == [(0, 4, "eat")]


def test_smoothing_rids_the_time_line_of_single_outliers():
    assert len(found("eeegeee")) == 3
    assert found("eeegeee", smoothing=0.6) == [(0, 7, "eat")]


def test_hysteresis_lets_an_event_go_on_where_it_would_not_begin():
    assert found("eGer", hysteresis=0.7) == [(0, 3, "eat"), (3, 4, "rest")]
    assert found(".E.e", threshold=0.5, hysteresis=0.4) == [(1, 4, "eat")]
    begins = [(1, 2, "groom")]  # what is no event does not go on
    assert found("rG", hysteresis=0.7, background=("rest",)) == begins
    assert found("Ee.E.g", on=(0.9,), hysteresis=0.65) == [(1, 5, "eat"), (5, 6, "groom")]


def test_shorter_events_are_dropped_before_neighbours_are_merged():
    assert found("eegeeg", shortest=2.0) == [(0, 2, "eat"), (3, 5, "eat")]
    assert found("eegeeg", shortest=2.0, merge=1.0) == [(0, 5, "eat")]
    assert found("e.e.e", threshold=0.5, shortest=2.0, merge=1.0) == []


def test_merging_closes_gaps_of_at_most_so_many_seconds():
    assert found("e.e..e", threshold=0.5, merge=1.0) == [(0, 3, "eat"), (5, 6, "eat")]
    assert found("e.e..e", threshold=0.5, merge=2.0) == [(0, 6, "eat")]
    (event,) = decode([0, 1, 2, 3], rows("e.e"), CLASSES, Settings(threshold=0.5, merge=1.0))
    assert event.probability == pytest.approx((1 + 1 / 3 + 1) / 3)


def test_one_label_at_a_time_is_not_merged_across_another():
    apart = [(0, 2, "eat"), (2, 3, "groom"), (3, 5, "eat")]
    assert found("eegee", merge=9.0) == apart


def test_with_on_each_label_stands_by_itself_and_events_may_overlap():
    assert found("eegg", on=(0.9,)) == [(0, 2, "eat"), (2, 4, "groom")]
    both = np.array([[0.5, 0.0, 0.5], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], np.float32)
    events = decode([0, 1, 2, 3], both, CLASSES, Settings(on=(0.4,), background=("rest",)))
    assert [event[:3] for event in events] == [(0, 2, "eat"), (1, 3, "groom")]
    assert found("egeg", on=(0.9,), merge=1.0) == [(0, 3, "eat"), (1, 4, "groom")]


def test_of_candidates_that_overlap_the_most_probable_stays():
    """0.5 finds the whole event, 0.9 its certain middle; tIoU of the two is 2 / 4."""
    assert found("EeeE", on=(0.5, 0.9), nms=0.4) == [(1, 3, "eat")]
    assert found("EeeE", on=(0.5, 0.9), nms=0.6) == [(0, 4, "eat"), (1, 3, "eat")]
    assert found("EEEE", on=(0.5, 0.9), nms=0.6) == [(0, 4, "eat")]


def test_suppression_prefers_the_earlier_and_longer_of_equals():
    events = [Event(1, 3, "eat", 0.5), Event(0, 2, "eat", 0.5), Event(0, 3, "eat", 0.5)]
    assert suppress(events, 0.3) == [events[2]]
    assert suppress(events[:2], 0.3) == [events[1]]
    assert suppress(events[:2], 0.4) == [events[1], events[0]]
    assert temporal_iou(events[0], events[1]) == pytest.approx(1 / 3)
    assert temporal_iou(Event(0, 1, "", 1), Event(1, 2, "", 1)) == 0


def test_an_event_is_given_as_soon_as_nothing_can_change_it():
    decoder = Decoder(CLASSES, Settings(threshold=0.5, shortest=2.0, merge=1.0))
    given_at = {}
    for second, row_K in enumerate(rows("ee.ee..gg")):
        for event in decoder.push(second, second + 1, row_K):
            given_at[event[:3]] = second + 1
    assert given_at == {(0, 5, "eat"): 7}
    assert [event[:3] for event in decoder.finish()] == [(7, 9, "groom")]
    assert decoder.finish() == []


@st.composite
def recordings(draw) -> tuple[list[float], np.ndarray]:
    count = draw(st.integers(1, 30))
    steps = draw(st.lists(st.sampled_from([0.4, 1.0, 2.5]), min_size=count, max_size=count))
    numbers = draw(st.lists(st.integers(0, 9), min_size=3 * count, max_size=3 * count))
    rows_NK = np.array(numbers, np.float32).reshape(count, 3) + 0.1
    return [0.0, *np.cumsum(steps)], rows_NK / rows_NK.sum(axis=1, keepdims=True)


@st.composite
def all_settings(draw) -> Settings:
    share = st.sampled_from([0.0, 0.3, 0.6])
    return Settings(
        smoothing=draw(share), threshold=draw(share), hysteresis=draw(share),
        on=draw(st.sampled_from([(), (0.5,), (0.3, 0.6)])),
        shortest=draw(st.sampled_from([0.0, 1.0, 3.0])),
        merge=draw(st.sampled_from([0.0, 1.0, 3.0])), nms=draw(share),
        background=draw(st.sampled_from([(), ("rest",)])), unknown=draw(st.booleans()),
    )  # fmt: skip


@given(recording=recordings(), chosen=all_settings())
@effort(max_examples=150)
def test_events_obey_the_settings_whatever_the_windows_say(recording, chosen):
    bounds, rows_NK = recording
    events = decode(bounds, rows_NK, CLASSES, chosen)
    for event in events:
        assert {event.start, event.end} <= set(bounds)
        assert event.end - event.start >= chosen.shortest - 1e-6
        assert 0 <= event.probability <= 1
        assert event.label not in chosen.background
        assert event.label != "unknown" or (chosen.unknown and not chosen.on)
    for label in {event.label for event in events}:
        own = [event for event in events if event.label == label]
        for one, other in pairwise(own):
            assert temporal_iou(one, other) <= chosen.nms
            if chosen.merge and not chosen.on:
                between = [e for e in events if one.end <= e.start < other.start and e != other]
                assert other.start - one.end > chosen.merge or between
    if not chosen.on:
        assert all(one.end <= other.start for one, other in pairwise(events))


@given(
    recording=recordings(), share=st.sampled_from([0.0, 0.4]), threshold=st.sampled_from([0, 0.4])
)
@effort(max_examples=60)
def test_without_other_settings_events_are_the_runs_of_the_time_line(recording, share, threshold):
    """As the table of `predict` shows them."""
    bounds, rows_NK = recording
    smooth_NK = smoothed(rows_NK, share)
    labels_N = window_labels(smooth_NK, threshold)
    names = [*CLASSES, "unknown"]
    runs = [(bounds[a], bounds[b], names[labels_N[a]]) for a, b in stretches(labels_N)]
    events = decode(
        bounds, rows_NK, CLASSES, Settings(smoothing=share, threshold=threshold, unknown=True)
    )
    assert [event[:3] for event in events] == runs

"""`config.predict`: what a threshold, windows, overlap and smoothing make of a video's answer."""

from __future__ import annotations

import csv
import io
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from vid3d import config as configs
from vid3d.errors import UserError
from vid3d.inference import overlay
from vid3d.video import frames
from vid3d.video.clips import duration
from vid3d.video.plan import Durations, plan
from vid3d.video.windows import TemporalWindow

UNIFORM = {"data.sampling": "uniform"}


@pytest.fixture(scope="module")
def doubtful(noisy):
    """Red, then what may be red or blue, then blue: 36 frames each."""
    red, blue = noisy("red", 36), noisy("blue", 36)
    between = (noisy("red", 36, seed=1) / 2 + noisy("blue", 36, seed=2) / 2).astype(np.uint8)
    return np.concatenate([red, between, blue])


@pytest.fixture(scope="module")
def threshold(load, doubtful) -> float:
    """Between the probability of what is doubtful and that of what is not."""
    sure, doubt, also = (
        load(UNIFORM).predict(doubtful[first : first + 12]).probability for first in (0, 48, 96)
    )
    assert doubt + 0.02 < min(sure, also)
    return (doubt + min(sure, also)) / 2


def test_what_is_below_the_threshold_is_unknown_everywhere(
    make_workdir, doubtful, threshold, write_video, tmp_path, call, load
):
    """In the table's numbers, JSON, CSV, the annotated copy and Python."""
    path = write_video(tmp_path / "doubtful.avi", doubtful)
    command = ("predict", f"--workdir={make_workdir(UNIFORM)}", path, f"--threshold={threshold}")
    output = tmp_path / "out"
    (answer,) = json.loads(call(*command, "--json", f"--output={output}").stdout)["predictions"]
    (row,) = csv.DictReader(io.StringIO(call(*command, "--csv").stdout))
    called = load(UNIFORM).predict(path, threshold=threshold)
    segments = [(s["start"], s["end"], s["label"]) for s in answer["segments"]]
    assert [label for _, _, label in segments] == ["red", "unknown", "blue"]
    assert [cut for _, cut, _ in segments] == pytest.approx([1.44, 2.88, 4.32], abs=0.5)
    assert row["segments"] == "; ".join(f"{a:.2f}-{b:.2f} {label}" for a, b, label in segments)
    assert [s._asdict() for s in called.segments] == answer["segments"]
    label = answer["label"]
    assert label == row["label"] == called.label
    assert (label == "unknown") == (answer["probability"] < threshold)
    original = [frame for frame, _ in frames.read_frames(path)]
    copy = [frame for frame, _ in frames.read_frames(output / "doubtful.mp4")]
    for segment in answer["segments"]:
        middle = int(25 * (segment["start"] + segment["end"]) / 2)
        away = {
            name: np.abs(
                overlay.draw(original[middle], name, probability=segment["probability"])[-26:]
                - copy[middle][-26:].astype(int)
            ).mean()
            for name in ("red", "green", "blue", "unknown")
        }
        assert min(away, key=away.get) == segment["label"], away


def test_short_and_certain_videos(load, noisy, threshold):
    """A threshold leaves what is certain alone; a short video has one answer."""
    classifier = load(UNIFORM)
    plain = classifier.predict(noisy("red", 12))
    assert classifier.predict(noisy("red", 12), threshold=threshold) == plain
    unsure = classifier.predict(noisy("red", 12), threshold=1.0)
    assert (unsure.label, unsure.segments[0].label) == ("unknown", "unknown")
    assert unsure.probabilities == plain.probabilities
    assert classifier.config.predict.threshold == 0


def test_longest_stretch_has_a_label_where_any_has(load, doubtful, threshold):
    """What is unknown takes most of the time."""
    classifier = load(UNIFORM | {"eval.long_videos": "longest"})
    video = np.concatenate([doubtful[:36], *[doubtful[40:68]] * 4])
    assert classifier.predict(video, threshold=threshold).label == "red"
    assert classifier.predict(video[36:], threshold=threshold).label == "unknown"


@pytest.mark.parametrize("smoothing", [0.0, 0.6])
def test_windows_are_labelled_as_live_labels_them(load, doubtful, threshold, smoothing):
    """With the same smoothing and threshold, where both look at the same windows."""
    live = load({"live.smoothing": smoothing, "live.threshold": threshold})
    stream, labels = live.stream(), []
    for number, frame in enumerate(doubtful, 1):
        stream.add(frame)
        if number % 4 == 0:
            labels.append(stream.predict())
    answer = live.predict(doubtful, smoothing=smoothing, threshold=threshold)
    groups = [list(group) for _, group in itertools.groupby(labels, key=lambda a: a.label)]
    assert [s.label for s in answer.segments] == [group[0].label for group in groups]
    for segment, group in zip(answer.segments, groups, strict=True):
        assert segment.end - segment.start == pytest.approx(len(group) * 4 / 25)
        rows = [list(a.probabilities.values()) for a in group]
        assert segment.probability == pytest.approx(np.mean(rows, axis=0).max(), abs=1e-5)
    assert "unknown" in {segment.label for segment in answer.segments}


def test_smoothing_changes_the_timeline_and_not_the_mean(load, noisy):
    classifier = load(UNIFORM)
    parts = [noisy(colour, 12, seed=k) for k, colour in enumerate(["red"] * 4 + ["blue"] + ["red"])]
    video = np.concatenate(parts)
    plain, smooth = classifier.predict(video), classifier.predict(video, smoothing=0.7)
    assert [s.label for s in plain.segments] == ["red", "blue", "red"]
    assert [s.label for s in smooth.segments] == ["red"]
    assert smooth.probabilities == plain.probabilities


def test_windows_have_the_length_and_overlap_that_are_asked_for(load, noisy):
    classifier = load(UNIFORM)
    video = np.concatenate([noisy("red", 60), noisy("blue", 60)])
    notes = {
        (): "from 10 windows of 0.48 s: longer than the training videos (median 0.48 s)",
        ("window", 1.2): "from 4 windows of 1.2 s: longer than predict.window (1.2 s)",
        ("overlap", 0.5): "from 19 windows of 0.48 s that overlap by 50%: "
        "longer than the training videos (median 0.48 s)",
        ("window", 4.0): "",
    }
    for setting, note in notes.items():
        answer = classifier.predict(video, **dict([setting] if setting else []))
        assert answer.note == note
        if note:
            assert [s.label for s in answer.segments] == ["red", "blue"]
            assert answer.segments[0].end == pytest.approx(2.4, abs=0.25)
    assert classifier.predict(noisy("red", 12), window=0.24).note.startswith("from 2 windows")


@given(
    times=st.lists(st.floats(0.001, 2.0), min_size=1, max_size=120).map(np.cumsum),
    overlap=st.floats(0, 0.99),
    seconds=st.floats(0.05, 3.0),
    frames=st.sampled_from([0, 0, 1, 4, 9]),
)
def test_overlapping_windows_answer_for_the_whole_video(times, overlap, seconds, frames):
    """Whatever the frame rate does: every frame is looked at, and bounds ascend."""
    times = times - times[0]
    window = TemporalWindow(frames=frames, seconds=seconds, sampling="uniform")
    tiles = window.tiles(times, overlap)
    assert tiles[0][0] == 0 and tiles[-1][1] == len(times)
    for (first, stop), (following, end) in itertools.pairwise(tiles):
        assert first < following <= stop <= end
    config = configs.default()
    config.data.num_frames, config.data.sampling = 2, "uniform"
    made = plan(times, config.data, config.eval, Durations(), window=seconds, overlap=overlap)
    if made.bounds:
        assert (np.diff(made.bounds) > 0).all() and len(made.bounds) == len(made.indices) + 1
        assert (made.bounds[0], made.bounds[-1]) == (0.0, duration(times))
        own = TemporalWindow(frames=0, seconds=seconds, sampling="uniform")
        last = duration(times) - times[own.tiles(times, overlap)[-1][0]]  # of the last window
        assert made.bounds[-1] - made.bounds[-2] >= last / 2 - 1e-6


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"threshold": 1.5}, "config.predict.threshold=1.5 has to be from 0 to 1"),
        ({"overlap": 1.0}, r"config.predict.overlap=1.0 has to be from 0 to 1, but not 1"),
        ({"window": 2.0}, "config.predict.window=2 needs data.sampling='uniform'"),
        ({"treshold": 0.5}, "no config key 'predict.treshold'; did you mean 'predict.threshold'"),
    ],
)
def test_impossible_settings_are_refused(load, noisy, workdir, call, settings, reason):
    with pytest.raises(UserError, match=reason):
        load().predict(noisy("red", 12), **settings)
    ((name, value),) = settings.items()
    if name != "treshold":
        command = ("predict", f"--workdir={workdir}", f"--{name}={value}", "x.avi")
        assert f"config.predict.{name}=" in call(*command, check=1).stderr

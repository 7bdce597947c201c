"""Labels of a network that takes a frame at a time: rates, gaps, cuts, live."""

from __future__ import annotations

import numpy as np
import pytest

from vid3d.errors import UserError
from vid3d.inference.classifier import Classifier
from vid3d.inference.live import live

STREAM = [("live.mode", "stream")]


@pytest.fixture(scope="module")
def loaded(make_workdir):
    return Classifier.load(make_workdir())


def labels(stream, frames, times=None):
    times = [None] * len(frames) if times is None else times
    found = [stream.push(frame, time) for frame, time in zip(frames, times, strict=True)]
    return [answer.label if answer else "" for answer in found]


def test_labels_follow_the_colour(loaded, noisy):
    stream = loaded.stream(fps=25, mode="stream")
    found = labels(stream, np.concatenate([noisy("red", 30), noisy("blue", 30)]))
    assert found[: stream.warm_up - 1] == [""] * (stream.warm_up - 1)
    assert found[stream.warm_up - 1] == "red"
    assert [label for label in found[45:] if label] == ["blue"] * sum(map(bool, found[45:]))


def test_a_gap_starts_the_network_anew(loaded, noisy):
    """Frames from before a gap would be taken for the second before."""
    stream = loaded.stream(fps=25, mode="stream")
    times = [*np.arange(20) / 25, *(10 + np.arange(20) / 25), *(3 + np.arange(20) / 25)]
    found = labels(stream, noisy("green", 60), times)
    assert stream.starts == 3
    for start in (0, 20, 40):
        assert found[start : start + stream.warm_up - 1] == [""] * (stream.warm_up - 1)
        assert found[start + stream.warm_up - 1] == "green"


def test_frames_are_taken_at_the_rate_of_the_training(make_workdir, noisy):
    """At twice the rate of the clips every other frame is taken, at half of it each one twice."""
    classifier = Classifier.load(make_workdir({"data.fps": 10.0}))
    for fps, frames in ((20, 2), (10, 1), (5, 0.5)):
        stream = classifier.stream(fps=fps, mode="stream")
        pushed = labels(stream, noisy("red", 40))
        first = next(i for i, label in enumerate(pushed) if label)
        assert first == pytest.approx((stream.warm_up - 1) * frames, abs=1)
        answer = classifier.stream(fps=fps, mode="stream")
        last = [a for frame in noisy("red", 40) if (a := answer.push(frame))][-1]
        assert last.segments[0].end - last.segments[0].start == pytest.approx(0.3, abs=0.1)


def test_live_labels_a_file_by_steps(make_workdir, noisy, write_video, tmp_path):
    path = write_video(tmp_path / "a.mp4", noisy("blue", 40))
    found = []
    live(make_workdir(), str(path), on_label=found.append, overrides=STREAM)
    assert {label.prediction.label for label in found} == {"blue"}
    assert len(found) >= 10


def test_what_cannot_be_is_one_line(make_workdir, noisy):
    group = Classifier.load(make_workdir({"model.norm": "none"}))
    with pytest.raises(UserError, match="mode='steam' is not one of clip, stream"):
        group.stream(mode="steam")
    uniform = Classifier.load(make_workdir({"data.sampling": "uniform"}))
    uniform.window_seconds = 0.0
    with pytest.raises(UserError, match=r"set live\.window"):
        uniform.stream(mode="stream")

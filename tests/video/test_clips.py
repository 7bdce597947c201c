"""Which frames the network sees: the same ones in training, evaluation and live prediction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings as settings_of, strategies as st
from ml_collections import ConfigDict

from vid3d.video import clips
from vid3d.video.windows import TemporalWindow


def data(**changed) -> ConfigDict:
    """The part of `config.data` that clips read."""
    values = dict(num_frames=4, frame_step=1, fps=0.0, short="repeat", sampling="first") | changed
    return ConfigDict(values)


def seconds(count: int, fps: float = 25.0) -> np.ndarray:
    """Times of a video with a constant rate."""
    return np.arange(count) / fps


videos = st.lists(st.floats(0.001, 0.5), min_size=0, max_size=60).map(
    lambda gaps: np.concatenate([[0.0], np.cumsum(gaps)])
)
settings = st.builds(
    data,
    num_frames=st.integers(1, 20),
    frame_step=st.integers(1, 5),
    fps=st.sampled_from([0.0, 2.0, 12.5, 30.0]),
    short=st.sampled_from(["repeat", "loop"]),
)
samplings = st.sampled_from(["first", "center", "uniform", "random"])
positions = st.floats(0, 1)


@given(videos, settings, samplings, positions)
def test_clip_is_whole_and_inside_its_video(times_N, data, sampling, position):
    indices = clips.clip_indices(times_N, data, sampling=sampling, position=position)
    assert indices.shape == (data.num_frames,)
    assert indices.dtype == np.int64
    assert indices.min() >= 0 and indices.max() < len(times_N)


@given(videos, settings, samplings, positions)
def test_clip_ascends_unless_it_loops(times_N, data, sampling, position):
    indices = clips.clip_indices(times_N, data, sampling=sampling, position=position)
    if data.short == "repeat" or not clips.is_short(times_N, data):
        assert (np.diff(indices) >= 0).all()


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 5), positions)
def test_clip_keeps_the_frame_step(count, num_frames, step, position):
    settings = data(num_frames=num_frames, frame_step=step)
    indices = clips.clip_indices(seconds(count), settings, sampling="random", position=position)
    if count >= clips.clip_frames(settings):
        assert (np.diff(indices) == step).all()


@settings_of(max_examples=20)
@given(st.integers(20, 60), st.integers(1, 20))
def test_random_starts_are_uniform(count, num_frames):
    settings = data(num_frames=num_frames)
    grid = (np.arange(400) + 0.5) / 400
    starts = [
        clips.clip_indices(seconds(count), settings, sampling="random", position=p)[0] for p in grid
    ]
    drawn = np.bincount(starts, minlength=count - num_frames + 1)
    assert len(drawn) == count - num_frames + 1
    assert drawn.max() - drawn.min() <= 1


@given(st.integers(1, 60), st.integers(1, 20))
def test_time_sampling_equals_frame_sampling_at_own_rate(count, num_frames):
    by_frame = data(num_frames=num_frames, frame_step=3)
    by_time = data(num_frames=num_frames, fps=10.0)
    for sampling in ("first", "center"):
        expected = clips.clip_indices(seconds(count, 30.0), by_frame, sampling=sampling)
        found = clips.clip_indices(seconds(count, 30.0), by_time, sampling=sampling)
        if sampling == "first":
            assert (found == expected).all()
        else:
            assert abs(found - expected).max() <= 1


def test_first_sampling_takes_first_ten_frames():
    indices = clips.clip_indices(seconds(180), data(num_frames=10), sampling="first", position=0.9)
    assert indices.tolist() == list(range(10))


def test_variable_rate_is_sampled_by_time():
    times_N = np.array([0.0, 0.1, 0.2, 0.3, 1.0, 2.0, 3.0])
    indices = clips.clip_indices(times_N, data(num_frames=4, fps=1.0), sampling="first")
    assert times_N[indices].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_short_video_repeats_last_frame_or_loops():
    three = seconds(3)
    repeat = clips.clip_indices(three, data(num_frames=7), sampling="first")
    loop = clips.clip_indices(three, data(num_frames=7, short="loop"), sampling="first")
    assert repeat.tolist() == [0, 1, 2, 2, 2, 2, 2]
    assert loop.tolist() == [0, 1, 2, 0, 1, 2, 0]
    timed = data(num_frames=7, short="loop", fps=25.0)
    assert clips.clip_indices(three, timed, sampling="first").tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_single_frame_makes_a_clip():
    for sampling in ("first", "center", "uniform", "random"):
        for fps in (0.0, 10.0):
            for short in ("repeat", "loop"):
                settings = data(fps=fps, short=short)
                found = clips.clip_indices(seconds(1), settings, sampling=sampling, position=1.0)
                assert found.tolist() == [0, 0, 0, 0]


def test_uniform_takes_the_middle_of_each_piece():
    for fps in (0.0, 5.0):
        found = clips.clip_indices(seconds(40), data(fps=fps), sampling="uniform")
        assert abs(found - np.array([5, 15, 25, 35])).max() <= 1


@pytest.mark.parametrize("count", [7, 9, 11])
def test_uniform_by_time_is_that_by_frames_at_a_constant_rate(count):
    by_frames, by_time = (
        clips.clip_indices(seconds(count), data(fps=fps, num_frames=3), sampling="uniform")
        for fps in (0.0, 5.0)
    )
    np.testing.assert_array_equal(by_time, by_frames)


def test_views_are_spread_evenly():
    assert clips.view_positions(1) == (0.5,)
    assert clips.view_positions(2) == (0.25, 0.75)
    for sampling in ("center", "uniform"):
        views = {
            tuple(clips.clip_indices(seconds(40), data(), sampling=sampling, position=p))
            for p in clips.view_positions(4)
        }
        assert len(views) == 4


def test_evaluation_sampling_is_deterministic_with_distinct_views():
    assert clips.evaluation_sampling(data(sampling="random")) == "center"
    assert clips.evaluation_sampling(data(sampling="first")) == "first"
    assert clips.evaluation_sampling(data(sampling="first"), views=3) == "center"
    assert clips.evaluation_sampling(data(sampling="uniform"), views=3) == "uniform"


@given(videos, settings)
def test_short_videos_are_those_that_repeat(times_N, data):
    if data.fps:
        span = (data.num_frames - 1) / data.fps
        shorter = times_N[-1] + clips.frame_interval(times_N) / 2 < span
    else:
        shorter = len(times_N) < (data.num_frames - 1) * data.frame_step + 1
    assert clips.is_short(times_N, data) == shorter


def test_clip_frames_counts_the_span():
    assert clips.clip_frames(data(num_frames=10, frame_step=2)) == 19
    assert clips.clip_frames(data(fps=5.0)) == clips.clip_frames(data(sampling="uniform")) == 0


def test_empty_video_and_unknown_sampling_are_refused():
    with pytest.raises(ValueError, match="without frames"):
        clips.clip_indices(np.zeros(0), data(), sampling="first")
    with pytest.raises(ValueError, match="no sampling"):
        clips.clip_indices(seconds(3), data(), sampling="middle")


@pytest.mark.parametrize(("overlap", "step"), [(0.0, 8), (0.5, 4), (0.75, 2), (0.99, 1)])
def test_windows_of_frames_overlap_by_the_share_asked_for(overlap, step):
    window = TemporalWindow(frames=8, seconds=0.0, sampling="first")
    expected = [(first, first + 8) for first in range(0, 25, step)]
    assert window.tiles(seconds(32), overlap) == expected

"""Recordings that are decoded once get the answers of those that are decoded in full first."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vid3d.errors import UserError
from vid3d.inference import files, recordings
from vid3d.inference.recordings import label_recordings

UNIFORM = {"data.sampling": "uniform"}
BY_TIME = {"data.fps": 12.5}
LOOPED = {"data.stored_frames": 60}


@pytest.fixture(scope="module")
def long_video(noisy, write_video, tmp_path_factory):
    """20 s that turn from one colour to another every 1 to 3 s."""
    colours = itertools.cycle(["red", "blue", "green", "blue"])
    parts = [noisy(next(colours), 25 + 10 * (k % 6), seed=k) for k in range(10)]
    return write_video(tmp_path_factory.mktemp("long") / "long.avi", np.concatenate(parts))


@pytest.fixture
def no_second_decoding(monkeypatch):
    """Makes decoding a file a second time an error."""

    def refuse(*arguments, **options):
        raise AssertionError("decoded a second time")

    monkeypatch.setattr(files, "fitted", refuse)


def check_same(classifier, paths, **settings) -> None:
    """Against `predict`, which plans with all times known."""
    for path, video in label_recordings(classifier, paths, **settings):
        expected = classifier.predict(path, **settings)
        answer = classifier.prediction_of(video)
        assert (answer.num_frames, answer.seconds) == (expected.num_frames, expected.seconds)
        assert (answer.note, answer.damage) == (expected.note, expected.damage)
        assert [s[:3] for s in answer.segments] == [s[:3] for s in expected.segments]
        assert [e[:3] for e in answer.events] == [e[:3] for e in expected.events]
        np.testing.assert_allclose(
            list(answer.probabilities.values()), list(expected.probabilities.values()), atol=1e-5
        )


@pytest.mark.parametrize("changes", [{}, UNIFORM, BY_TIME, LOOPED], ids=str)
def test_one_decoding_gives_the_answer_of_two(
    load, long_video, videos, changes, no_second_decoding
):
    """Of a long one, of short ones, and of one that is a little longer than a window."""
    check_same(load(changes), [long_video, videos["red"], videos["turning"]])


@pytest.mark.parametrize(
    "settings", [{"overlap": 0.5}, {"overlap": 0.9, "window": 1.0}, {"window": 15.0}], ids=str
)
def test_windows_are_those_that_are_asked_for(load, long_video, settings, no_second_decoding):
    check_same(load(UNIFORM), [long_video], **settings)


@pytest.mark.parametrize("bound", [0, 60 * 16 * 16 * 3])
def test_what_is_too_much_to_hold_is_decoded_again(load, long_video, monkeypatch, bound):
    """Nothing, or sixty frames: less than the longer windows take."""
    monkeypatch.setattr(files, "HELD_BYTES", bound)
    check_same(load(UNIFORM), [long_video], window=4.0)


def test_a_rate_that_varies_changes_no_answer(load, long_video, ffmpeg, tmp_path):
    """The mean rate, which the length of a window follows, is known at the end alone."""
    path = tmp_path / "varies.mkv"
    faster = "setpts='if(lt(N,200),N/25,8+(N-200)/60)/TB'"
    ffmpeg("-i", long_video, "-vf", faster, "-fps_mode", "passthrough", path)
    check_same(load(UNIFORM), [path], overlap=0.25)
    check_same(load(BY_TIME), [path])


def test_answers_do_not_depend_on_what_else_is_labelled(load, long_video, videos):
    """To the last digit: `evaluate` and `predict` see other lists of files."""
    classifier = load(UNIFORM)
    alone = dict(label_recordings(classifier, [long_video]))[str(long_video)]
    paths = [videos["turning"], long_video, videos["red"]]
    among = dict(label_recordings(classifier, paths, workers=2))[str(long_video)]
    np.testing.assert_array_equal(alone.probabilities_NK, among.probabilities_NK)
    assert alone.events(classifier.classes) == among.events(classifier.classes)


def test_a_file_that_fails_is_named_in_its_place(load, videos, tmp_path):
    missing = tmp_path / "missing.avi"
    answers = list(label_recordings(load(), [missing, videos["red"]]))
    assert [path for path, _ in answers] == [str(missing), str(videos["red"])]
    assert isinstance(answers[0][1], UserError) and "no such file" in str(answers[0][1])
    assert answers[1][1].missing == 0


def test_frames_are_let_go_as_soon_as_no_window_needs_them(load, long_video):
    """So memory does not grow with the length of a recording."""
    classifier = load(UNIFORM)
    recording = recordings.Recording(classifier, classifier.config.predict)
    most, frame_HWC = 0, np.zeros((16, 16, 3), np.uint8)
    for number in range(4000):
        recording.add([frame_HWC], [number / 25])
        most = max(most, len(recording._held))
    assert most <= 64 and len(recording._taken) > 300

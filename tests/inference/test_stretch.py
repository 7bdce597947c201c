"""A stretch of a video: `predict` and `explain` with --start and --end, and `vid3d.stretch`."""

from __future__ import annotations

import json

import pytest

import vid3d
from vid3d.errors import UserError
from vid3d.video import frames


def test_a_stretch_is_labelled_by_its_own_frames(load, noisy, write_video, tmp_path):
    """In the frames of training: from the start, without the end, and times are the file's."""
    path = write_video(tmp_path / "turning.avi", noisy("red", 50))
    whole = [frame for frame, _ in frames.read_frames(path)]
    answer = load().predict(vid3d.stretch(path, 0.4, 0.88))
    assert answer.num_frames == 12
    assert answer.probabilities == load().predict(whole[10:22], fps=25).probabilities
    (segment,) = answer.segments
    assert segment[:2] == pytest.approx((0.4, 0.88))
    (event,) = answer.events
    assert event[:2] == pytest.approx((0.4, 0.88))


def test_windows_of_a_stretch_have_the_times_of_the_file(load, videos):
    source = vid3d.stretch(videos["turning"], 1.2, 2.4)
    ((path, answer),) = load().predict_many([source])
    assert path == str(videos["turning"])
    assert [segment.label for segment in answer.segments] == ["red", "blue"]
    ends = [answer.segments[0].start, answer.segments[0].end, answer.segments[1].end]
    assert ends == pytest.approx([1.2, 1.6, 2.4], abs=0.17)
    (event,) = load().predict(source, background=["red"], shortest=0.5).events
    assert event.label == "blue" and event.end == pytest.approx(2.4)
    with pytest.raises(UserError, match="background: the model has no class 'rde'; did you mean"):
        load().predict(source, background=["rde"])


def test_commands_take_the_stretch_of_a_mistake(call, workdir, videos, tmp_path):
    command = (f"--workdir={workdir}", videos["turning"], "--start=1.68", "--end=2.16", "--json")
    done = call("predict", *command, f"--output={tmp_path}/copies")
    (found,) = json.loads(done.stdout)["predictions"]
    assert found["label"] == "blue" and found["segments"][0]["start"] == pytest.approx(1.68)
    copied = list(frames.read_frames(tmp_path / "copies" / "turning.mp4"))
    assert len(copied) == found["num_frames"] == 12
    done = call("explain", *command, f"--output={tmp_path}/explained")
    explained = json.loads(done.stdout)
    assert explained["label"] == "blue" and explained["times"][0] == pytest.approx(1.68)
    assert max(explained["times"]) < 2.16
    assert len(list(frames.read_frames(tmp_path / "explained" / "turning.mp4"))) == 12


def test_a_stretch_that_cannot_be_used_is_one_line(call, workdir, videos):
    command = ("predict", f"--workdir={workdir}")
    for arguments, words in (
        (["--start=1"], "--start=1 needs the --end"),
        (["--start=2", "--end=1"], "--end=1 is not after --start=2"),
        (["--end=0.4", videos["blue"]], "are of a single video, and there are 2"),
        (["--end=0.4", "--events=e.csv"], "are of whole videos"),
        (["--start=5", "--end=6"], "cannot be used: it begins beyond the end of the video"),
        (["--end=9"], "the stretch cannot be used: it ends beyond the end of the video, 0.48 s"),
    ):
        assert words in call(*command, *arguments, videos["red"], check=1).stderr
    with pytest.raises(UserError, match="from 2 to 1 s is no stretch of time"):
        vid3d.stretch("a.mp4", 2, 1)

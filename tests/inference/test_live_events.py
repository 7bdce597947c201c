"""`vid3d live --events`: the events of `predict`, as they end."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from vid3d import config as configs
from vid3d.inference.live_events import LiveEvents
from vid3d.inference.live_output import Event as CameraEvent, Label, wall_clock
from vid3d.inference.prediction import Prediction, Segment

CLASSES = ("eat", "rest")


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


def label(second: int, name: str) -> Label:
    """The label of 25 frames from a second on."""
    sure = {"eat": [0.9, 0.1], "rest": [0.2, 0.8]}[name]
    answer = Prediction(
        name, max(sure), dict(zip(CLASSES, sure, strict=True)),
        (Segment(float(second), second + 0.96, name, max(sure)),), 25, 0.96,
    )  # fmt: skip
    return Label(answer, 0.0, wall_clock())


def test_a_file_has_the_events_of_predict(workdir, noisy, write_video, tmp_path, call):
    """Where the same windows are looked at; the last one, too."""
    parts = [noisy(colour, count) for colour, count in (("red", 40), ("blue", 8), ("red", 52))]
    path = write_video(tmp_path / "long.avi", np.concatenate(parts))
    decoder = "--config.predict.events.shortest=0.4"
    call("predict", f"--workdir={workdir}", path, f"--events={tmp_path}/predict.csv", decoder)
    done = call(
        "live", f"--workdir={workdir}", f"--source={path}", f"--events={tmp_path}/live.csv",
        "--config.live.every=4", decoder,
    )  # fmt: skip
    assert done.stdout == f"wrote {tmp_path}/live.csv: 2 events, 25 labels\n"
    expected, found = read(tmp_path / "predict.csv"), read(tmp_path / "live.csv")
    assert [row["label"] for row in found] == ["red", "red"]
    for one, other in zip(expected, found, strict=True):
        assert float(one.pop("probability")) == pytest.approx(
            float(other.pop("probability")), abs=1e-5
        )
        assert one == other


def test_an_event_is_written_as_soon_as_it_ends(tmp_path):
    config, path = configs.default(), tmp_path / "events.jsonl"
    config.predict.events.background = ("rest",)
    ends = []
    with LiveEvents(path, "camera", CLASSES, config) as events:
        for second, name in enumerate(["eat", "eat", "rest", "rest", "eat"]):
            events.label(label(second, name))
            ends.append([json.loads(line)["end"] for line in path.read_text().splitlines()])
    assert ends == [[], [], [], [2.0], [2.0]]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["start"], row["end"]) for row in rows] == [(0, 2), (4, 5)]
    assert rows[0] == {"path": "camera", "start": 0.0, "end": 2.0, "label": "eat",
                       "probability": pytest.approx(0.9)}  # fmt: skip


def test_a_lost_camera_ends_its_events(tmp_path):
    config, path = configs.default(), tmp_path / "events.csv"
    with LiveEvents(path, "rtsp://x", CLASSES, config) as events:
        events.label(label(0, "eat"))
        events.event(CameraEvent("lost", 1.0, wall_clock()))
        events.event(CameraEvent("back", 60.0, wall_clock()))
        events.label(label(61, "eat"))
    assert [(row["start"], row["end"]) for row in read(path)] == [("0.0", "1.0"), ("61.0", "62.0")]


def test_what_cannot_be_written_is_refused(workdir, videos, tmp_path, call):
    (tmp_path / "mine.csv").write_text("mine")
    for name, words in (
        (tmp_path / "e.srt", "end the name in .csv or .jsonl"),
        (tmp_path / "no" / "e.csv", "there is no folder"),
        (tmp_path / "mine.csv", "is there already"),
    ):
        command = ("live", f"--workdir={workdir}", f"--source={videos['red']}", f"--events={name}")
        assert words in call(*command, check=1).stderr

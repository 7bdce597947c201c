"""Events of `vid3d predict --events` in every format, also after a kill, with their list."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
from pathlib import Path

import pytest

from vid3d.commands.predict import EVENT_FORMATS
from vid3d.errors import UserError
from vid3d.inference.event_file import EventFile, check_target, list_of
from vid3d.inference.event_formats import FORMATS, Labelled, choose
from vid3d.inference.prediction import Event, Prediction
from vid3d.inference.rows import Row

CLASSES = ("eat", "groom")


@pytest.fixture
def predict(workdir, call):
    """`predict("a.avi", "--events=e.csv")` runs the command here."""
    return lambda *arguments, check=0: call(
        "predict", f"--workdir={workdir}", *arguments, check=check
    )


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


def test_background_of_the_training_is_no_event(make_workdir, videos, call, tmp_path):
    target = tmp_path / "events.csv"
    workdir = make_workdir({"data.background": "blue"})
    call("predict", f"--workdir={workdir}", videos["turning"], f"--events={target}")
    assert [row["label"] for row in read(target)] == ["red", "green"]


def test_recordings_become_a_csv_of_events_and_a_list_of_videos(predict, videos, tmp_path):
    """What a user asks for first: many recordings in, one table out, and nothing lost."""
    (tmp_path / "broken.avi").write_text("no video")
    target = tmp_path / "events.csv"
    paths = [videos["turning"], tmp_path / "broken.avi", videos["blue"]]
    done = predict(*paths, f"--events={target}", check=1)
    assert done.stdout == f"wrote {target}: 4 events of 3 videos, 1 with an error\n"
    assert f"error: {tmp_path}/broken.avi: " in done.stderr
    assert target.read_text().startswith("path,start,end,label,probability\n")
    (whole,) = json.loads(predict(videos["turning"], "--json").stdout)["predictions"]
    rows = read(target)
    own = [row for row in rows if row["path"] == str(videos["turning"])]
    assert [row["label"] for row in own] == ["red", "blue", "green"]
    for row, segment in zip(own, whole["segments"], strict=True):
        assert float(row["start"]) == pytest.approx(segment["start"], abs=1e-3)
        assert float(row["end"]) == pytest.approx(segment["end"], abs=1e-3)
        assert float(row["probability"]) == pytest.approx(segment["probability"], abs=1e-4)
    assert [row["label"] for row in rows if row["path"] == str(videos["blue"])] == ["blue"]
    listed = read(tmp_path / "events.csv.videos.csv")
    assert [(row["path"], row["events"]) for row in listed] == [
        (str(paths[0]), "3"), (str(paths[1]), ""), (str(paths[2]), "1"),
    ]  # fmt: skip
    assert listed[1]["error"] and not listed[0]["error"]
    assert float(listed[0]["seconds"]) == whole["seconds"]


def test_the_decoder_is_set_on_the_command_line(predict, videos, tmp_path):
    target = tmp_path / "events.csv"
    command = (videos["turning"], f"--events={target}", "--config.predict.events.shortest=1")
    predict(*command, "--config.predict.events.background=blue")
    assert [row["label"] for row in read(target)] == ["red"]


def test_a_run_goes_on_with_the_videos_that_are_not_done(predict, videos, tmp_path):
    target = tmp_path / "events.json"
    predict(videos["turning"], "missing.avi", f"--events={target}", check=1)
    before = json.loads(target.read_text())
    refused = predict(videos["red"], f"--events={target}", check=1).stderr
    assert "was begun before: add --resume" in refused
    paths = [videos["turning"], "missing.avi", videos["red"]]
    done = predict(*paths, f"--events={target}", "--resume", check=1)
    assert "1 events of 1 videos, 0 with an error; 2 were there, 1 with an error" in done.stdout
    after = json.loads(target.read_text())
    assert f"; now it holds {len(after)} events of 3 videos" in done.stdout
    assert after[: len(before)] == before and len(after) == len(before) + 1
    other = predict(
        *paths, f"--events={target}", "--resume", "--config.predict.events.merge=1", check=1
    )
    assert "with other options" in other.stderr


def test_a_recording_that_failed_is_tried_again(predict, videos, tmp_path):
    """A disk was not mounted, or a file was mended since: nobody has to edit a list by hand."""
    target, mended = tmp_path / "events.csv", tmp_path / "mended.avi"
    command = (mended, videos["red"], tmp_path / "gone.avi", f"--events={target}")
    first = predict(*command, "--resume", check=1)
    assert f"note: {target} is begun, with the options of now: there is nothing" in first.stderr
    assert "--retry in place of --resume tries the 2 with an error again" in first.stderr
    mended.hardlink_to(videos["turning"])
    done = predict(*command, "--retry", check=1)
    assert "3 events of 2 videos, 1 with an error; 1 were there, 0 with an error" in done.stdout
    assert "; now it holds 4 events of 3 videos" in done.stdout and "is begun" not in done.stderr
    assert [row["label"] for row in read(target)] == ["red", "red", "blue", "green"]
    listed = {row["path"]: row["events"] for row in read(tmp_path / "events.csv.videos.csv")}
    assert listed == {
        str(videos["red"]): "1", str(mended): "3", str(tmp_path / "gone.avi"): "",
    }  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_ends_with_the_file_of_one_that_was_not(
    predict, workdir, videos, tmp_path, start
):
    paths = [tmp_path / f"{k}.avi" for k in range(60)]
    for path in paths:
        path.hardlink_to(videos["turning"])
    whole, target = tmp_path / "whole.csv", tmp_path / "events.csv"
    predict(*paths, f"--events={whole}")
    command = (*map(str, paths), f"--events={target}", "--resume")
    process = start("predict", f"--workdir={workdir}", *command)
    process.wait_until(lambda: target.exists() and target.read_bytes().count(b"\n") > 9)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    with target.open("a") as file:
        file.write("what a torn write may leave")
    done = predict(*command)
    assert "were there" in done.stdout
    assert target.read_bytes() == whole.read_bytes()


def rows() -> list[Row]:
    """Recordings whose names and labels are hard on a format; one has no event, one failed."""
    events = (
        Event(0.0, 1.5, "eat", 0.9),
        Event(1.5, 3661.25, "groom", 0.75),
        Event(4000.0, 4000.4, "eat", 1.0),
    )
    some = Prediction("eat", 0.5, {}, (), 100, 4001.0, events=events)
    return [
        Row('a,"b".avi', some),
        Row("tab\tand\nline.avi", some),
        Row("quiet.avi", Prediction("eat", 0.5, {}, (), 100, 4001.0)),
        Row("broken.avi", None, "no video"),
        Row(os.fsdecode(b"\xff.avi"), some),
    ]


@pytest.mark.parametrize("name", ["csv", "json", "jsonl", "boris", "boris-table"])
def test_a_file_cut_at_any_recording_goes_on_after_it(tmp_path, name):
    form, target = FORMATS[name], tmp_path / "events"
    made = rows()
    states = []
    with EventFile(target, form, classes=CLASSES, checkpoint="1-a") as file:
        for row in made:
            states.append((target.read_bytes(), list_of(target, form).read_bytes()))
            file.add(row)
    final = target.read_bytes()
    for number, (events, listed) in enumerate(states):
        for torn in (b"", b"xy" * 3000):
            target.write_bytes(events + torn)
            list_of(target, form).write_bytes(listed)
            with EventFile(target, form, classes=CLASSES, checkpoint="1-a") as file:
                assert len(file.done) == number
                for row in made[number:]:
                    file.add(row)
            assert without_date(target.read_bytes()) == without_date(final)
    target.write_bytes(final.replace(b"0.9", b"0.8"))
    with pytest.raises(UserError, match="is not as it was written"):
        EventFile(target, form, classes=CLASSES, checkpoint="1-a")


def without_date(content: bytes) -> bytes:
    """A new BORIS project has the time of its start."""
    return re.sub(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", b"DATE", content)


def written(tmp_path: Path, name: str) -> Path:
    target = tmp_path / "out"
    with EventFile(target, FORMATS[name], classes=CLASSES, checkpoint="1-a") as file:
        for row in rows():
            file.add(row)
    return target


def test_boris_opens_the_project(tmp_path):
    """Each recording is an observation; state events are pairs of a start and a stop."""
    text = written(tmp_path, "boris").read_text(errors="surrogateescape")
    project = json.loads(text)
    assert project["project_format_version"] == "7.0"
    codes = {row["code"] for row in project["behaviors_conf"].values()}
    assert codes == set(CLASSES)
    assert list(project["observations"]) == [row.path for row in rows() if row.prediction]
    found = project["observations"]['a,"b".avi']
    (path,) = found["file"]["1"]
    assert path == os.path.abspath('a,"b".avi') and found["media_info"]["length"][path] == 4001.0
    times = {code: [mark[0] for mark in found["events"] if mark[2] == code] for code in codes}
    assert times == {"eat": [0.0, 1.5, 4000.0, 4000.4], "groom": [1.5, 3661.25]}
    assert project["observations"]["quiet.avi"]["events"] == []


def test_boris_table_has_the_columns_of_aggregated_events(tmp_path):
    lines = written(tmp_path, "boris-table").read_text(errors="surrogateescape").splitlines()
    made = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(made) == 9
    first = made[0]
    assert (first["Behavior"], first["Behavior type"], first["Subject"]) == (
        "eat", "STATE", "No focal subject",
    )  # fmt: skip
    assert [first[f"{name} (s)"] for name in ("Start", "Stop", "Duration")] == [
        "0.000", "1.500", "1.500",
    ]  # fmt: skip
    assert made[3]["Media file name"] == "tab and line.avi"


def test_elan_and_subtitles_have_a_file_per_recording(tmp_path):
    folder = written(tmp_path, "elan")
    assert len(list(folder.glob("*.txt"))) == 4
    lines = (folder / 'a,"b".txt').read_text().splitlines()
    assert lines[1].split("\t") == ["groom", "1.500", "3661.250", "3659.750", "groom 0.750"]
    (tmp_path / "srt").mkdir()
    text = (written(tmp_path / "srt", "srt") / 'a,"b".srt').read_text()
    assert text.split("\n\n")[1] == "2\n00:00:01,500 --> 01:01:01,250\ngroom 0.75"


def test_recordings_of_one_name_do_not_overwrite_each_other(tmp_path):
    answer = rows()[0].prediction
    for path in ("a/x.mp4", "b/x.avi", "a/x.mp4.mkv"):
        with EventFile(tmp_path / "srt", FORMATS["srt"], classes=CLASSES, checkpoint="1") as file:
            file.add(Row(path, answer))
    assert {path.name for path in (tmp_path / "srt").glob("*.srt")} == {
        "x.srt", "x-2.srt", "x.mp4.srt",
    }  # fmt: skip


def test_what_cannot_be_written_is_refused_before_anything_is_loaded(tmp_path, predict):
    assert set(EVENT_FORMATS) == set(FORMATS)
    assert choose(Path("a.TSV")) is FORMATS["boris-table"]
    for arguments, words in (
        (["--events=e.xlsx"], "end the name in .csv, .json, .jsonl or .boris, or add"),
        (["--events=no/e.csv"], "there is no folder no"),
        ([f"--events={tmp_path}", "--events-format=csv"], "this format needs a file"),
        (["--events-format=csv"], "add --events=FILE"),
        (
            ["--events=e.csv", "--config.eval.long_videos=views"],
            "cuts no recording into windows",
        ),
        (["--events=e.csv", "--config.predict.events.background=rde"], "did you mean 'red'?"),
    ):
        assert words in predict("x.avi", *arguments, check=1).stderr
    assert not list(tmp_path.iterdir())
    (tmp_path / "e.csv").write_text("mine")
    with pytest.raises(UserError, match="was begun before"):
        check_target(str(tmp_path / "e.csv"), FORMATS["csv"], resume=False)
    with pytest.raises(UserError, match="the list of its videos, is gone"):
        EventFile(tmp_path / "e.csv", FORMATS["csv"], classes=CLASSES, checkpoint="1")


def test_names_and_labels_of_csv_come_back(tmp_path):
    (row, *_) = rows()
    text = FORMATS["csv"].text(Labelled(row.path, row.prediction.events, 4001.0, 25.0))
    back = list(csv.reader(io.StringIO(text)))
    assert back[1] == ['a,"b".avi', "1.5", "3661.25", "groom", "0.75"]

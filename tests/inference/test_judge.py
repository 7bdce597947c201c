"""`vid3d evaluate --events`: time lines against their truth, and the choice of the decoder."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vid3d.checkpoint import Workdir
from vid3d.data.content import content_of
from vid3d.datasets.videos import Index, ListedVideo
from vid3d.errors import UserError
from vid3d.evaluation import familiar, own_truth, predicted
from vid3d.evaluation.time_lines import Windows
from vid3d.evaluation.truth import read_truth
from vid3d.inference import recordings as recordings_module
from vid3d.judge import check_unseen, evaluate_events
from vid3d.video.spans import Span

HEADER = "path,start,end,label\n"
TURNING = [(0, 1.6, "red"), (1.6, 3.2, "blue"), (3.2, 4.08, "green")]


def write_truth(path: Path, lines: dict[Path, list[tuple[float, float, str]]], group="") -> Path:
    rows = [f"{video},{a},{b},{label}" for video, own in lines.items() for a, b, label in own]
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


@pytest.fixture(scope="module")
def flickering(noisy, write_video, tmp_path_factory) -> Path:
    """2.4 s of red with two short outliers, then 1.6 s of blue."""
    colours = [("red", 20), ("blue", 4), ("red", 20), ("green", 4), ("red", 12), ("blue", 40)]
    parts = [noisy(colour, count, seed=k) for k, (colour, count) in enumerate(colours)]
    path = tmp_path_factory.mktemp("flickering") / "flickering.avi"
    return write_video(path, np.concatenate(parts))


FLICKERING = [(0, 2.4, "red"), (2.4, 4.0, "blue")]


@pytest.fixture
def own(make_workdir, tmp_path):
    """A workdir of this test alone."""
    return Path(shutil.copytree(make_workdir(), tmp_path / "workdir"))


def test_evaluate_judges_the_events_that_predict_writes(own, call, videos, flickering, tmp_path):
    """To the digit, whatever else is labelled by either command."""
    truth = write_truth(
        tmp_path / "truth.csv", {videos["turning"]: TURNING, flickering: FLICKERING}
    )
    made = tmp_path / "events.csv"
    call("predict", f"--workdir={own}", videos["red"], flickering, videos["turning"],
         f"--events={made}")  # fmt: skip
    printed = call("evaluate", f"--workdir={own}", f"--events={truth}", "--json")
    figures = json.loads(printed.stdout)
    (folder,) = (own / "evaluation").glob("events-*")
    assert folder.name.startswith("events-truth.csv-") and folder.name.endswith("-best")
    assert json.loads((folder / "metrics.json").read_text()) == figures
    judged = [row for row in read(folder / "events.csv") if row.pop("from") == "prediction"]
    paths = {str(videos["turning"]), str(flickering)}
    expected = [row for row in read(made) if row["path"] in paths]
    assert sorted(judged, key=str) == sorted(expected, key=str)
    assert (figures["num_recordings"], figures["num_sources"]) == (2, 2)
    assert figures["per_label"]["green"]["true_events"] == 1
    assert figures["per_label"]["red"]["found_events"] == 4
    assert figures["accuracy"] > 0.85 and figures["segment_f1@50"] < 0.85
    assert (folder / "timeline.png").read_bytes()[:4] == b"\x89PNG"
    assert b"turning" in (folder / "timeline.svg").read_bytes()
    # The same file of events, judged without a network.
    judging = ("evaluate", f"--events={truth}", f"--predicted={made}")
    again = json.loads(call(*judging, "--json", f"--output={tmp_path / 'judged'}").stdout)
    for name in ("accuracy", "second_f1", "segment_f1@50", "edit", "map"):
        assert again[name] == pytest.approx(figures[name], abs=1e-5), name
        assert again[f"{name}_interval"] == pytest.approx(figures[f"{name}_interval"], abs=1e-4)
    assert "1 recordings of" in " ".join(again["notes"])  # the third, which the truth lacks
    assert (tmp_path / "judged" / "timeline.png").exists()
    assert f"2 sources, events: {made}" in call(*judging).stdout


def test_the_decoder_is_chosen_on_recordings_and_used_by_predict(
    own, call, flickering, videos, tmp_path
):
    truth = write_truth(tmp_path / "truth.csv", {flickering: FLICKERING})
    before = json.loads(call("evaluate", f"--workdir={own}", f"--events={truth}", "--json").stdout)
    said = "\n".join(before["notes"])
    assert "has no event of green, so that each one found is wrong: where a class stands" in said
    assert "--config.predict.events.background=green" in said and "every moment" not in said
    chosen = json.loads(
        call("evaluate", f"--workdir={own}", f"--events={truth}", "--choose", "--json").stdout
    )
    assert before["segment_f1@50"] < 0.7 and chosen["segment_f1@50"] == 1.0
    assert any("events are decoded as chosen on 1 recording" in n for n in chosen["notes"])
    done = call("predict", f"--workdir={own}", flickering, f"--events={tmp_path}/events.csv")
    assert "note: events are decoded as chosen on 1 recording (segment_f1@50 1.000)" in done.stderr
    labels = [row["label"] for row in read(tmp_path / "events.csv")]
    assert labels == ["red", "blue"]
    again = call("evaluate", f"--workdir={own}", f"--events={truth}")
    assert "1 of these recordings chose the decoder" in again.stdout
    assert "segment F1, IoU 50%  1.000" in again.stdout
    plain = call(
        "predict", f"--workdir={own}", flickering, f"--events={tmp_path}/plain.csv",
        "--config.predict.events.shortest=0", "--config.predict.events.merge=0",
        "--config.predict.events.hysteresis=0", "--smoothing=0", "--threshold=0",
        "--config.predict.events.on=",
    )  # fmt: skip
    assert plain.returncode == 0 and len(read(tmp_path / "plain.csv")) == 6
    table = call("predict", f"--workdir={own}", flickering, "--json").stdout
    assert len(json.loads(table)["predictions"][0]["segments"]) == 6  # as before the choice
    said = call("live", f"--workdir={own}", f"--source={flickering}",
                f"--events={tmp_path}/live.csv", "--config.live.every=4").stderr  # fmt: skip
    assert "vid3d live: note: events are decoded as chosen" in said
    assert [row["label"] for row in read(tmp_path / "live.csv")] == labels
    assert "warning" not in said
    content = json.loads((own / "events.json").read_text())
    assert content["step_seconds"] == pytest.approx(0.16) and content["absent"] == ["green"]
    assert "no event of green was there when this was chosen" in said
    (own / "events.json").write_text(json.dumps(content | {"step_seconds": 1.6}))
    said = call("live", f"--workdir={own}", f"--source={flickering}",
                f"--events={tmp_path}/other.csv", "--config.live.every=4").stderr  # fmt: skip
    assert said.count("chosen on windows 1.60 s apart, and these are 0.16 s apart") == 1
    assert "--every=40 looks as often" in said
    (own / "events.json").write_text(json.dumps(content | {"step": 7}))
    said = call("predict", f"--workdir={own}", flickering, f"--events={tmp_path}/7.csv").stderr
    assert "was chosen for the checkpoint of step 7, and does not count for that of step 40" in said
    assert len(read(tmp_path / "7.csv")) == 6
    (own / "events.json").write_text("{}")
    assert (
        "events.json is damaged"
        in call(
            "predict", f"--workdir={own}", flickering, f"--events={tmp_path}/e.csv", check=1
        ).stderr
    )


def test_a_recording_that_was_trained_on_is_refused(own, videos, load):
    pairs = list(recordings_module.label_recordings(load(), [videos["red"]]))
    ((path, video),) = pairs

    class Trained(Workdir):
        def meta(self, step):
            return super().meta(step) | {"training_videos": {"mine.avi": video.sha256}}

    window = Windows(path, video.seconds, *video.windows(), video.sha256)
    check_unseen(own, 40, [window])
    with pytest.MonkeyPatch.context() as patch:
        video.sha256 = content_of(video.sha256, 0.2, 0.4)  # a stretch of it
        patch.setattr("vid3d.judge.Workdir", Trained)
        with pytest.raises(UserError, match="1 of 1 recordings were in the training"):
            check_unseen(own, 40, [window])
        video.sha256 = window.sha256
        patch.setattr("vid3d.judge.Workdir", Trained)
        with pytest.raises(UserError, match="1 of 1 recordings were in the training"):
            check_unseen(own, 40, [window])


def test_sources_of_the_training_are_noted(make_workdir, call, videos, flickering, tmp_path):
    """Figures on an animal that the network knows are too good, whichever recording of it."""
    changes = {"data.group_pattern": "turning|flick"}
    own = Path(shutil.copytree(make_workdir(changes), tmp_path / "workdir"))
    truth = write_truth(
        tmp_path / "truth.csv", {videos["turning"]: TURNING, flickering: FLICKERING}
    )

    def notes(listed: str) -> str:
        (own / "videos.csv").write_text(f"path,label,group,split,sha256\n{listed}")
        done = call("evaluate", f"--workdir={own}", f"--events={truth}", "--json")
        return "\n".join(json.loads(done.stdout)["notes"])

    trained = "a.avi,red,flick,train,x\nb.avi,red,mouse,train,y\n"
    said = notes(trained)  # sources by the pattern of the training
    assert "1 of 2 recordings are of sources that were in the training, flick: figures" in said
    assert "names no source" not in said
    assert "in the training" not in notes("a.avi,red,flick,val,x\nb.avi,red,b.avi,train,y\n")
    text = truth.read_text().replace("label\n", "label,group\n").replace("red\n", "red,mouse\n")
    truth.write_text(text)  # what it names counts more
    assert "2 of 2 recordings are of sources that were in the training, mouse" in notes(trained)


def test_a_recording_that_chose_the_checkpoint_is_noted():
    window = Windows("a.avi", 4.0, [0.0, 4.0], np.zeros((1, 3)), "x")
    meta = {"validation_sha256": ["x#0.500000-0.960000"], "config": {"checkpoint": {}}}
    (note,) = familiar.validation_notes(meta, [window, window._replace(sha256="y")])
    assert note.startswith("1 of 2 recordings were validation videos")
    assert not familiar.validation_notes(meta | {"validation_sha256": ["y"]}, [window])


def test_a_recording_whose_source_is_not_known_is_noted(own, call, videos, tmp_path):
    truth = write_truth(tmp_path / "truth.csv", {videos["turning"]: TURNING})
    (own / "videos.csv").write_text("path,label,group,split,sha256\nb.avi,red,mouse,train,y\n")
    said = call("evaluate", f"--workdir={own}", f"--events={truth}").stdout
    assert "truth.csv names no source of 1 of 1 recordings: whether it was in the training" in said


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a.avi,1,2,red\na.avi,3,2,red", "truth.csv line 3: from 3 to 2 s is no stretch"),
        ("a.avi,1,two,red", "truth.csv line 2: end 'two' is not a number of seconds"),
        ("a.avi,1,2,rde", "line 2: the model has no class 'rde'; did you mean 'red'?"),
        ("a.avi,-1,2,red", "from -1 to 2 s is no stretch"),
        (",1,2,red", "truth.csv line 2: it has no path"),
        ("a.avi,1,,red", "line 2: end '' is not a number"),
        ('a.avi,1,2,"red', "truth.csv, read up to line 1: unexpected end of data; is a quot"),
        ("", "has no line but its header"),
    ],
)
def test_a_wrong_line_of_the_truth_is_named(tmp_path, lines, words):
    truth = tmp_path / "truth.csv"
    truth.write_text(HEADER + lines)
    with pytest.raises(UserError) as raised:
        read_truth(truth, ("red", "blue"))
    assert words in str(raised.value)


def test_the_truth_has_sources_and_recordings_without_events(tmp_path):
    file = tmp_path / "truth.csv"
    file.write_text(
        "\ufeffgroup,path,start,end,label,probability,note\n"
        "cage 1,a.avi,1,2,red,0.5,x\ncage 2,b.avi,,,,,\n,a.avi,0,1,rest,,\n",
        encoding="utf-8",
    )
    truth = read_truth(file, ("red",), ignore=("rest",))
    a, b = (str(tmp_path / name) for name in ("a.avi", "b.avi"))
    assert truth.sources == {a: "cage 1", b: "cage 2"}
    assert [event[:3] for event in truth.events[a]] == [(1.0, 2.0, "red")] and not truth.events[b]
    assert truth.of(a, 1.8)[0].end == 1.8
    with pytest.raises(UserError, match=r"truth.csv line 2: the event ends at 2 s, and .* at 1 s"):
        truth.of(a, 1.0)
    with pytest.raises(UserError, match="has no line with this path"):
        truth.check_videos([a, str(tmp_path / "c.avi")])
    file.write_text("group,path,start,end,label\nx,a.avi,1,2,red\ny,a.avi,2,3,red\n")
    with pytest.raises(UserError, match="line 3: the group is 'y', and 'x' in an earlier line"):
        read_truth(file)


def test_events_of_other_programs_are_judged(tmp_path):
    """Lengths come from the video, or else from the last event; what is wrong is one line."""
    truth, found = tmp_path / "truth.csv", tmp_path / "found.csv"
    truth.write_text(HEADER + "a.mp4,1,3,run\nb.mp4,,,\n")
    found.write_text("label,path,end,start\nrun,a.mp4,4,2\nsit,a.mp4,8,6\n")
    figures, folder = predicted.judge(truth, found)
    assert folder is None and figures["num_recordings"] == 2
    assert "2 recordings, such as" in figures["notes"][0]
    assert figures["accuracy"] == pytest.approx(4 / 8)
    assert figures["second_f1"] == pytest.approx(2 * 1 / (2 + 4))
    assert figures["segment_f1@25"] == pytest.approx(2 * 1 / (1 + 2))
    found.write_text(HEADER)
    assert predicted.judge(truth, found)[0]["segment_f1@10"] == 0.0
    for text, words in (
        ("path,start\n", "--predicted=.* has no column end, label"),
        ("path,start,end,label,probability\na.mp4,1,2,run,2\n", "line 2: the probability '2'"),
        (HEADER + "c.mp4,1,2,run\n", "names none of the recordings"),
    ):
        found.write_text(text)
        with pytest.raises(UserError, match=words):
            predicted.judge(truth, found)


def test_stretches_of_a_split_are_the_truth_of_its_recordings():
    videos = (
        ListedVideo("a.mp4", "run", "cage 1", "test", span=Span(1, 2), line=2),
        ListedVideo("a.mp4", "rest", "cage 1", "test", span=Span(3, 5)),
        ListedVideo("b.mp4", "run", "cage 2", "train", span=Span(1, 2), line=3),
        ListedVideo("c.mp4", "run", "cage 3", "val", span=Span(1, 2, "frames"), line=4),
        ListedVideo("d.mp4", "run", "", "test", line=5),
    )
    found = Index("/videos", videos, ("rest", "run"), "grouped", ())
    truth = own_truth.of_index(found, "test", Path("m.csv")).without(["rest"])
    assert {path: [e[:3] for e in own] for path, own in truth.events.items()} == {
        "/videos/a.mp4": [(1, 2, "run")]
    }
    assert truth.sources == {"/videos/a.mp4": "cage 1"}
    with pytest.raises(UserError, match=r"m.csv line 2: the event ends at 2 s, and .* at 1 s"):
        truth.of("/videos/a.mp4", 1.0)
    with pytest.raises(UserError, match=r"m\.csv are in numbers of frames; give --events=CSV"):
        own_truth.of_index(found, "val", Path("m.csv"))
    moved = replace(videos[1], split="val")
    with pytest.raises(UserError, match=r"a\.mp4 has stretches in val, too"):
        own_truth.of_index(replace(found, videos=(videos[0], moved)), "test", Path("m.csv"))
    with pytest.raises(UserError, match="no recordings with labelled stretches"):
        own_truth.of_index(replace(found, videos=videos[4:]), "test", Path("m.csv"))


def test_what_cannot_be_judged_is_refused(own, call, videos, tmp_path):
    truth = write_truth(tmp_path / "truth.csv", {videos["red"]: [(0, 0.4, "red")]})
    command = ("evaluate", f"--workdir={own}")
    for arguments, words in (
        (["--events=no.csv"], "cannot be read: No such file"),
        ([f"--events={truth}", "--split=val"], "leave out --split, --data and --report"),
        (["--choose"], "add --events=CSV"),
        ([f"--events={truth}", videos["blue"]], "has no line with this path"),
        ([f"--events={truth}", "--config.data.root=x"], "is fixed by the checkpoint"),
    ):
        assert words in call(*command, *arguments, check=1).stderr
    write_truth(truth, {tmp_path / "gone.avi": [(0, 0.4, "red")]})
    with pytest.raises(UserError, match="no such file"):
        evaluate_events(own, truth)

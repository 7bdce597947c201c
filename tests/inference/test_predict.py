"""`vid3d predict`: tables, JSON and CSV for files and folders, and annotated copies."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vid3d import cli
from vid3d.commands import predict as command
from vid3d.errors import UserError
from vid3d.inference import overlay, predict as module, report
from vid3d.inference.classifier import Classifier
from vid3d.video import frames


def predict(workdir, paths, *, as_json=False, as_csv=False, output="", overrides=()) -> int:
    """`vid3d predict` in this process; returns the exit code."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    options = parser.parse_args([f"--workdir={workdir}", "--", *map(str, paths)])
    options.json, options.csv, options.output = as_json, as_csv, output
    return command.run(options, list(overrides))


@pytest.fixture
def folder(videos, tmp_path):
    """A realistic folder: nested videos, other files, a broken one and a hidden one."""
    root = tmp_path / "videos"
    (root / "deep" / "er").mkdir(parents=True)
    shutil.copy(videos["red"], root / "-dash.avi")
    shutil.copy(videos["blue"], root / "deep" / "er" / "Ünï çode [1].AVI")
    shutil.copy(videos["turning"], root / "turning.mp4")
    shutil.copy(videos["green"], root / ".hidden.avi")
    (root / "notes.txt").write_text("no video")
    return root


def test_json_is_one_object(workdir, folder, load, capsys):
    assert predict(workdir, [folder], as_json=True) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["errors"] == []
    by_path = {p["path"]: p for p in printed["predictions"]}
    names = ["-dash.avi", "deep/er/Ünï çode [1].AVI", "turning.mp4"]
    assert list(by_path) == [str(folder / name) for name in names]
    assert [p["label"] for p in by_path.values()] == ["red", "blue", "red"]
    turning = by_path[str(folder / "turning.mp4")]
    assert list(turning) == [
        "path", "label", "probability", "probabilities", "segments", "num_frames", "seconds",
        "damage", "note",
    ]  # fmt: skip
    answer = load().predict(folder / "turning.mp4")
    assert turning["probabilities"] == pytest.approx(answer.probabilities, abs=1e-6)
    assert [s["label"] for s in turning["segments"]] == [s.label for s in answer.segments]
    assert list(turning["segments"][0]) == ["start", "end", "label", "probability"]


def test_unreadable_file_sets_the_exit_code(workdir, folder, capsys):
    (folder / "broken.mp4").write_text("no video")
    assert predict(workdir, [folder, "missing.mp4"], as_json=True) == 1
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert len(printed["predictions"]) == 3
    assert [e["path"] for e in printed["errors"]] == [str(folder / "broken.mp4"), "missing.mp4"]
    assert err.splitlines() == [f"vid3d predict: error: {e['error']}" for e in printed["errors"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blow", "reason"),
    [(signal.SIGSTOP, "the decoder hung: nothing for 3 s"), (signal.SIGSEGV, "crashed (SIGSEGV)")],
)
def test_video_that_breaks_the_decoder_fails_alone(
    make_workdir, poison, strike, videos, capsys, blow, reason
):
    workdir = make_workdir({"data.decode_timeout": 3.0})
    with strike(poison, blow):
        paths = [videos["red"], poison, videos["blue"], videos["green"]]
        assert predict(workdir, paths, as_json=True) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [p["label"] for p in printed["predictions"]] == ["red", "blue", "green"]
    (error,) = printed["errors"]
    assert error["path"] == str(poison) and reason in error["error"]


@pytest.mark.slow
def test_crash_while_annotating_keeps_the_prediction(
    workdir, poison, strike, videos, tmp_path, capsys, monkeypatch
):
    whole = module.annotate

    def annotate(path, *rest, **options):
        with strike(poison, signal.SIGSEGV):
            whole(path, *rest, **options)

    monkeypatch.setattr(module, "annotate", annotate)
    paths = [videos["green"], poison, videos["blue"]]
    assert predict(workdir, paths, output=tmp_path / "out", as_json=True) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [p["label"] for p in printed["predictions"]] == ["green", "red", "blue"]
    (error,) = printed["errors"]
    assert error["path"] == str(poison) and "no annotated copy" in error["error"]
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == ["blue.mp4", "green.mp4"]


def test_folder_tells_what_it_leaves_out(workdir, folder, tmp_path, capsys):
    (folder / "scan.tiff").write_text("a picture")
    (tmp_path / "empty.mp4").mkdir()
    assert predict(workdir, [folder, tmp_path / "empty.mp4"], as_json=True) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["predictions"]
    assert "left out: 1 .tiff" in printed.err
    assert "empty.mp4: no videos in this folder" in printed.err


def test_csv_has_rows_per_video_and_columns_per_class(workdir, folder, capsys):
    assert predict(workdir, [folder], as_csv=True) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"] for row in rows] == ["red", "blue", "red"]
    for row in rows:
        each = [float(row[f"probability:{name}"]) for name in ("red", "green", "blue")]
        assert float(row["probability"]) == max(each)
    assert rows[2]["segments"].startswith("0.00-1.6") and rows[2]["segments"].endswith("green")


def test_long_video_has_the_same_label_everywhere(
    make_workdir, noisy, write_video, tmp_path, capsys
):
    """Ten clips of one colour, one that turns and does not end with a window, a short one."""
    workdir = make_workdir({"data.sampling": "uniform"})
    parts = [noisy("green", 12, seed=k) for k in range(10)]
    write_video(tmp_path / "one.avi", np.concatenate(parts))
    write_video(tmp_path / "turns.avi", np.concatenate([noisy("blue", 36), noisy("red", 87)]))
    write_video(tmp_path / "short.avi", noisy("blue", 12))
    paths = [tmp_path / f"{name}.avi" for name in ("one", "turns", "short")]
    assert predict(workdir, paths, as_json=True) == 0
    printed = json.loads(capsys.readouterr().out)["predictions"]
    assert predict(workdir, paths, as_csv=True) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert predict(workdir, paths, output=tmp_path / "out") == 0
    shown = capsys.readouterr().out
    classifier = Classifier.load(workdir)
    labels = (["green"], ["blue", "red"], ["blue"])
    for path, answer, row, expected in zip(paths, printed, rows, labels, strict=True):
        called = classifier.predict(path)
        assert answer["label"] == row["label"] == called.label == expected[-1]
        assert answer["probability"] == pytest.approx(called.probability, abs=1e-6)
        assert float(row["probability"]) == pytest.approx(called.probability, abs=1e-6)
        assert answer["note"] == row["note"] == called.note
        stretches = [f"{s['start']:.2f}-{s['end']:.2f} {s['label']}" for s in answer["segments"]]
        assert row["segments"] == "; ".join(stretches)
        assert [s["label"] for s in answer["segments"]] == expected
        assert bool(answer["note"]) == (path.stem != "short")
        original = [frame for frame, _ in frames.read_frames(path)]
        copy = [frame for frame, _ in frames.read_frames(tmp_path / "out" / f"{path.stem}.mp4")]
        for start, end, label, probability in called.segments:
            middle = int(25 * (start + end) / 2)
            away = {
                name: np.abs(
                    overlay.draw(original[middle], name, probability=probability)[-26:]
                    - copy[middle][-26:].astype(int)
                ).mean()
                for name in called.probabilities
            }
            assert min(away, key=away.get) == label, away
    for path, windows in zip(paths, (10, 11), strict=False):
        assert f"note: {path}: from {windows} windows of 0.48 s: longer than" in shown


def test_only_options_of_long_videos_can_be_set(workdir, noisy, write_video, tmp_path, capsys):
    """The longest stretch is not the most frequent colour."""
    parts = [noisy(c, n) for c, n in (("red", 40), ("blue", 48), ("red", 40))]
    path = write_video(tmp_path / "a.avi", np.concatenate(parts))
    labels = {}
    for how in ("mean", "longest", "views"):
        command = ["predict", f"--workdir={workdir}", f"--config.eval.long_videos={how}", "--csv"]
        assert cli.main([*command, str(path)]) == 0
        (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
        labels[how] = row["label"]
    assert labels == {"mean": "red", "longest": "blue", "views": "red"}
    for key, value, reason in (
        (
            "data.size",
            "32",
            "only data.frames_fps, eval.long_videos, eval.views and predict.* can be",
        ),
        ("eval.long_videos", "median", "is not one of mean, longest, views"),
    ):
        with pytest.raises(UserError, match=reason):
            predict(workdir, [path], overrides=[(key, value)])


def test_table_lists_videos_and_time_lines(workdir, folder, capsys, monkeypatch):
    assert predict(workdir, [folder]) == 0
    out = capsys.readouterr().out
    assert "-dash.avi" in out.replace("\n", "") and "0:04.1" in out
    assert out.count("red") >= 3 and "green" in out and " more: see" not in out
    monkeypatch.setattr(report, "LISTED", 1)
    assert predict(workdir, [folder / "turning.mp4"]) == 0
    out = capsys.readouterr().out
    assert "green" not in out and " more: see --json or --csv" in out


def test_annotated_copies_show_the_current_label(workdir, folder, tmp_path, capsys):
    output = tmp_path / "out"
    assert predict(workdir, [folder, folder / "-dash.avi"], output=output) == 0
    copies = sorted(p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file())
    assert copies == ["-dash.mp4", "deep/er/Ünï çode [1].mp4", "turning.mp4"]
    original = list(frames.read_frames(folder / "turning.mp4"))
    copy = list(frames.read_frames(output / "turning.mp4"))
    assert len(copy) == len(original) == 102
    bars = [frame[-26:] for frame, _ in copy]
    red, blue, green = bars[10], bars[60], bars[95]
    assert (
        np.abs(red.astype(int) - blue).max() > 100 and np.abs(green.astype(int) - blue).max() > 100
    )
    assert np.abs(bars[10].astype(int) - bars[12]).mean() < 12
    assert str(output) in capsys.readouterr().out


def test_copies_with_equal_names_are_numbered(workdir, videos, tmp_path):
    for name, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / name).mkdir()
        shutil.copy(videos[colour], tmp_path / name / "clip.avi")
    output = tmp_path / "out"
    predict(workdir, [tmp_path / "a" / "clip.avi", tmp_path / "b"], output=output)
    assert sorted(p.name for p in output.iterdir()) == ["clip-2.mp4", "clip.mp4"]
    first, second = (next(frames.read_frames(output / n))[0] for n in ("clip.mp4", "clip-2.mp4"))
    assert first[0].mean(axis=0).argmax() == 0 and second[0].mean(axis=0).argmax() == 2
    before = (output / "clip.mp4").read_bytes()
    with pytest.raises(UserError, match="overwrite"):
        predict(workdir, [output], output=output)
    assert (output / "clip.mp4").read_bytes() == before


def test_unwritable_copy_keeps_the_prediction(workdir, videos, tmp_path, capsys):
    output = tmp_path / "out"
    (output / "red.mp4").mkdir(parents=True)
    assert predict(workdir, [videos["red"], videos["blue"]], output=output, as_json=True) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [p["label"] for p in printed["predictions"]] == ["red", "blue"]
    assert [e["path"] for e in printed["errors"]] == [str(videos["red"])]
    assert len(list(frames.read_frames(output / f"{videos['blue'].stem}.mp4"))) > 0


def test_unwritable_copy_folder_keeps_the_prediction(workdir, folder, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "deep").touch()
    assert predict(workdir, [folder], output=output, as_json=True) == 1
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["predictions"]) == 3
    (error,) = printed["errors"]
    assert f"cannot write to {output / 'deep' / 'er'}" in error["error"]


def test_paths_are_printed_as_given(workdir, videos, tmp_path, capsys, monkeypatch):
    deep = tmp_path / ("long" * 20) / ("name" * 20)
    deep.mkdir(parents=True)
    shutil.copy(videos["red"], deep / "clip.avi")
    monkeypatch.chdir(deep)
    predict(workdir, ["./clip.avi", deep / "clip.avi"])
    out = capsys.readouterr().out
    assert "./clip.avi" in out and str(deep / "clip.avi") in out
    assert predict(workdir, ["./missing.avi"]) == 1
    assert not capsys.readouterr().out


def test_bad_arguments_give_one_error_line(workdir, videos, tmp_path):
    (tmp_path / "file").touch()
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, options, reason in (
        ([workdir, [empty]], {}, "no videos"),
        ([tmp_path / "none", [videos["red"]]], {}, "none"),
        ([workdir, [videos["red"]]], {"output": tmp_path / "file"}, "is a file"),
        ([workdir, [videos["red"]]], {"output": "/proc/x"}, "cannot write"),
        ([workdir, [videos["red"]]], {"output": tmp_path / "typo" / "x"}, "there is no folder"),
    ):
        with pytest.raises(UserError, match=reason) as error:
            predict(*arguments, **options)
        assert "\n" not in str(error.value)


def test_real_videos_are_labelled_or_reported(workdir, shared, capsys):
    assert predict(workdir, [shared / "odd_videos"], as_json=True) == 1
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["predictions"]) + len(printed["errors"]) == 17
    assert len(printed["predictions"]) >= 10
    assert all(p["num_frames"] > 0 and p["seconds"] > 0 for p in printed["predictions"])
    assert predict(workdir, [shared / "ucf101_sample"], as_json=True) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["predictions"]) == 5


@pytest.mark.slow
@pytest.mark.parametrize("form", ["", "--csv"])
def test_undecodable_file_names_are_printed(form, workdir, videos, tmp_path):
    """Where Python would refuse to: in most locales."""
    name = os.fsencode(tmp_path) + b"/\xffred.avi"
    shutil.copy(videos["red"], os.fsdecode(name))
    command = [sys.executable, "-m", "vid3d.cli", "predict", f"--workdir={workdir}", name]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict", "XLA_FLAGS": ""}
    done = subprocess.run([*command, *form.split()], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout


def test_only_written_copies_are_announced(workdir, videos, tmp_path, monkeypatch, capsys):
    def fail(*_, **__) -> None:
        raise UserError("no space left")

    monkeypatch.setattr(module, "annotate", fail)
    assert predict(str(workdir), [str(videos["red"])], output=str(tmp_path / "out")) == 1
    said = capsys.readouterr()
    assert "red" in said.out and "annotated videos are in" not in said.out
    assert "no annotated copy of" in said.err


@pytest.mark.slow
def test_sigterm_leaves_no_partial_copy(workdir, videos, tmp_path, start):
    copies = tmp_path / "copies"
    paths = [shutil.copy(videos["turning"], tmp_path / f"{k}.mp4") for k in range(60)]
    process = start("predict", f"--workdir={workdir}", f"--output={copies}", *paths)
    process.wait_until(lambda: any(copies.glob(".*.part.mp4")))
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143, output
    assert output.splitlines()[-1] == "vid3d predict: terminated"
    assert not list(copies.glob(".*"))


@pytest.mark.slow
def test_closed_stdout_is_no_error(workdir, videos):
    """As with `>&-`: the next file that is opened takes its number."""
    command = [sys.executable, "-m", "vid3d", "predict", f"--workdir={workdir}", str(videos["red"])]
    shell = ["sh", "-c", 'exec "$@" >&- <&-', "sh", *command]
    done = subprocess.run(shell, stderr=subprocess.PIPE, env=os.environ | {"XLA_FLAGS": ""})
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
def test_lossy_output_encoding_is_kept(workdir, videos, tmp_path):
    path = shutil.copy(videos["red"], tmp_path / "é.avi")
    command = [sys.executable, "-m", "vid3d.cli", "predict", f"--workdir={workdir}", path]
    environment = os.environ | {"PYTHONIOENCODING": "ascii:replace", "XLA_FLAGS": ""}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0 and b"?.avi" in done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [("--workdir=", "a.mp4"), ("--workdir=runs/x", "")])
def test_empty_paths_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["predict", *arguments])
    assert "it is empty: is a variable unset?" in capsys.readouterr().err


def test_truncated_video_is_labelled_with_a_warning(workdir, shared, tmp_path, capsys):
    """Whatever line breaks are in its name."""
    path = shutil.copy(shared / "odd_videos" / "corrupted.mp4", tmp_path / "cor\nrupted.mp4")
    assert predict(workdir, [path], as_json=True) == 0
    said = capsys.readouterr()
    words = "damaged: 1 packet lost at 3.00 s; 1 frame incomplete at 3.20 s; FFmpeg says "
    assert json.loads(said.out)["predictions"][0]["damage"].startswith(words)
    [line] = said.err.splitlines()
    assert line.startswith(f"vid3d predict: warning: {tmp_path}/cor rupted.mp4: {words}")


def test_folders_of_frames_are_videos(make_workdir, noisy, tmp_path, call):
    """With their frames per second, from the command line or the training; by themselves or not."""
    clips = tmp_path / "clips"
    for name, colour in (("one", "red"), ("two", "blue")):
        (clips / name).mkdir(parents=True)
        for k, frame_HWC in enumerate(noisy(colour, 60)):
            cv2.imwrite(str(clips / name / f"img_{k:05d}.png"), frame_HWC[:, :, ::-1])
    command = ("predict", f"--workdir={make_workdir()}")
    said = call(*command, clips, check=1).stderr
    assert "no videos in this folder, but numbered pictures: --config.data.frames_fps=25" in said
    rate = "--config.data.frames_fps=12.5"
    done = call(*command, clips, rate, "--json", f"--output={tmp_path / 'out'}")
    answers = json.loads(done.stdout)["predictions"]
    assert [(a["label"], a["seconds"]) for a in answers] == [("red", 4.8), ("blue", 4.8)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one.mp4", "two.mp4"]
    events = tmp_path / "events.csv"
    call(*command, clips / "two", rate, f"--events={events}")
    assert events.read_text().splitlines()[1].startswith(f"{clips / 'two'},0.0,4.8,blue,")

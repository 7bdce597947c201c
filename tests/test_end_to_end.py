"""The main job through the command line: real files, real processes, real signals."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vid3d import checkpoint
from vid3d.checkpoint import Workdir

ROOT = Path(__file__).resolve().parent.parent

TINY = (
    "--config=configs/demo.py:smoke",
    "--config.data.size=16",
    "--config.model.features=4",
    "--config.train.epochs=20",
    "--config.model.dropout=0.3",
    "--config.data.sampling=random",
    "--config.data.num_frames=6",
)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pictures(workdir: Path) -> dict[str, list[int]]:
    """The steps of the pictures in TensorBoard, by name."""
    from tensorboardX.proto.event_pb2 import Event

    from vid3d.tf import quiet_tensorflow

    found: dict[str, list[int]] = {}
    files = sorted(map(str, (workdir / "tensorboard").glob("events.*")))
    for record in quiet_tensorflow().data.TFRecordDataset(files).as_numpy_iterator():
        event = Event.FromString(record)
        for value in event.summary.value:
            if value.image.encoded_image_string:
                found.setdefault(value.tag, []).append(event.step)
    return found


@pytest.fixture(scope="module")
def unbroken(once, run) -> Path:
    return once("tiny", lambda workdir: run("train", *TINY, f"--workdir={workdir}"))


def test_a_workdir_has_all_its_files(smoke_run):
    for name in (
        "format.txt",
        "config.json",
        "metrics.jsonl",
        "timings.jsonl",
        "videos.csv",
        "tensorboard",
        "checkpoints",
    ):
        assert (smoke_run / name).exists(), name
    found = rows(smoke_run / "metrics.jsonl")
    assert [row["epoch"] for row in found] == list(range(1, len(found) + 1))
    for row in found:
        assert {"step", "train/loss", "train/accuracy", "val/loss", "val/accuracy"} <= row.keys()
        assert not {"seconds", "clips_per_second"} & row.keys()
    assert {"clips_per_second", "data_wait_fraction"} <= rows(smoke_run / "timings.jsonl")[0].keys()
    with (smoke_run / "videos.csv").open() as file:
        videos = list(csv.DictReader(file))
    assert {"train", "val", "test"} == {video["split"] for video in videos}
    sides: dict[str, set[str]] = {}
    for video in videos:
        sides.setdefault(video["group"], set()).add(video["split"])
        assert len(video["sha256"]) == 64
    assert all(len(splits) == 1 for splits in sides.values())
    best = max(found, key=lambda row: (row["val/accuracy"], -row["val/loss"]))
    assert checkpoint.resolve(smoke_run) == best["step"]
    scores = [(row["val/accuracy"], -row["val/loss"]) for row in found]
    drawn = [row["step"] for k, row in enumerate(found) if scores[k] > max(scores[:k], default=())]
    assert pictures(smoke_run) == {
        "training_clips": [0], "confusion_matrix": sorted({*drawn, found[-1]["step"]}),
    }  # fmt: skip


@pytest.mark.slow
def test_evaluation_equals_a_recount_of_its_predictions(smoke_run, run):
    printed = json.loads(run("evaluate", f"--workdir={smoke_run}", "--json").stdout)
    folder = smoke_run / "evaluation" / "test-best"
    assert printed == json.loads((folder / "metrics.json").read_text())
    with (folder / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    with (smoke_run / "videos.csv").open() as file:
        listed = [row for row in csv.DictReader(file) if row["split"] == "test"]
    expected = {v["path"] for v in listed}
    assert {(r["path"], r["group"]) for r in table} == {(v["path"], v["group"]) for v in listed}
    for name, row in printed["per_group"].items():
        own = [r["true"] == r["predicted"] for r in table if r["group"] == name]
        assert (row["correct"], row["count"]) == (sum(own), len(own))
        assert row["accuracy"] == sum(own) / len(own)
    assert len(printed["per_group"]) == printed["num_groups"]
    assert len(table) == len(expected) == printed["num_videos"] == printed["num_expected"]
    assert {row["path"] for row in table} == expected
    correct = sum(row["true"] == row["predicted"] for row in table)
    assert printed["accuracy"] == correct / len(table)
    assert printed["protocol"] == "grouped"
    for name in ("interval", "interval_groups"):
        assert printed[name][0] <= printed["accuracy"] <= printed[name][1]
    for row in table:
        p = {name: float(row[f"probability:{name}"]) for name in printed["per_class"]}
        assert sum(p.values()) == pytest.approx(1, abs=1e-5)
        assert max(p, key=p.get) == row["predicted"]
    assert (folder / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (folder / "confusion_matrix.svg").read_bytes()
    with (folder / "confusion_matrix.csv").open() as file:
        header, *lines = list(csv.reader(file))
    assert header == ["true", *(f"predicted:{name}" for name in printed["per_class"])]
    counts = {
        (true, predicted.removeprefix("predicted:")): int(count)
        for true, *row in lines
        for predicted, count in zip(header[1:], row, strict=True)
    }
    pairs = [(row["true"], row["predicted"]) for row in table]
    assert counts == {pair: pairs.count(pair) for pair in counts} and sum(counts.values()) == 15
    check_mistakes(folder, printed, table)


def check_mistakes(folder: Path, figures: dict, table: list[dict[str, str]]) -> None:
    """The wrong videos of predictions.csv, and no others, by falling probability."""
    with (folder / "mistakes.csv").open() as file:
        mistakes = list(csv.DictReader(file))
    wrong = {row["path"]: row for row in table if row["true"] != row["predicted"]}
    assert [row["path"] for row in mistakes] == sorted(
        wrong, key=lambda path: -float(wrong[path][f"probability:{wrong[path]['predicted']}"])
    )
    assert len(mistakes) == figures["num_videos"] - figures["correct"] > 5
    for row in mistakes:
        answer = wrong[row["path"]]
        assert row["group"] == answer["group"]
        assert Path(row["file"]).is_file() and row["file"].endswith("/" + row["path"])
        assert (row["true"], row["predicted"]) == (answer["true"], answer["predicted"])
        assert row["probability"] == answer[f"probability:{row['predicted']}"]
        assert row["true_probability"] == answer[f"probability:{row['true']}"]
        gap = float(row["probability"]) - float(row["true_probability"])
        assert float(row["margin"]) == gap >= 0
    assert figures["mistakes"] == [
        {key: value if key in ("path", "group", "true", "predicted", "file") else float(value)
         for key, value in row.items()}
        for row in mistakes[:10]
    ]  # fmt: skip


@pytest.mark.slow
def test_predict_agrees_with_evaluate(smoke_run, run, call):
    said = run("evaluate", f"--workdir={smoke_run}").stdout
    folder = smoke_run / "evaluation" / "test-best"
    figures = json.loads((folder / "metrics.json").read_text())
    intervals = [
        f"{low:.4f} to {high:.4f}"
        for low, high in (figures["interval"], figures["interval_groups"])
    ]
    sources = f"over {figures['num_groups']} sources"
    independent = f"as if videos were independent, {intervals[0]}"
    assert f"(95% interval {intervals[1]} {sources}; {independent})" in said
    means = [f"{figures[name]:.4f}" for name in ("balanced_accuracy", "macro_f1")]
    assert "balanced accuracy {}, macro-F1 {} ".format(*means) in said
    assert " recall and F1 over 5 classes)" in said
    for pair in figures["most_confused"][:3]:
        words = f"{pair['true']} as {pair['predicted']} ({pair['videos']} of {pair['total']})"
        assert words in said
    *shown, where = said.partition("most confident first\n")[2].splitlines()[1:7]
    assert [line.split()[:3] for line in shown] == [
        [row["file"], row["true"], row["predicted"]] for row in figures["mistakes"][:5]
    ]
    name, worst = next(iter(figures["per_group"].items()))
    assert f"least accurate sources: {name} {worst['accuracy']:.3f} ({worst['correct']} of " in said
    assert where == f"  all in {folder / 'mistakes.csv'}"
    with (folder / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    from vid3d.config import from_json
    from vid3d.datasets import index

    root = Path(index.find(from_json((smoke_run / "config.json").read_text()).data, 0).root)
    done = call(
        "predict", f"--workdir={smoke_run}", *[str(root / row["path"]) for row in table], "--json"
    )
    predictions = json.loads(done.stdout)["predictions"]
    assert len(predictions) == 15
    for row, prediction in zip(table, predictions, strict=True):
        assert prediction["label"] == row["predicted"]
        for name, p in prediction["probabilities"].items():
            assert p == pytest.approx(float(row[f"probability:{name}"]), abs=1e-6)


@pytest.mark.slow
def test_evaluation_does_not_depend_on_batch_size_or_devices(unbroken, run):
    found = []
    for devices, size in (
        *((1, 1), (1, 7), (1, 15), (1, 64)),
        *((2, 2), (2, 36), (4, 12), (8, 8), (8, 40)),
    ):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        batch_size = f"--config.eval.batch_size={size}"
        done = run("evaluate", f"--workdir={unbroken}", batch_size, "--json", env=flags)
        figures = json.loads(done.stdout)
        with (unbroken / "evaluation" / "test-best" / "predictions.csv").open() as file:
            table = [row[4:] for row in list(csv.reader(file))[1:]]
        counts = [figures[name] for name in ("correct", "num_videos", "per_class")]
        found.append((*counts, table))
    (*counts, table), *others = found
    assert counts[1] == len(table) == 15
    for *other_counts, other in others:
        assert other_counts == counts
        np.testing.assert_allclose(np.array(other, float), np.array(table, float), atol=1e-6)


@pytest.mark.slow
def test_a_finished_run_changes_nothing(unbroken, call):
    before = {
        p: p.stat().st_mtime_ns for p in unbroken.rglob("*") if p.is_file() and p.name != ".lock"
    }
    done = call("train", *TINY, f"--workdir={unbroken}")
    assert "is finished" in done.stderr
    after = {
        p: p.stat().st_mtime_ns for p in unbroken.rglob("*") if p.is_file() and p.name != ".lock"
    }
    assert after == before


@pytest.mark.slow
def test_a_finished_run_names_its_own_videos(unbroken, tmp_path, call):
    workdir = shutil.copytree(unbroken, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["data"] |= {"root": "own2", "source": "folder"}
    (workdir / "config.json").write_text(json.dumps(config))
    own = (*TINY, f"--workdir={workdir}", "--config.data.source=folder")
    done = call("train", *own, "--config.data.root=own")
    assert "is finished (on the videos in data.root=own2; " in done.stderr
    done = call("train", *own, "--config.data.root=./own2/")
    assert "is finished: " in done.stderr


@pytest.mark.slow
def test_a_stopped_run_saves_and_resumes_exactly(unbroken, tmp_path, run, start, assert_same_run):
    workdir = tmp_path / "run"

    def written() -> int:
        return len(rows(workdir / "metrics.jsonl")) if (workdir / "metrics.jsonl").exists() else 0

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # the tests themselves run under nohup
            continue
        before, process = written(), start("train", *TINY, f"--workdir={workdir}")
        process.wait_until(lambda before=before: written() > before)
        asked = time.time()
        process.send_signal(number)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 75, output
        last = Workdir(workdir).checkpoints()[-1]
        manifest = workdir / "checkpoints" / str(last) / checkpoint.MANIFEST
        assert manifest.stat().st_mtime - asked < 10
        said = f"stopped at step {last}, all saved: the same command goes on from here"
        assert output.strip().splitlines()[-1] == said
        assert last >= rows(workdir / "metrics.jsonl")[-1]["step"]
    done = run("train", *TINY, f"--workdir={workdir}")
    assert f"resuming at step {last}" in done.stderr
    assert_same_run(workdir, unbroken)
    assert checkpoint.resolve(workdir) == checkpoint.resolve(unbroken)


@pytest.mark.slow
@pytest.mark.skipif(
    signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="under nohup it goes on"
)
def test_a_broken_pipe_saves_and_stops(tmp_path, start):
    """As with `2>&1 | head`."""
    workdir = tmp_path / "run"
    process = start("train", *TINY, f"--workdir={workdir}")
    process.read_until("epoch 2: ")
    process.stdout.close()
    assert process.wait(timeout=60) == 75
    assert Workdir(workdir).checkpoints()[-1] >= rows(workdir / "metrics.jsonl")[-1]["step"]


TAKE_TERMINAL = (  # the first terminal that a session's leader has is the one that can hang up
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'vid3d.cli', *sys.argv[1:]])"
)


@pytest.mark.slow
@pytest.mark.skipif(
    signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="under nohup it goes on"
)
def test_a_closed_terminal_saves_and_stops(tmp_path):
    """Every line that it writes from then on is an error."""
    workdir = tmp_path / "run"
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, "train", *TINY, f"--workdir={workdir}"],
        stdin=its, stdout=its, stderr=its, env=os.environ | {"XLA_FLAGS": ""},
    )  # fmt: skip
    os.close(its)
    said = b""
    while b"epoch 2: " not in said:
        said += os.read(ours, 4096)
    os.close(ours)
    assert process.wait(timeout=60) == 75
    assert Workdir(workdir).checkpoints()[-1] >= rows(workdir / "metrics.jsonl")[-1]["step"]


@pytest.mark.slow
def test_a_stop_before_the_first_step_exits_75(tmp_path, start):
    cache = tmp_path / "cache"
    flags = (*TINY, f"--config.data.cache_dir={cache}", "--config.data.synthetic.groups=200")
    process = start("train", *flags, f"--workdir={tmp_path / 'run'}")
    process.wait_until(lambda: any(cache.glob("incomplete.*/*")))
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 75, output
    assert output.strip().splitlines()[-1].endswith("the same command goes on from here")
    assert not any(cache.glob("incomplete.*"))


@pytest.mark.slow
@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="in the background it is ignored"
)
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_interrupt_during_imports_is_one_line(smoke_run):
    process = subprocess.Popen(
        [sys.executable, "-m", "vid3d.cli", "predict", f"--workdir={smoke_run}", "none.mp4"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    maps = Path("/proc", str(process.pid), "maps")
    while "jaxlib" not in maps.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == b"vid3d: interrupted\n"
    assert process.returncode == 130


@pytest.mark.slow
def test_a_stop_during_compilation_exits_75(tmp_path, start):
    process = start(
        "train", *TINY, "--config.model.features=8,8,8", f"--workdir={tmp_path / 'run'}"
    )
    process.read_until("the first step compiles")
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 75, output


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("model.name=r3d_19",), "r3d_18"),
        (("model.input=difference", "data.num_frames=1"), "needs data.num_frames of at least 2"),
        (("train.batch_size=64",), "take a smaller batch"),
    ],
)
def test_untrainable_configs_fail_before_decoding(flags, words, tmp_path, call):
    flags = [f"--config.{flag}" for flag in (*flags, f"data.cache_dir={tmp_path / 'cache'}")]
    done = call("train", *TINY, *flags, f"--workdir={tmp_path / 'runs' / 'w'}", check=1)
    assert words in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("cache/frames-*")) and not (tmp_path / "runs").exists()


def test_prepare_and_doctor_accept_good_videos(smoke_run, tmp_path, call):
    assert "15 test videos" in call("prepare", "--config=configs/demo.py:smoke").stderr
    done = call("doctor", "--config=configs/demo.py:smoke", f"--output={tmp_path}")
    assert f"{tmp_path / 'manifest.csv'}\n" in done.stdout
    assert (tmp_path / "bad_videos.csv").read_text().splitlines() == ["path,reason"]


@pytest.mark.slow
def test_a_closed_pipe_prints_no_error(smoke_run):
    """`vid3d doctor ... | head -0`"""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "vid3d.cli", "doctor", "--config=configs/demo.py:smoke"],
        env=os.environ | {"XLA_FLAGS": ""}, stdout=writer, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 1
    assert "Broken" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_file_name_like_an_option_is_explained(smoke_run, tmp_path, run):
    done = subprocess.run(
        [sys.executable, "-m", "vid3d.cli", "predict", f"--workdir={smoke_run}", "-dash.mp4"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "./-dash.mp4" not in done.stderr
    (tmp_path / "-dash.mp4").touch()
    done = subprocess.run(
        [sys.executable, "-m", "vid3d.cli", "predict", f"--workdir={smoke_run}", "-dash.mp4"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "write ./-dash.mp4" in done.stderr


@pytest.mark.slow
def test_a_run_killed_repeatedly_ends_the_same(cache):
    done = subprocess.run(
        [sys.executable, "experiments/soak.py", "--kills=4"],
        cwd=ROOT, env=os.environ | {"XLA_FLAGS": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    kills, resumes = (
        int(last.split()[0]),
        int(re.search(r"(\d+) resumes from a step above 0", last)[1]),
    )
    assert kills >= 4 and resumes >= 3, done.stdout


@pytest.mark.slow
def test_a_run_resumes_on_other_device_counts(tmp_path, run):
    # Without dropout, which every device draws for itself; a constant rate may go on for more
    # epochs.
    same = (*TINY, "--config.model.dropout=0", "--config.optim.schedule=constant")

    def train(workdir, *, devices, epochs):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        arguments = (f"--config.train.epochs={epochs}", f"--workdir={tmp_path / workdir}")
        return run("train", *same, *arguments, env=flags).stderr

    train("one", devices=1, epochs=3)
    before = 0
    for epochs, devices in enumerate((2, 8, 4), start=1):
        said = train("changing", devices=devices, epochs=epochs)
        words = f"saved on {before} devices, resuming with {devices}: the global batch of 8"
        assert (words in said) == bool(before)
        before = devices
    one, changing = (rows(tmp_path / name / "metrics.jsonl") for name in ("one", "changing"))
    assert [row["step"] for row in one] == [row["step"] for row in changing]
    for a, b in zip(one, changing, strict=True):
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=2e-3), name


@pytest.mark.slow
def test_another_set_is_evaluated_by_class_name(smoke_run, call, tmp_path):
    with (smoke_run / "videos.csv").open() as file:
        videos = [v for v in csv.DictReader(file) if v["split"] == "test"][:6]
    from vid3d.config import from_json
    from vid3d.datasets import index

    root = Path(index.find(from_json((smoke_run / "config.json").read_text()).data, 0).root)
    for video in videos:
        target = tmp_path / "new" / video["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / video["path"], target)
    figures = json.loads(
        call("evaluate", f"--workdir={smoke_run}", f"--data={tmp_path / 'new'}", "--json").stdout
    )
    assert figures["num_videos"] == 6
    shutil.copytree(tmp_path / "new", tmp_path / "moved" / "new")
    call("evaluate", f"--workdir={smoke_run}", f"--data={tmp_path / 'moved' / 'new'}", "--json")
    assert len(list(smoke_run.glob("evaluation/data-new-*-best/metrics.json"))) == 2
    (tmp_path / "new" / "Unknown").mkdir()
    shutil.copy(root / videos[0]["path"], tmp_path / "new" / "Unknown" / "x.avi")
    done = call("evaluate", f"--workdir={smoke_run}", f"--data={tmp_path / 'new'}", check=1)
    assert "Unknown" in done.stderr


def test_keys_fixed_by_the_checkpoint_are_refused(smoke_run, call):
    for key in ("model.features=8,8", "seed=5", "data.test_fraction=0.6"):
        done = call("evaluate", f"--workdir={smoke_run}", f"--config.{key}", check=1)
        assert "is fixed by the checkpoint" in done.stderr and done.stderr.count("\n") == 1
    done = call("evaluate", f"--workdir={smoke_run}", "--config.data.size=48", check=1)
    assert "do not fit clips of 10 frames of 48x48" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_renamed_training_videos_are_refused(smoke_run, call, tmp_path):
    with (smoke_run / "videos.csv").open() as file:
        video = next(v for v in csv.DictReader(file) if v["split"] == "train")
    from vid3d.config import from_json
    from vid3d.datasets import index

    root = Path(index.find(from_json((smoke_run / "config.json").read_text()).data, 0).root)
    target = tmp_path / "new" / video["label"] / "renamed.avi"
    target.parent.mkdir(parents=True)
    shutil.copy(root / video["path"], target)
    done = call("evaluate", f"--workdir={smoke_run}", f"--data={tmp_path / 'new'}", check=1)
    assert "renamed.avi" in done.stderr
    assert "in the training" in done.stderr
    call("evaluate", f"--workdir={smoke_run}", "--split=train", "--json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("train", "--config=configs/nothing.py", "--workdir={tmp}/w"),
            "no config file configs/nothing.py",
        ),
        (
            ("train", "--config=configs/demo.py", "--config.model.featurs=1", "--workdir={tmp}/w"),
            "'model.features'",
        ),
        (("train", "--config=configs/videos.py", "--workdir={tmp}/w"), "data.root is empty"),
        (
            (
                "train",
                "--config=configs/videos.py",
                "--config.data.root={tmp}/none",
                "--workdir={tmp}/w",
            ),
            "there is no such",
        ),
        (
            (
                "train",
                "--config=configs/videos.py",
                "--config.data.root={tmp}",
                "--workdir={tmp}/w",
            ),
            "{tmp}",
        ),
        (
            ("train", *TINY, "--config.data.classes", "Clockwise,Leep", "--workdir={tmp}/w"),
            "did you mean 'Leap'",
        ),
        (("train", *TINY, "--config.model.name=conv4d", "--workdir={tmp}/w"), "'conv3d'"),
        (("train", *TINY, "--workdir={tmp}"), "not empty and is not a workdir"),
        (("train", *TINY, "--workdir=/proc/none"), "cannot write in the workdir"),
        (("train", *TINY, "--workdir={tmp}/notes.txt"), "notes.txt is a file: give a folder"),
        (
            ("sweep", "--config=configs/sweep_learning_rate.py", "--workdir={tmp}/notes.txt"),
            "notes.txt is a file: give a folder",
        ),
        (("train", *TINY, "--workdir={tmp}/w", "--num-processes=2"), "need --coordinator"),
        (
            (
                "train",
                *TINY,
                "--workdir={tmp}/w",
                "--coordinator=h:1",
                "--num-processes=2",
                "--process-id=2",
            ),
            "from 0 to --num-processes - 1 = 1",
        ),
        (("evaluate", "--workdir={tmp}/none"), "no workdir"),
        (("evaluate", "--workdir={tmp}"), "no checkpoint in"),
        (("evaluate", "--workdir={smoke}", "--checkpoint=5000"), "there is best, latest"),
        (("evaluate", "--workdir={smoke}", "--data={tmp}/none"), "no such folder"),
        (("predict", "--workdir={tmp}/none", "x.mp4"), "no workdir"),
        (("predict", "--workdir={smoke}", "{tmp}/none.mp4"), "none.mp4"),
        (("live", "--workdir={smoke}", "--source=97", "--output={tmp}/x.mp4"), "97"),
        (
            ("live", "--workdir={smoke}", "--source={tmp}/none.mp4", "--output={tmp}/x.mp4"),
            "none.mp4",
        ),
        (
            ("train", *TINY, "--workdir={tmp}/w", "--coordinator=h:1", "--process-id=0"),
            "needs --num-processes=N as well",
        ),
        (
            ("train", *TINY, "--workdir={tmp}/w", "--coordinator=h:1", "--num-processes=2"),
            "needs --process-id=I as well",
        ),
        (("summary", "--config=configs/demo.py:none"), "no preset 'none'"),
        (("summary", "--all=,"), "names no architecture"),
        (("summary", "--all=conv3d", "--speed=-3"), "--speed=-3: measure 1 clip at a time or more"),
        (("summary", "--all=conv3d", "--speed=0"), "--speed=0: measure 1 clip at a time or more"),
        (("summary", "--config=configs/demo.py", "--speed"), "--speed is for --all"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line(arguments, words, tmp_path, smoke_run, call):
    (tmp_path / "notes.txt").write_text("not a video")
    fill = {"tmp": str(tmp_path), "smoke": str(smoke_run)}
    done = call(*[a.format(**fill) for a in arguments], check=None)
    assert done.returncode not in (0, 75)
    assert words.format(**fill) in done.stderr
    assert "Traceback" not in done.stderr
    assert f"vid3d {arguments[0]}: error:" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]  # nothing is left behind


@pytest.mark.slow
def test_a_workdir_of_another_config_names_the_fields(unbroken, call):
    done = call(
        "train", *TINY, "--config.optim.learning_rate=0.5", f"--workdir={unbroken}", check=1
    )
    assert "optim.learning_rate: 0.002 -> 0.5" in done.stderr


@pytest.mark.slow
def test_two_training_runs_cannot_share_a_workdir(tmp_path, start, call):
    train = ("train", *TINY, f"--workdir={tmp_path / 'run'}")
    process = start(*train)
    process.wait_until(lambda: (tmp_path / "run" / "config.json").exists())
    process.send_signal(signal.SIGSTOP)
    assert "another training run is writing" in call(*train, check=1).stderr

"""Workdirs in an object store: real gcsfs, Orbax and tensorstore against a stand-in bucket."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fixtures.processes import launch

from vid3d import checkpoint, cli, storage
from vid3d.config import from_json
from vid3d.errors import UserError

SMOKE = "--config=configs/demo.py:smoke"
TINY = (SMOKE, "--config.data.size=16", "--config.model.features=4")
ONE_ROW = (*TINY[1:], "--config.train.epochs=1")


def download(bucket, prefix: str, folder: Path) -> Path:
    for name in bucket.names(prefix + "/"):
        path = folder / name.removeprefix(prefix + "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.read(name))
    return folder


def train_until(bucket, method: str, pattern: str, workdir: str, *, count: int = 1) -> str:
    """Kills a run at the first such request, or a later one, and refuses it; returns its output."""
    left = [count]
    process = launch("train", *TINY, f"--workdir={workdir}", stderr=subprocess.STDOUT)

    def watch(asked: str, name: str) -> bool:
        if asked == method and re.search(pattern, name):
            left[0] -= 1
            if left[0] <= 0:
                process.kill()
        return left[0] <= 0

    bucket.watch = watch
    said = process.communicate(timeout=300)[0]
    bucket.watch = lambda method, name: None
    assert process.returncode == -signal.SIGKILL, said
    return said


@pytest.mark.slow
def test_a_killed_run_in_a_bucket_ends_like_one_in_a_folder(
    reach, once, tmp_path, run, assert_same_run
):
    alone = once("tiny-smoke", lambda workdir: run("train", *TINY, f"--workdir={workdir}"))
    per_epoch = checkpoint.Workdir(alone).checkpoints()[-1] // 4
    workdir, before = "gs://bucket/runs/a", set(reach.names())
    # A torn save, one that lacks only its manifest, a row that is not stored, a half-deleted
    # checkpoint.
    train_until(reach, "PUT", rf"checkpoints/{per_epoch}/optimizer/", workdir)
    assert reach.names(f"runs/a/checkpoints/{per_epoch}/")
    said = train_until(reach, "PUT", rf"checkpoints/{2 * per_epoch}/manifest.json", workdir)
    assert "resuming" not in said
    assert reach.read("runs/a/metrics.jsonl").count(b"\n") == 2
    said = train_until(reach, "PUT", "a/metrics.jsonl", workdir, count=2)  # the first cuts rows
    assert f"resuming at step {per_epoch} of" in said
    train_until(reach, "DELETE", rf"checkpoints/{per_epoch}/weights/", workdir)
    last = run("train", *TINY, f"--workdir={workdir}")
    assert "resuming at step" in last.stderr

    copy = download(reach, "runs/a", tmp_path / "copy")
    assert (copy / "config.json").read_bytes() == (alone / "config.json").read_bytes()
    assert (copy / "videos.csv").read_bytes() == (alone / "videos.csv").read_bytes()
    assert checkpoint.resolve(copy) == checkpoint.resolve(alone)
    assert_same_run(copy, alone)
    assert len((copy / "timings.jsonl").read_text().splitlines()) == 4
    assert len(list((copy / "tensorboard").iterdir())) >= 2
    starts = json.loads((copy / "provenance.json").read_text())
    assert [start["step"] for start in starts][:2] == [0, 0] and len(starts) == 5
    log = (copy / "log.txt").read_text().splitlines()
    heads = [f"# {start['date']} {start['command']}" for start in starts]
    assert [line for line in log if line.startswith("# ")] == heads
    assert log[-2].startswith("epoch 4: ") and "is finished" in log[-1]
    assert not {n for n in set(reach.names()) - before if not n.startswith("runs/a/")}


@pytest.fixture(scope="session")
def uploaded(bucket, smoke_run) -> str:
    """A finished workdir that was copied into the bucket; nothing in it knows where it was made."""
    for path in smoke_run.rglob("*"):
        if path.is_file() and path.name != ".lock" and "evaluation" not in path.parts:
            bucket.put(f"up/load/{path.relative_to(smoke_run).as_posix()}", path.read_bytes())
    return "gs://bucket/up/load"


@pytest.mark.slow
def test_a_workdir_in_a_bucket_answers_like_a_folder(reach, uploaded, smoke_run, tmp_path, call):
    figures = [
        json.loads(call("evaluate", f"--workdir={where}", "--json").stdout)
        for where in (smoke_run, uploaded)
    ]
    assert figures[0] == figures[1]
    stored = json.loads(reach.read("up/load/evaluation/test-best/metrics.json"))
    assert stored == figures[0]
    assert reach.read("up/load/evaluation/test-best/confusion_matrix.png").startswith(b"\x89PNG")

    from vid3d.datasets import index

    with (smoke_run / "videos.csv").open() as file:
        video = next(v for v in csv.DictReader(file) if v["split"] == "test")
    root = Path(index.find(from_json((smoke_run / "config.json").read_text()).data, 0).root)
    answers = [
        json.loads(call("predict", f"--workdir={where}", root / video["path"], "--json").stdout)
        for where in (smoke_run, uploaded)
    ]
    assert answers[0] == answers[1]
    labels = [
        call("live", f"--workdir={where}", f"--source={root / video['path']}", "--json").stdout
        for where in (smoke_run, uploaded)
    ]
    assert labels[0].splitlines() and len(labels[0].splitlines()) == len(labels[1].splitlines())

    # Compared with its twin in a folder: the same answers on the same videos.
    done = call("compare", smoke_run, uploaded, "--output=gs://bucket/comparison")
    assert "p = 1 (McNemar's exact test" in done.stdout
    table = list(csv.DictReader(reach.read("comparison/runs.csv").decode().splitlines()))
    assert [row["workdir"] for row in table] == [str(smoke_run), uploaded]
    assert table[0]["test_accuracy"] == table[1]["test_accuracy"]
    assert reach.read("comparison/curves.png").startswith(b"\x89PNG")


@pytest.mark.slow
def test_training_initialises_from_weights_in_a_bucket(reach, uploaded, tmp_path, call):
    start = f"--config.model.init_from={uploaded}"
    done = call("train", SMOKE, "--config.train.epochs=1", start, f"--workdir={tmp_path / 'run'}")
    step = checkpoint.resolve(uploaded)
    assert f"starting from step {step} of {uploaded}" in done.stderr


@pytest.mark.slow
def test_a_bucket_shows_damage_and_the_lock_of_another_machine(reach, uploaded, call, run):
    step = max(int(n.split("/")[3]) for n in reach.names("up/load/checkpoints/"))
    newest = reach.names(f"up/load/checkpoints/{step}/")
    name = max(newest, key=lambda n: len(reach.read(n)))
    whole = {n: reach.read(n) for n in reach.names("up/load/")}
    try:
        reach.put(name, reach.read(name)[:-1] + b"!")
        done = call("predict", f"--workdir={uploaded}", f"--checkpoint={step}", "x.mp4", check=1)
        assert f"checkpoint {step} of {uploaded} is damaged" in done.stderr
        reach.put("up/load/.lock", b"another.host")
        done = run("train", SMOKE, f"--workdir={uploaded}")
        assert f"warning: checkpoint {step} of {uploaded} is damaged" in done.stderr
        assert f"warning: a training run on another.host started in {uploaded}" in done.stderr
        assert reach.names(f"up/load/checkpoints/damaged-{step}/")
        assert reach.read("up/load/metrics.jsonl") == whole["up/load/metrics.jsonl"]
        assert ".lock" not in {n.rsplit("/", 1)[1] for n in reach.names("up/load/")}
    finally:
        for gone in set(reach.names("up/load/")) - whole.keys():
            del reach.objects[gone]
        for n, content in whole.items():
            reach.put(n, content)


@pytest.mark.slow
def test_a_sweep_trains_in_a_bucket(reach, tmp_path, call, one_device):
    config = tmp_path / "many.py"
    config.write_text(
        "from configs import demo\n"
        "def get_config(arg=''):\n    return demo.get_config('smoke')\n"
        "def sweep(add):\n    add()\n    add(**{'data.classes': ('Clockwise', 'Leep')})\n"
    )
    arguments = ("sweep", f"--config={config}", *ONE_ROW, "--workdir=gs://bucket/sweep")
    done = call(*arguments, check=1)
    assert "1 finished, 1 failed" in done.stderr
    assert "did you mean 'Leap'" in done.stderr
    assert b"epoch 1:" in reach.read("sweep/base/log.txt")
    rows = reach.read("sweep/base/metrics.jsonl").splitlines()
    accuracy = json.loads(rows[0])["val/accuracy"]
    assert f"base: finished, validation accuracy {accuracy:.3f}" in done.stderr
    again = call(*arguments, check=1)
    assert "base: running" not in again.stderr
    assert reach.read("sweep/classes=Clockwise-Leep/log.txt").count(b"Leap") == 2


@pytest.mark.parametrize(
    ("workdir", "words"),
    [
        ("gs://bucket", "gs://bucket is a whole bucket: give a folder in it"),
        ("s3://bucket/run", "s3://bucket/run is not a folder: give one, or gs://BUCKET/FOLDER"),
        ("gs://bucket/empty", "no workdir gs://bucket/empty"),
    ],
)
def test_a_bad_address_is_one_line(workdir, words, reach, capsys):
    assert cli.main(["predict", f"--workdir={workdir}", "x.mp4"]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_a_slow_bucket_is_named(reach, monkeypatch):
    said, told = io.StringIO(), threading.Event()
    said.flush = told.set  # after each line
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.setattr(storage, "LATE_SECONDS", 0)
    reach.watch = lambda method, name: not told.wait(60)  # answers when it was named
    storage.as_path("gs://bucket/none")
    assert said.getvalue() == "trying gs://bucket/none\n"


def test_a_read_only_bucket_is_one_line(reach, call):
    reach.watch = lambda method, name: method == "PUT"
    done = call("train", SMOKE, *ONE_ROW, "--workdir=gs://bucket/forbidden", check=1)
    assert (
        "gs://bucket/forbidden/.lock cannot be reached (Forbidden" in done.stderr.splitlines()[-1]
    )
    assert len(done.stderr.splitlines()) == 1
    done = call("train", SMOKE, *ONE_ROW, "--workdir=gs://nothing/run", check=1)
    assert "gs://nothing/run/.lock cannot be reached" in done.stderr.splitlines()[-1]
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_an_unreachable_bucket_is_one_line(reach):
    """gcsfs does not wait between its retries here, so that the error comes at once."""
    code = (
        "import sys, gcsfs.retry; gcsfs.retry.min = lambda *seconds: 0; "
        "from vid3d import cli, storage; storage.LATE_SECONDS = 0; "
        "sys.exit(cli.main(['predict', '--workdir=gs://bucket/run', 'x.mp4']))"
    )
    environment = os.environ | {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, capture_output=True
    )
    assert done.returncode == 1
    *late, last = done.stderr.splitlines()
    assert "gs://bucket/run cannot be reached (Cannot connect to host 127.0.0.1:9" in last
    assert late == ["trying gs://bucket/run"]


def test_without_gcsfs_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["evaluate", "--workdir=gs://bucket/run"]) == 1
    assert capsys.readouterr().err == (
        "vid3d evaluate: error: gs://bucket/run needs gcsfs: pip install 'vid3d[gcs]'\n"
    )


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    storage.write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        storage.write_whole(path, "new \ud800")
    assert path.read_text() == "old"


def test_a_disk_that_takes_no_more_files_is_full(tmp_path, small_disk):
    """A save would fail half-way, whatever bytes are free."""
    assert storage.free_bytes(tmp_path) > 0
    assert storage.free_bytes(small_disk("1m,nr_inodes=40")) == 0


def test_only_a_workdir_may_be_in_a_bucket(capsys):
    for command in (
        ("predict", "--workdir=w", "x.mp4", "--output=gs://bucket/x"),
        ("prepare", SMOKE, "--config.data.cache_dir=gs://bucket/x"),
    ):
        assert cli.main(list(command)) == 1
        said = capsys.readouterr().err
        assert "gs://bucket/x has to" in said and len(said.strip().splitlines()) == 1
    with pytest.raises(UserError, match="--output=gs://b/x"):
        storage.require_local("gs://b/x", "--output")


def test_two_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    code = (
        "import sys; from pathlib import Path; from vid3d import storage\n"
        "for k in range(300):\n"
        "    storage.write_whole(Path(sys.argv[1]), sys.argv[2] * (1000 + 100 * k))"
    )
    command = [sys.executable, "-c", code, str(path)]
    writers = [subprocess.Popen([*command, letter]) for letter in "ab"]
    seen = 0
    while any(writer.poll() is None for writer in writers):
        text = path.read_text() if path.exists() else "a" * 1000
        assert len(set(text)) == 1 and len(text) >= 1000 and len(text) % 100 == 0
        seen += 1
    assert [writer.returncode for writer in writers] == [0, 0] and seen > 10
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_what_is_stored_is_on_the_disk(tmp_path, monkeypatch):
    """Before it has its name, or the call returns: a power cut takes nothing back."""
    synced = []
    original = os.fsync

    def fsync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        synced.append((path.name, path.read_text(), (tmp_path / "whole").exists()))
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    storage.write_whole(tmp_path / "whole", "all")
    for _ in range(2):
        storage.append_line(tmp_path / "rows", "row\n")
    assert synced == [
        (f"whole{storage.INCOMPLETE}", "all", False),
        ("rows", "row\n", True),
        ("rows", "row\nrow\n", True),
    ]

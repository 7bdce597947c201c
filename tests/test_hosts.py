"""Training on several processes equals one process, stops as a whole and resumes exactly."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures.processes import Started, launch

from vid3d import checkpoint

pytestmark = pytest.mark.slow

RUN = (
    "--config=configs/demo.py:smoke", "--config.data.size=16", "--config.data.num_frames=6",
    "--config.data.sampling=random", "--config.model.features=4", "--config.model.dropout=0.3",
    "--config.train.epochs=5",
)  # fmt: skip


@contextlib.contextmanager
def together(
    command: str, *arguments: object, count: int = 2, last: dict[str, str] | None = None
) -> Iterator[list[Started]]:
    """The same command in several processes with four devices; `last`: environment of the last."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={4 // count}",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
    }
    shared = (f"--coordinator=127.0.0.1:{port}", f"--num-processes={count}")
    environments = [environment] * (count - 1) + [environment | (last or {})]
    processes = [
        launch(command, *arguments, *shared, f"--process-id={i}", env=environments[i])
        for i in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.close()


def finish(processes: list[Started], *, codes: list[int]) -> list[tuple[str, str]]:
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [p.returncode for p in processes] == codes, "\n\n".join(e[-1500:] for _, e in outputs)
    return outputs


def rows(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def unbroken(once) -> Path:
    """An uninterrupted run on two processes."""

    def train(workdir: Path) -> None:
        with together("train", *RUN, f"--workdir={workdir}") as processes:
            finish(processes, codes=[0, 0])

    return once("two-processes", train)


def test_two_processes_share_a_workdir_in_a_bucket(unbroken, reach, call):
    with together("train", *RUN, "--workdir=gs://bucket/two") as processes:
        finish(processes, codes=[0, 0])
    assert reach.read("two/metrics.jsonl") == (unbroken / "metrics.jsonl").read_bytes()
    step = checkpoint.Workdir(unbroken).checkpoints()[-1]
    here = checkpoint.digests(unbroken / "checkpoints" / str(step))
    there = json.loads(reach.read(f"two/checkpoints/{step}/manifest.json"))["sha256"]
    assert there["meta/metadata"] == here["meta/metadata"]
    with together("evaluate", "--workdir=gs://bucket/two", "--json") as processes:
        (printed, _), (silent, _) = finish(processes, codes=[0, 0])
    figures = json.loads(reach.read("two/evaluation/test-best/metrics.json"))
    assert json.loads(printed.splitlines()[-1]) == figures
    assert "{" not in silent and "accuracy" not in silent
    alone = json.loads(call("evaluate", f"--workdir={unbroken}", "--json").stdout)
    assert figures["num_videos"] == alone["num_videos"]
    assert figures["loss"] == pytest.approx(alone["loss"], rel=1e-5)


def test_two_and_four_processes_equal_one(unbroken, tmp_path, run):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    run("train", *RUN, f"--workdir={tmp_path / 'one'}", env=flags)
    with together("train", *RUN, f"--workdir={tmp_path / 'four'}", count=4) as processes:
        finish(processes, codes=[0] * 4)
    one = rows(tmp_path / "one")
    assert len(one) == 5
    for workdir in (unbroken, tmp_path / "four"):
        for a, b in zip(one, rows(workdir), strict=True):
            assert a.keys() == b.keys()
            for name in a:
                assert a[name] == pytest.approx(b[name], rel=1e-4), name
        assert (
            checkpoint.Workdir(workdir).checkpoints()
            == checkpoint.Workdir(tmp_path / "one").checkpoints()
        )


def test_when_one_dies_the_other_ends_and_both_resume(unbroken, tmp_path, assert_same_run):
    workdir = tmp_path / "run"
    command = ("train", *RUN, f"--workdir={workdir}")
    with together(*command) as processes:
        limit = time.monotonic() + 240
        while not checkpoint.Workdir(workdir).checkpoints():
            assert all(p.poll() is None for p in processes) and time.monotonic() < limit
            time.sleep(0.01)
        processes[1].kill()
        killed = time.monotonic()
        said = processes[0].communicate(timeout=120)[1]
    # Where it was in a barrier, JAX ends it by abort() when no heartbeat has come for a while.
    assert processes[0].returncode in (1, -signal.SIGABRT) and time.monotonic() - killed < 60
    assert "Traceback" not in said
    assert "one of them has ended" in said or "another task died" in said

    # SIGTERM to one of them before its first step: both save the same step and can be resumed.
    with together(*command) as processes:
        while "the first step compiles" not in (line := processes[0].stderr.readline()):
            assert line, processes[0].communicate()
        processes[1].send_signal(signal.SIGTERM)
        (_, said), _ = finish(processes, codes=[75, 75])
    last = checkpoint.Workdir(workdir).checkpoints()[-1]
    assert said.splitlines()[-1].startswith(f"stopped at step {last}, all saved")
    assert last < rows(unbroken)[-1]["step"]

    with together(*command) as processes:
        (_, said), _ = finish(processes, codes=[0, 0])
    assert f"resuming at step {last}" in said
    assert_same_run(workdir, unbroken)


def test_an_unexpected_error_ends_all_with_its_traceback(tmp_path):
    """One machine has a TensorFlow that cannot be loaded."""
    (tmp_path / "tensorflow.py").write_text("raise ImportError('libcudart.so.99 is missing')\n")
    command = ("train", *RUN, f"--workdir={tmp_path / 'run'}")
    with together(*command, last={"PYTHONPATH": str(tmp_path)}) as processes:
        said = processes[1].communicate(timeout=240)[1]
        ended = time.monotonic()
        other = processes[0].communicate(timeout=120)[1]
    assert processes[1].returncode == 1
    assert said.splitlines()[-1] == "ImportError: libcudart.so.99 is missing"
    assert processes[0].returncode in (1, -signal.SIGABRT) and time.monotonic() - ended < 60
    assert "Traceback" not in other
    assert "one of them has ended" in other or "another task died" in other


def test_processes_with_other_videos_do_not_start(tmp_path):
    """The second has as many, one of them under another name."""
    for home in ("one", "two"):
        for k in range(24):
            path = tmp_path / home / "videos" / ("down", "up")[k % 2] / f"{k}.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (32, 32))
            for t in range(6):
                writer.write(np.full((32, 32, 3), 5 * k + 3 * t, np.uint8))
            writer.release()
    moved = tmp_path / "two" / "videos" / "up" / "3.avi"
    moved.rename(moved.with_name("33.avi"))
    last = {"HOME": str(tmp_path / "two")}
    flags = (
        "--config=configs/videos.py:tutorial",
        "--config.data.size=16",
        "--config.data.num_frames=4",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path / "one"))
        patch.setenv("XDG_CACHE_HOME", os.environ["XDG_CACHE_HOME"])
        command = ("train", *flags, "--config.data.root=~/videos", f"--workdir={tmp_path / 'run'}")
        with together(*command, last=last) as processes:
            outputs = finish(processes, codes=[1, 1])
    words = "process 1 of 2 has other videos, labels or splits than process 0"
    assert any(words in said for _, said in outputs)
    assert not list((tmp_path / "run").glob("checkpoints/*"))

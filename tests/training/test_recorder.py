"""What a training says while it runs, and the profile of some of its steps."""

from __future__ import annotations

import errno
import os
import pty
import re
import subprocess
import sys
import time

import jax.numpy as jnp
import pytest

from vid3d import compilation
from vid3d.checkpoint import Workdir
from vid3d.training import recorder, time_left
from vid3d.training.tensorboard import Board


@pytest.mark.parametrize(("seconds", "words"), [(45, "45 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_have_a_fitting_unit(seconds, words):
    assert time_left.duration(seconds) == words


def test_progress_is_plain_lines_without_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recorder, "PLAIN_INTERVAL", 0.0)
    steps = {"first_step": 0, "last_step": 4, "steps_per_epoch": 2}
    opened = recorder.Recorder(Workdir(tmp_path), batch_size=8, **steps)
    for step in (1, 2):
        opened.show(step, loss=1.25, accuracy=0.5)
    opened.close()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("epoch 0.5, step 1/4: loss 1.250, accuracy 0.500, ")
    assert first.endswith(" waiting for data, ? left")
    assert second.startswith("epoch 1.0, step 2/4: ") and second.endswith(" s left")


def test_time_left_counts_each_evaluation_and_no_compilation(tmp_path, monkeypatch):
    """Two seconds per step, thirty per evaluation; the first of each is compiled for an hour."""
    clock, compiled = [0.0], [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(compilation, "seconds", lambda: compiled[0])
    steps = {"first_step": 0, "last_step": 40, "steps_per_epoch": 10, "eval_every": 10}
    opened = recorder.Recorder(Workdir(tmp_path), batch_size=8, **steps)

    def passes(seconds: float, *, compiling: float = 0.0) -> None:
        clock[0] += seconds + compiling
        compiled[0] += compiling

    passes(2, compiling=3600)
    assert opened.rates(1)["clips_per_second"] == pytest.approx(4)
    left = [opened.time_left.after(2)]  # as the loop does, after the first step was waited for
    for step in range(3, 41):
        passes(2)
        left.append(opened.time_left.after(step))
        if step == 9:
            assert opened.time_left.words(left[-1]) == "over 62 s left"
        if step % 10 == 0:
            with opened.pause(evaluating=True):
                passes(30, compiling=3600 if step == 10 else 0)
    opened.close()
    expected = [2 * (40 - step) + 30 * (step > 10) * (5 - -(-step // 10)) for step in range(3, 41)]
    assert left == [None, *map(pytest.approx, expected)]
    assert opened.time_left.words(left[-10]) == "48 s left"


def test_a_row_is_on_disk_before_the_next_step(tmp_path):
    """A killed run keeps the newest figures in TensorBoard, too."""
    workdir = Workdir(tmp_path)
    steps = {"first_step": 0, "last_step": 4, "steps_per_epoch": 2}
    opened = recorder.Recorder(workdir, batch_size=8, **steps)
    (path,) = workdir.tensorboard_folder.iterdir()
    for step in (2, 4):
        before, scores = path.stat().st_size, {"accuracy": 0.5, "loss": 0.7}
        rates = {"clips_per_second": 1.0, "data_wait_fraction": 0.0}
        opened.row(step, {"val": scores}, learning_rate=0.1, improved=False, rates=rates)
        added = path.read_bytes()[before:]
        assert b"val/accuracy" in added and b"val/loss" in added
    opened.close()


DRAW = """
import fcntl, struct, sys, termios, time
from vid3d.checkpoint import Workdir
from vid3d.training import recorder
steps = {"first_step": 0, "last_step": 100_000, "steps_per_epoch": 1000}
opened = recorder.Recorder(Workdir(sys.argv[1]), batch_size=8, **steps)
opened.clock -= 5000
opened.time_left.start = 0, time.perf_counter() - 5000
for number, width in enumerate(map(int, sys.argv[2:])):
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    for step in (12_345 + number, 23_456 + number):
        opened.show(step, loss=0.6931, accuracy=0.5)
        opened.bar.refresh()
    opened.say(f"this was {width}")
opened.close()
"""


def drawn(terminal: int) -> str:
    """What a process draws on a terminal until it ends."""
    said = b""
    while True:
        try:
            some = os.read(terminal, 65536)
        except OSError:  # nobody has it open any more
            return said.decode()
        said += some


@pytest.mark.slow
def test_the_progress_line_fits_every_terminal(tmp_path):
    widths = (60, 80, 120, 200)
    ours, its = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-c", DRAW, tmp_path, *map(str, widths)],
        stdin=its, stdout=its, stderr=its, env=environment | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(its)
    said = drawn(ours)
    os.close(ours)
    assert process.wait(timeout=60) == 0, said
    assert not re.search("\x1b\\[[0-9;]+m", said)  # no colour, which a background may swallow
    assert "0.000" not in said  # no figure before there is one
    *parts, end = re.split(r"this was \d+\r\n", said)
    for width, part in zip(widths, parts, strict=True):
        frames = [re.sub(r"\x1b\[[0-9;?]*\w", "", frame) for frame in part.split("\r")]
        frame = next(frame for frame in reversed(frames) if "epoch 23.5" in frame)
        assert min(width, 160) - 24 < len(frame.rstrip()) <= width, frame
        assert re.search(
            r"step 234\d\d.* loss 0\.693 +acc(uracy)? 0\.500 .*\d (s|min|h) left", frame
        )
        assert ("━" in frame) == ("clips/s" in frame) == (width >= 120)
        assert ("waiting for data" in frame) == (width >= 120)
        assert "…" not in frame and not frame.rstrip().count("   ")
    assert "epoch" not in end.rpartition("\x1b[2K")[2]  # the line is gone


def test_progress_lines_become_rare(tmp_path, monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(recorder.time, "perf_counter", lambda: clock[0])
    steps = {"first_step": 0, "last_step": 10**6, "steps_per_epoch": 2}
    opened = recorder.Recorder(Workdir(tmp_path), batch_size=8, **steps)
    printed = {}
    for hours in (0.1, 1, 12, 36):
        while clock[0] < hours * 3600:
            clock[0] += 11
            opened.show(1, loss=1.25, accuracy=0.5)
        printed[hours] = opened.num_printed
    opened.close()
    assert len(capsys.readouterr().err.splitlines()) == printed[36]
    assert printed[0.1] >= 20 and printed[1] >= 100 and printed[12] < 450
    assert printed[36] - printed[12] == pytest.approx(24 * 6, abs=5)  # one in ten minutes


def test_a_profile_is_written_after_its_last_step(tmp_path):
    with recorder.Profile(Workdir(tmp_path), (1, 2)) as profile:
        for step, active in enumerate((False, True, True, False)):
            profile.at(step)
            assert bool(profile.staged) == active
            jnp.arange(step).sum()
        assert len(list((tmp_path / "profile").rglob("*.xplane.pb"))) == 1


def test_a_full_disk_does_not_hang_tensorboard(tmp_path):
    """More values than tensorboardX's queue holds."""
    board = Board(tmp_path, purge_step=1)
    board.add_scalar("a", 1.0, 1)
    board.flush()
    board.check()

    def full(*_) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    board._disk.writer.write_event = full
    for step in range(100):
        board.add_scalar("a", 1.0, step)
    limit = time.monotonic() + 60
    while board._disk.error is None and time.monotonic() < limit:
        time.sleep(0.01)
    with pytest.raises(OSError, match=f"No space left on device: .*{tmp_path.name}"):
        board.check()
    board.close()

"""What a training says while it runs, and the profile of some of its steps."""

from __future__ import annotations

import errno
import os
import time

import jax.numpy as jnp
import pytest

from vid3d.checkpoint import Workdir
from vid3d.training import record
from vid3d.training.tensorboard import Board


@pytest.mark.parametrize(("seconds", "words"), [(45, "45 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_have_a_fitting_unit(seconds, words):
    assert record.duration(seconds) == words


def test_progress_is_plain_lines_without_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "PLAIN_INTERVAL", 0.0)
    steps = {"first_step": 0, "last_step": 4, "steps_per_epoch": 2}
    recorder = record.Recorder(Workdir(tmp_path), batch_size=8, **steps)
    for step in (1, 2):
        recorder.show(step, loss=1.25, accuracy=0.5)
    recorder.close()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("epoch 0.5, step 1/4: loss 1.250, accuracy 0.500, ")
    assert first.endswith(" waiting for data, ? left")
    assert second.startswith("epoch 1.0, step 2/4: ") and second.endswith(" s left")


def test_a_profile_is_written_after_its_last_step(tmp_path):
    with record.Profile(Workdir(tmp_path), (1, 2)) as profile:
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

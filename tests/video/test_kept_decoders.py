"""Decoding processes that stay after a call: for whom, for how long, and with which settings."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from vid3d.video import decoder_pool, frames, kept_decoders
from vid3d.video.kept_decoders import KeptDecoders
from vid3d.video.records import Settings

SMALL = Settings(size=(16, 16), resize="squash", color="rgb", max_frames=0, store="raw")


@pytest.fixture
def kept():
    lent = KeptDecoders()
    yield lent
    lent.end()


@pytest.fixture
def paths(video, tmp_path):
    return [str(video(tmp_path / f"{k}.avi", 5 + k, shade=k)) for k in range(4)]


def decode(paths, decoders, settings=SMALL, *, workers=2, look=False):
    """The frames of each video that was decoded."""
    pieces = {}
    events = decoder_pool.decode(
        paths, settings, workers=workers, timeout=20.0, look=look, decoders=decoders
    )
    for event in events:
        assert not isinstance(event, decoder_pool.Failed), event
        if isinstance(event, decoder_pool.Frames):
            pieces.setdefault(event.job, []).extend(bytes(record) for record in event.records)
        elif isinstance(event, decoder_pool.Again):
            pieces.pop(event.job, None)
    size = int(np.prod(settings.frame_shape))
    return [
        np.stack([np.frombuffer(record[-size:], np.uint8) for record in pieces[job]]).reshape(
            -1, *settings.frame_shape
        )
        for job in sorted(pieces)
    ]


def test_next_call_with_other_settings_finds_the_children(decoders, kept, paths, settings):
    wanted = dataclasses.replace(SMALL, size=(32, 24), color="gray", max_frames=3)
    decode(paths, kept)
    children = decoders()
    assert len(children) == 2
    assert not decode(paths, kept, look=True)
    with settings.unlocked():
        settings.data.stored_size, settings.data.color = (32, 24), "gray"
        settings.data.stored_frames = 3
    found = decode(paths, kept, wanted)
    assert decoders() == children
    for frames_THWC, path in zip(found, paths, strict=True):
        whole = frames.read_video(path, settings.data)
        assert (frames_THWC == whole.frames_THWC).all()
    kept.end()
    assert not decoders()


def test_children_without_work_end_soon(decoders, kept, paths, monkeypatch):
    monkeypatch.setattr(kept_decoders, "KEPT_SECONDS", 0.5)
    decode(paths, kept)
    deadline = time.monotonic() + 30
    while decoders():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(decode(paths, kept)) == 4


def test_callers_at_the_same_time_have_their_own_children(decoders, kept, paths):
    with kept.borrow():
        assert len(decode(paths, kept)) == 4
        assert not decoders()


def test_children_that_are_left_with_work_end(decoders, kept, paths):
    events = decoder_pool.decode(paths, SMALL, workers=2, timeout=20.0, decoders=kept)
    next(events)
    events.close()
    assert not decoders()


def test_children_that_died_meanwhile_are_replaced(decoders, kept, paths):
    whole = decode(paths, kept)
    for process in decoders():
        process.kill()
    found = decode(paths, kept)
    assert all(map(np.array_equal, found, whole))


def test_children_are_those_of_the_present_surroundings(
    decoders, kept, video, tmp_path, monkeypatch
):
    for name, shade in (("a", 50), ("b", 200)):
        (tmp_path / name).mkdir()
        video(tmp_path / name / "x.avi", 5, shade=shade)
    monkeypatch.chdir(tmp_path / "a")
    (first,) = decode(["x.avi"], kept)
    children = decoders()
    monkeypatch.chdir(tmp_path / "b")
    (second,) = decode(["x.avi"], kept)
    assert second.mean() > first.mean() + 50 and decoders() == children
    monkeypatch.setenv("TF_SOMETHING", "else")
    decode(["x.avi"], kept)
    assert decoders() == children
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    decode(["x.avi"], kept)
    assert len(decoders()) == 1 and decoders() != children


def test_program_ends_its_children_without_a_word(paths):
    code = (
        "import sys, os, psutil\nfrom vid3d.video import decoder_pool\n"
        "from vid3d.video.kept_decoders import KEPT\nfrom vid3d.video.records import Settings\n"
        "s = Settings((16, 16), 'squash', 'rgb', 0, 'raw')\n"
        "list(decoder_pool.decode(sys.argv[1:], s, workers=2, timeout=60, decoders=KEPT))\n"
        "if not os.fork():\n    sys.exit()\n"
        "os.wait()\n"
        "print(*[p.pid for p in psutil.Process().children()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *paths], capture_output=True, text=True
    )
    children = list(map(int, done.stdout.split()))
    assert done.stderr == "" and len(children) == 2  # which the fork has left alone
    for pid in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            assert psutil.Process(pid).wait(timeout=10) is None or not os.path.exists(
                f"/proc/{pid}"
            )

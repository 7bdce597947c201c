"""Progress shows on a terminal, and a closed pipe costs a training run no step."""

from __future__ import annotations

import io
import os
import signal
import sys

import pytest
from rich.console import Console

from vid3d import terminal


def test_a_bar_counts_videos_on_a_terminal():
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100, highlight=False)
    with terminal.VideoProgress(2, console) as progress:
        progress.advance()
        progress.advance(bad=True)
    assert "2/2" in shown.getvalue()
    last = shown.getvalue().splitlines()[-1]
    assert "decoding: 2 videos in " in last and last.endswith(", 1 bad")


def test_a_bar_takes_nothing_from_standard_output(capsys):
    """Where results go, perhaps into a file."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100, highlight=False)
    with terminal.VideoProgress(200, console, doing="labelling", lasting=False) as progress:
        print("a row")
        progress.advance()
    assert capsys.readouterr().out == "a row\n"
    assert "a row" not in shown.getvalue() and "labelling" in shown.getvalue()
    assert "videos in" not in shown.getvalue()


@pytest.fixture
def closed_pipe():
    """A stream whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        yield stream


@pytest.fixture
def signals():
    """The hang-ups that this process gets."""
    received = []
    before = signal.signal(signal.SIGHUP, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGHUP, before)


def test_a_closed_pipe_asks_once_to_stop(closed_pipe, signals, monkeypatch):
    monkeypatch.setattr(sys, "stderr", closed_pipe)
    console = terminal.training_console()
    console.print("epoch 1")
    assert signals == [signal.SIGHUP]
    console.print("epoch 2")
    assert signals == [signal.SIGHUP]


def test_a_closed_pipe_is_an_error_where_nothing_stops(closed_pipe, signals, monkeypatch):
    monkeypatch.setattr(sys, "stderr", closed_pipe)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    stream = terminal.StandardError()
    with pytest.raises(BrokenPipeError):
        stream.write("epoch 1\n")
        stream.flush()
    terminal.write_nowhere(closed_pipe.fileno())  # so that it can be closed

"""log.txt holds what a training run printed, each line once, whatever standard error is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vid3d.checkpoint import Workdir
from vid3d.errors import UserError
from vid3d.training.log import RunLog


def log_of(folder: Path) -> list[str]:
    return (folder / "log.txt").read_text().splitlines()


def test_lines_are_kept_and_what_a_bar_draws_is_not(tmp_path, capsys):
    before = sys.stderr
    with RunLog(Workdir(tmp_path)) as log:
        print("decoding", file=sys.stderr)
        assert not list(tmp_path.iterdir())  # the workdir may still be refused
        log.begin("# now")
        sys.stderr.write("\x1b[?25l\r\x1b[2Kepoch 0.1  ━━──")
        sys.stderr.write("\r\x1b[2Kepoch 0.2  ━━──")
        sys.stderr.write("\r\x1b[2K\x1b[1mepoch 1: done\x1b[0m\nepoch 1.0  ━━──")
        log.add("step 9")
        sys.stderr.write("\r\x1b[2K\n\x1b[?25h")
        print("torn\r\nlast", file=sys.stderr)
    assert sys.stderr is before
    with RunLog(Workdir(tmp_path)) as log:
        log.begin("# again")
        print("resuming", file=sys.stderr)
    assert log_of(tmp_path) == [
        "# now", "decoding", "epoch 1: done", "step 9", "torn", "last", "# again", "resuming",
    ]  # fmt: skip
    assert "step 9" not in (said := capsys.readouterr().err) and "epoch 0.2" in said


@pytest.mark.parametrize(
    ("error", "last"),
    [
        (UserError("too\nlarge"), "vid3d train: error: too large"),
        (KeyboardInterrupt(), "vid3d train: stopped; the same command goes on from here"),
        (OSError(28, "No space left", "x"), "vid3d train: error: x: No space left"),
        (ValueError("a bug"), "ValueError: a bug"),
    ],
)
def test_what_ended_a_run_is_its_last_line(error, last, tmp_path):
    with pytest.raises(type(error)), RunLog(Workdir(tmp_path)) as log:
        log.begin("# now")
        raise error
    assert log_of(tmp_path)[-1] == last


def test_a_refused_or_another_hosts_run_leaves_no_log(tmp_path):
    with pytest.raises(UserError), RunLog(Workdir(tmp_path)):
        raise UserError("not a workdir")
    with RunLog(Workdir(tmp_path), active=False) as log:
        log.begin("# now")
        print("a", file=sys.stderr)
    assert not list(tmp_path.iterdir())


def test_a_stream_that_is_the_log_is_not_copied(tmp_path, monkeypatch):
    """As in a sweep."""
    with (tmp_path / "log.txt").open("a") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with RunLog(Workdir(tmp_path)) as log:
            log.begin("# now")
            print("once", file=sys.stderr, flush=True)
    assert log_of(tmp_path) == ["once"]


def test_a_log_that_cannot_be_written_ends_with_a_warning(tmp_path, capsys):
    (tmp_path / "log.txt").mkdir()
    with RunLog(Workdir(tmp_path)) as log:
        log.begin("# now")
        print("on it goes", file=sys.stderr)
    warning, line = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {tmp_path}/log.txt ends here: ") and line == "on it goes"


def test_a_log_in_a_bucket_grows(reach, monkeypatch):
    workdir = Workdir("gs://bucket/logged")
    for start in ("# first", "# second"):
        with RunLog(workdir) as log:
            log.begin(start)
            print("a line", file=sys.stderr)
            print("another", file=sys.stderr)
            assert reach.read("logged/log.txt").endswith(f"{start}\n".encode())
    assert reach.read("logged/log.txt").decode().split("\n") == [
        "# first", "a line", "another", "# second", "a line", "another", "",
    ]  # fmt: skip

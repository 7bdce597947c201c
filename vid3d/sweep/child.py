"""One `vid3d train` in a process of its own, its log, and the last line of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vid3d import storage
from vid3d.checkpoint import workdir as workdirs
from vid3d.errors import UserError
from vid3d.training import stop


def start(workdir: Path, config_text: str, environment: Mapping[str, str]) -> subprocess.Popen:
    """Starts a training run, which saves and ends when this process ends.

    What it prints is added to the log in its workdir.

    Args:
        workdir: made where it is missing.
        config_text: the whole config as JSON, so that editing the config file changes no later run.
        environment: of the process.

    Raises:
        OSError: the folder cannot be written.
    """
    store_log(workdir)
    file = storage.local_copy(workdir / workdirs.LOG)
    file.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "vid3d.cli", "train", "--config=-", "--num-processes=1"]
    with file.open("ab") as log, tempfile.TemporaryFile() as text:
        text.write(config_text.encode())
        text.seek(0)
        return subprocess.Popen(
            [*command, f"--workdir={workdir}"],
            env={**environment, stop.PARENT: str(os.getpid())}, stdin=text, stdout=log, stderr=log,
        )  # fmt: skip


def store_log(workdir: Path) -> None:
    """Moves what a run in an object store has printed to its log there.

    If that fails, the next start of the run tries again.
    """
    log = storage.local_copy(workdir / workdirs.LOG)
    if storage.is_remote(workdir) and log.is_file():
        with contextlib.suppress(UserError):
            storage.append_line(workdir / workdirs.LOG, storage.read_text(log))
            log.unlink()


def log_size(workdir: Path) -> int:
    """Bytes of the log so far."""
    log = workdir / workdirs.LOG
    return len(log.read_bytes()) if log.is_file() else 0


def last_line(workdir: Path, log_start: int = 0) -> str:
    """The last line of the log since it had `log_start` bytes; "" where there is none."""
    log = workdir / workdirs.LOG
    said = log.read_bytes()[log_start:] if log.is_file() else b""
    lines = said.decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def last_words(workdir: Path, log_start: int, code: int) -> str:
    """The last line that a process printed since the log had `log_start` bytes, and its signal."""
    is_full = storage.free_bytes(workdir) < 2**16 if workdir.is_dir() else False
    silent = "No space left for its log" if is_full else "it said nothing"
    last = last_line(workdir, log_start) or silent
    if code >= 0:
        return last
    return f"killed by {signal.Signals(-code).name}; its last line: {last}"

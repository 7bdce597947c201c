"""One `vid3d train` in a process of its own, its log, and what it said last."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vid3d.training import workdir as workdirs


def start(workdir: Path, config_text: str, environment: Mapping[str, str]) -> subprocess.Popen:
    """Starts the training; what it prints is added to the log in its workdir.

    Args:
        workdir: is made where it is missing.
        config_text: the whole config as JSON, so that editing the config file changes no later run.
        environment: of the process.

    Raises:
        OSError: the folder cannot be written.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "vid3d.cli", "train", "--config=-", "--num_processes=1"]
    with (workdir / workdirs.LOG).open("ab") as log, tempfile.TemporaryFile() as text:
        text.write(config_text.encode())
        text.seek(0)
        return subprocess.Popen(
            [*command, f"--workdir={workdir}"],
            env=environment, stdin=text, stdout=log, stderr=log,
        )  # fmt: skip


def log_size(workdir: Path) -> int:
    """Bytes of the log so far."""
    log = workdir / workdirs.LOG
    return log.stat().st_size if log.is_file() else 0


def last_words(workdir: Path, log_start: int, code: int) -> str:
    """The last line that a process printed since the log had `log_start` bytes, and the signal that killed it."""
    lines: list[str] = []
    if (workdir / workdirs.LOG).is_file():
        with (workdir / workdirs.LOG).open("rb") as log:
            log.seek(log_start)
            lines = log.read().decode(errors="replace").splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    if code >= 0:
        return last
    return f"killed by {signal.Signals(-code).name}; its last line: {last}"

"""A run of a sweep that has been started, on this machine or elsewhere."""

from __future__ import annotations

import signal
import time
from typing import Protocol

from vid3d import config as configs
from vid3d.sweep import child
from vid3d.sweep.devices import Slot
from vid3d.sweep.table import State, Status


class Job(Protocol):
    """What `launch.work` needs to know of a started run.

    Attributes:
        status: of the run; its state is kept up to date.
        slot: the place that it takes up.
        code: the exit code of `vid3d train`; None while it runs.
        trouble: why it failed, where that is not in its log, or "".
        log_start: bytes of the log that earlier processes wrote.
    """

    status: Status
    slot: Slot
    code: int | None
    trouble: str
    log_start: int

    def has_started(self) -> bool:
        """Whether training started since this was last asked."""

    def is_over(self) -> bool:
        """Whether the run has ended; `code` then says how."""

    def ask_to_stop(self) -> None:
        """Lets the training save and end."""

    def kill(self) -> None:
        """Ends the training without saving."""


class LocalJob:
    """A run on this machine, in a process of its own; see `Job`."""

    def __init__(self, status: Status, slot: Slot):
        """Starts the process.

        Raises:
            OSError: the workdir cannot be written.
        """
        self.status, self.slot = status, slot
        self.code: int | None = None
        self.trouble = ""
        self.asked_to_stop = False
        self.log_start = child.log_size(status.workdir)
        with slot.bound() as environment:
            text = configs.to_json(status.run.config)
            self.process = child.start(status.workdir, text, environment)
        status.state, status.place, status.note = State.RUNNING, slot.name, ""
        status.seen = [(time.monotonic(), status.epoch())]

    def has_started(self) -> bool:
        return False  # it starts at once

    def is_over(self) -> bool:
        self.code = self.process.poll()
        if self.code is not None:
            child.store_log(self.status.workdir)
        return self.code is not None

    def ask_to_stop(self) -> None:
        if not self.asked_to_stop:
            self.asked_to_stop = True
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

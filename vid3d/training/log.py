"""log.txt: the lines that `train` prints on standard error, kept in its workdir."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

from vid3d import parallel, program, storage
from vid3d.checkpoint import Workdir
from vid3d.errors import UserError

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # moves a terminal's cursor or sets its colour
REMOTE_SECONDS = 60.0  # between two additions to a log in an object store, which rewrite it


class RunLog:
    """Stands for standard error while it is entered, and copies its lines to log.txt once begun.

    Lines from before `begin` are kept until then. What a bar draws is left out: of each line only
    what stands after its last carriage return counts. Where standard error is the log itself, as in
    a sweep, nothing is copied.
    """

    def __init__(self, workdir: Workdir, *, active: bool = True):
        """Takes the workdir, and whether this process writes in it."""
        self.path = workdir.log_file
        self.copies = active
        self.begun = False
        self.waiting: list[str] = []
        self.written = time.monotonic()
        self.unfinished = ""  # the line that is being written
        self.lock = threading.RLock()  # a bar is drawn in a thread of its own

    def __enter__(self) -> RunLog:
        self.stream = sys.stderr
        if self.copies:
            sys.stderr = cast("TextIO", self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.stderr = self.stream
        if error:
            self.add(*last_words(error))
        self.store()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self.lock:
            *lines, rest = (self.unfinished + text).split("\n")
            self.unfinished = rest[max(rest.rfind("\r"), 0) :]
            self.add(*lines)
        return self.stream.write(text)

    def add(self, *lines: str) -> None:
        """Adds lines to the log alone."""
        if not self.copies:
            return
        plain = (CONTROL.sub("", line.rstrip("\r")).rpartition("\r")[2] for line in lines)
        with self.lock:
            self.waiting += [line for line in plain if line.strip()]
            late = time.monotonic() - self.written > REMOTE_SECONDS
            if self.begun and (late or not storage.is_remote(self.path)):
                self.store()

    def begin(self, headline: str) -> None:
        """From now on the workdir is this run's: stores the lines so far after a headline."""
        with self.lock:
            self.copies = self.copies and not self.is_the_stream()
            self.waiting.insert(0, headline)
            self.begun = self.copies
            self.store()

    def is_the_stream(self) -> bool:
        """Whether standard error is redirected to the log, or to what is sent there."""
        try:
            log = storage.local_copy(self.path).stat()
            return os.path.samestat(log, os.fstat(self.stream.fileno()))
        except (OSError, ValueError):  # there is no such file, or the stream is none
            return False

    def store(self) -> None:
        """Writes the waiting lines; a log that cannot be written is given up with a warning."""
        if not self.begun:
            return
        text, self.waiting = "".join(f"{line}\n" for line in self.waiting), []
        self.written = time.monotonic()
        try:
            append(self.path, text)
        except (OSError, UserError) as error:
            self.begun = self.copies = False
            print(f"warning: {self.path} ends here: {error}", file=self.stream)


def append(path: Path, text: str) -> None:
    """Adds text to the end of a file; unlike a row's, its loss with the machine is bearable."""
    if storage.is_remote(path):
        storage.append_line(path, text)
        return
    with path.open("ab") as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def last_words(error: BaseException) -> Iterable[str]:
    """The lines that are printed of what ended a training run."""
    error = parallel.explain(error)
    if isinstance(error, (UserError, KeyboardInterrupt, OSError)):
        return [program.last_line("train", error)]
    return "".join(traceback.format_exception(error)).splitlines()

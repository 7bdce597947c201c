"""Tables on standard output, as wide as the terminal, in a pipe uncut; and lines on standard error, whoever reads them."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich import progress as bars
from rich.console import Console

from vid3d.process import write_nowhere

LINE_SECONDS = 10.0  # between two lines of progress where there is no terminal


def console() -> Console:
    """A console for tables."""
    return Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)


class Voice:
    """Standard error, for rich. Where nobody reads it any more, lines are dropped; no step is lost with them.

    A reader that has seen enough, as with `| head`, asks the training to stop, as a lost terminal does.
    """

    def __init__(self):
        self.stream = sys.stderr

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> None:
        with self.unheard():
            self.stream.write(text)

    def flush(self) -> None:
        with self.unheard():
            self.stream.flush()

    @contextlib.contextmanager
    def unheard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # Of a pipe and of a terminal; where nobody takes the signal below, it is an error like any other.
            taken = signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
            if error.errno not in (errno.EPIPE, errno.EIO) or not taken:
                raise
            write_nowhere(self.stream.fileno())
            if error.errno == errno.EPIPE:
                signal.raise_signal(signal.SIGHUP)


def make_console(*, quiet: bool = False) -> Console:
    """Standard error, where nothing is wrapped or taken for markup."""
    return Console(stderr=True, quiet=quiet, soft_wrap=True, markup=False, highlight=False)


class VideoProgress:
    """Counts videos: a bar on a terminal, now and then a line elsewhere. A context manager."""

    def __init__(self, total: int, console: Console, *, doing: str = "decoding"):
        """Shows nothing yet."""
        self.total = total
        self.doing = doing
        self.console = console
        self.done = self.bad = 0
        self.start = self.last_line = time.monotonic()
        self.bar = None

    def __enter__(self) -> VideoProgress:
        if self.console.is_terminal and not self.console.quiet:
            self.bar = bars.VideoProgress(
                bars.TextColumn(self.doing),
                bars.BarColumn(),
                bars.MofNCompleteColumn(),
                bars.TextColumn("{task.fields[rate]:.0f} videos/s"),
                bars.TimeRemainingColumn(),
                console=self.console,
            )
            self.bar.start()
            self.task = self.bar.add_task("", total=self.total, rate=0.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()
        seconds = time.monotonic() - self.start
        self.console.print(
            f"{self.doing}: {self.done} videos in {seconds:.1f} s ({self.done / max(seconds, 1e-9):.0f} videos/s)"
            + (f", {self.bad} bad" if self.bad else "")
        )

    def advance(self, *, bad: bool = False) -> None:
        """One more video is done."""
        self.done += 1
        self.bad += bad
        now = time.monotonic()
        rate = self.done / max(now - self.start, 1e-9)
        if self.bar:
            self.bar.update(self.task, completed=self.done, rate=rate)
        elif now - self.last_line > LINE_SECONDS:
            self.last_line = now
            left = (self.total - self.done) / rate
            self.console.print(
                f"{self.doing}: {self.done} of {self.total} videos, {rate:.0f} videos/s, {left:.0f} s left"
            )


def printable(line: str) -> str:
    """A line without the bytes of undecodable file names, on which a terminal would fail."""
    return line.encode("utf-8", "backslashreplace").decode()


def format_bytes(count: float) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"

"""Tables on standard output, as wide as the terminal, uncut in a pipe; lines on standard error."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import time
from collections.abc import Iterator
from typing import IO, cast

from rich import progress as bars
from rich.console import Console

from vid3d.process import write_nowhere

LINE_SECONDS = 10.0  # between two lines of progress where there is no terminal


def console() -> Console:
    """A console for tables."""
    return Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)


class StandardError:
    """Standard error, with what rich uses of a stream. Where nobody reads it, lines are dropped.

    So a training run loses no step with a closed pipe. A reader that has seen enough, as with
    `| head`, asks it to stop, as a lost terminal does.
    """

    def __init__(self) -> None:
        self.stream = sys.stderr
        self.encoding = self.stream.encoding

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        with self.dropping_unread():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self.dropping_unread():
            self.stream.flush()

    @contextlib.contextmanager
    def dropping_unread(self) -> Iterator[None]:
        """Drops the text of the block, and all later ones, where a pipe or terminal is closed."""
        try:
            yield
        except OSError as error:
            # Where nothing handles the signal below, it is an error like any other.
            is_handled = signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
            if error.errno not in (errno.EPIPE, errno.EIO) or not is_handled:
                raise
            write_nowhere(self.stream.fileno())
            if error.errno == errno.EPIPE:
                signal.raise_signal(signal.SIGHUP)


def training_console() -> Console:
    """Standard error for a training run, which goes on when nobody reads it any more."""
    return Console(file=cast("IO[str]", StandardError()))  # rich asks for no more than it has


def make_console(*, quiet: bool = False) -> Console:
    """Standard error, where nothing is wrapped or read as markup."""
    return Console(stderr=True, quiet=quiet, soft_wrap=True, markup=False, highlight=False)


class VideoProgress:
    """Counts videos: a bar on a terminal, a line now and then elsewhere. A context manager."""

    def __init__(
        self,
        total: int,
        console: Console,
        *,
        doing: str = "decoding",
        line_seconds: float | None = None,
        lasting: bool = True,
    ):
        """Shows nothing yet.

        Args:
            total: how many videos there are.
            console: standard error.
            doing: what is done to them, the first word of each line.
            line_seconds: between two lines; by default `LINE_SECONDS`.
            lasting: the bar stays, and a last line sums up.
        """
        self.total = total
        self.doing = doing
        self.console = console
        self.line_seconds = LINE_SECONDS if line_seconds is None else line_seconds
        self.lasting = lasting
        self.done = self.bad = 0
        self.start = self.last_line = time.monotonic()
        self.bar: bars.Progress | None = None

    def __enter__(self) -> VideoProgress:
        if self.console.is_terminal and not self.console.quiet:
            self.bar = bars.Progress(
                bars.TextColumn(self.doing),
                bars.BarColumn(),
                bars.MofNCompleteColumn(),
                bars.TextColumn("{task.fields[rate]} videos/s"),
                bars.TimeRemainingColumn(),
                console=self.console,
                transient=not self.lasting,
                redirect_stdout=False,  # results are none of the bar's, nor of standard error's
            )
            self.bar.start()
            self.task = self.bar.add_task("", total=self.total, rate="0")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()
        if not self.lasting:
            return
        seconds = time.monotonic() - self.start
        self.console.print(
            f"{self.doing}: {self.done} videos in {seconds:.1f} s "
            f"({format_rate(self.done / max(seconds, 1e-9))} videos/s){self._and_bad()}"
        )

    def advance(self, *, bad: bool = False) -> None:
        """One more video is done."""
        self.done += 1
        self.bad += bad
        now = time.monotonic()
        rate = self.done / max(now - self.start, 1e-9)
        if self.bar:
            self.bar.update(self.task, completed=self.done, rate=format_rate(rate))
        elif now - self.last_line > self.line_seconds:
            self.last_line = now
            left = (self.total - self.done) / rate
            self.console.print(
                f"{self.doing}: {self.done} of {self.total} videos{self._and_bad()}, "
                f"{format_rate(rate)} videos/s, {left:.0f} s left"
            )

    def _and_bad(self) -> str:
        return f", {self.bad} bad" if self.bad else ""


def printable(line: str) -> str:
    """A line without the bytes of undecodable file names, on which a terminal would fail."""
    return line.encode("utf-8", "backslashreplace").decode()


def format_rate(rate: float) -> str:
    """A number per second for people: 0.35, 4.2, 87."""
    return f"{rate:.2g}" if rate < 10 else f"{rate:.0f}"


def format_bytes(count: float) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"

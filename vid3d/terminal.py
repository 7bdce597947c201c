"""Tables on standard output, as wide as the terminal, uncut in a pipe; lines on standard error."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, cast

from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from vid3d.process import write_nowhere

LINE_SECONDS = 10.0  # between two lines of progress where there is no terminal
LEAST_BAR, LARGEST_BAR = 10, 40  # characters


def console(*, wide: bool = False, soft_wrap: bool = False) -> Console:
    """A console for tables.

    Args:
        wide: no narrower on a terminal, which then breaks lines where a copy has no break.
        soft_wrap: the same for lines of text.
    """
    width = None if sys.stdout.isatty() and not wide else 10_000
    return Console(width=width, soft_wrap=soft_wrap, highlight=False)


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


class LineBar(Progress):
    """Progress in one line on a terminal, whatever its width; gone at the end.

    In the terminal's own colours, which are readable on a light and on a dark one.
    """

    def __init__(self, console: Console, *, total: int, completed: int = 0):
        """Shows nothing yet, and where there is no terminal that can redraw a line, nothing ever.

        Args:
            console: of the terminal.
            total, completed: how long the bar is, and how full.
        """
        self.animated = console.is_interactive and not console.quiet
        super().__init__(
            console=console,
            transient=True,
            disable=not self.animated,
            redirect_stdout=False,  # results are none of the bar's, nor of standard error's
        )
        self.only = self.add_task("", total=total, completed=completed, lines=[""])

    def show(self, completed: int, lines: Sequence[str]) -> None:
        """Shows the first of the lines that fits, and a bar only where that is the very first."""
        self.update(self.only, completed=completed, lines=lines)

    def stop(self) -> None:
        self.refresh()
        self.update(self.only, visible=False)
        super().stop()

    def get_renderables(self) -> Iterable[Text]:
        for task in self.tasks:
            if task.visible:
                share = task.completed / max(task.total or 0, 1)
                signs = "#-" if self.console.options.ascii_only else "━─"
                line = fit(task.fields["lines"], share, self.console.width, signs)
                yield Text(line, no_wrap=True, overflow="ellipsis")


def fit(lines: Sequence[str], share: float, width: int, signs: str = "━─") -> str:
    """The first line that is not too wide, else the last; behind the first a bar, if it has room.

    Args:
        lines: from the longest to the shortest.
        share: from 0 to 1, how much of the bar is full.
        width: in characters.
        signs: two characters, for the full and the empty part of the bar.
    """
    line = next((line for line in lines if cell_len(line) <= width), lines[-1])
    room = min(width - cell_len(line) - 2, LARGEST_BAR)
    if line != lines[0] or room < LEAST_BAR:
        return line
    full = round(min(share, 1.0) * room)
    return f"{line}  {signs[0] * full}{signs[1] * (room - full)}"


class VideoProgress:
    """Counts videos: a bar on a terminal, a line now and then elsewhere. A context manager."""

    def __init__(
        self,
        total: int,
        console: Console,
        *,
        doing: str = "decoding",
        noun: str = "videos",
        line_seconds: float | None = None,
        lasting: bool = True,
    ):
        """Shows nothing yet.

        Args:
            total: how many videos there are.
            console: standard error.
            doing: what is done to them, the first word of each line.
            noun: what they are called.
            line_seconds: between two lines; by default `LINE_SECONDS`.
            lasting: the bar stays, and a last line sums up.
        """
        self.total = total
        self.doing, self.noun = doing, noun
        self.console = console
        self.line_seconds = LINE_SECONDS if line_seconds is None else line_seconds
        self.lasting = lasting
        self.done = self.bad = 0
        self.start = self.last_line = time.monotonic()
        self.bar = LineBar(console, total=total)

    def __enter__(self) -> VideoProgress:
        self.bar.show(0, [f"{self.doing}  0/{self.total} {self.noun}"])
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        if not self.lasting:
            return
        seconds = time.monotonic() - self.start
        self.console.print(
            f"{self.doing}: {self.done} {self.noun} in {seconds:.1f} s "
            f"({format_rate(self.done / max(seconds, 1e-9))} {self.noun}/s){self._and_bad()}"
        )

    def advance(self, *, bad: bool = False) -> None:
        """One more video is done."""
        self.done += 1
        self.bad += bad
        now = time.monotonic()
        rate = self.done / max(now - self.start, 1e-9)
        left = (self.total - self.done) / rate
        if self.bar.animated:
            count, time_left = f"{self.done}/{self.total} {self.noun}", f"{left:.0f} s left"
            parts = [self.doing, count, f"{format_rate(rate)} {self.noun}/s", time_left]
            short = "  ".join([self.doing, count, time_left])
            self.bar.show(self.done, ["  ".join(parts), short, count])
        elif now - self.last_line > self.line_seconds:
            self.last_line = now
            self.console.print(
                f"{self.doing}: {self.done} of {self.total} {self.noun}{self._and_bad()}, "
                f"{format_rate(rate)} {self.noun}/s, {left:.0f} s left"
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

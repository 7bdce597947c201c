"""Tables on standard output, as wide as the terminal, in a pipe uncut; and lines on standard error, whoever reads them."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from vid3d.process import write_nowhere


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

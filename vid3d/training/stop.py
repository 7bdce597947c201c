"""SIGTERM, Ctrl-C, a lost terminal, the end of a sweep: each makes a training run save and stop."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Iterable, Iterator
from types import FrameType

from vid3d.process import end_with, write_nowhere

SIGNALS = [signal.SIGTERM, signal.SIGINT]
if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
    SIGNALS.append(signal.SIGHUP)
PARENT = "VID3D_PARENT"  # process id of the sweep that a training run belongs to
_noted = False


def note_only() -> None:
    """Only notes a signal: libraries that are being imported do not survive an exception."""

    def note(number: int, frame: FrameType | None) -> None:
        global _noted
        _noted = True
        let_go_of_lost_terminal()

    for number in SIGNALS:
        signal.signal(number, note)


def end_with_parent() -> None:
    """Sends SIGTERM to a training run of a sweep when the sweep ends, so that it saves."""
    if sweep := os.environ.pop(PARENT, ""):
        end_with(int(sweep), signal.SIGTERM)


def interrupt_at_once() -> None:
    """Raises KeyboardInterrupt at a signal, or now where one was noted.

    Until the first step there is nothing to save. An exception that a library swallows, as in a
    destructor, stays noted for `StopSignal`.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        global _noted
        _noted = True
        let_go_of_lost_terminal()
        raise KeyboardInterrupt

    for number in SIGNALS:
        signal.signal(number, interrupt)
    if _noted:
        raise KeyboardInterrupt


def let_go_of_lost_terminal() -> None:
    """Writes nowhere what goes to a terminal that is gone, where it is an error."""
    for handle in (1, 2):
        with contextlib.suppress(OSError):  # it is closed
            if stat.S_ISCHR(os.fstat(handle).st_mode) and not os.isatty(handle):
                write_nowhere(handle)


@contextlib.contextmanager
def telling(numbers: Iterable[int]) -> Iterator[None]:
    """Says on a terminal at once that one of the signals has come.

    Their handlers only run between two lines of Python, and compiling, one of them, takes long.
    """
    if not os.isatty(2):
        yield
        return
    wanted = set(numbers)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def tell() -> None:
        while came := os.read(reading, 1):
            if came[0] in wanted:
                with contextlib.suppress(OSError):  # the terminal is lost
                    os.write(2, b"\nstopping after this step; a second Ctrl-C stops at once\n")
                wanted.clear()
        os.close(reading)

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)


class StopSignal:
    """Takes SIGTERM, SIGHUP and the first SIGINT as a request to save and stop.

    A second SIGINT interrupts at once. In one of several processes SIGTERM belongs to JAX's
    preemption service, which tells the others: it is left alone, and what else asks to stop is
    handed on to it.
    """

    def __init__(self, *, has_others: bool = False):
        self.has_others = has_others
        self.requested = _noted
        self.signals = [s for s in SIGNALS if not has_others or s != signal.SIGTERM]

    def __enter__(self) -> StopSignal:
        self.before = {number: signal.signal(number, self.request) for number in self.signals}
        if self.requested:
            self.hand_on()
        self.telling = telling([signal.SIGINT, signal.SIGTERM])
        self.telling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.telling.__exit__(None, None, None)
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        let_go_of_lost_terminal()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.hand_on()

    def hand_on(self) -> None:
        if self.has_others:
            os.kill(os.getpid(), signal.SIGTERM)

"""This process: how it starts, the cores that it may use, and its end together with the one that started it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator

PR_SET_PDEATHSIG = 1
_is_program = False


def begin() -> None:
    """For the first line of a program: no garbage is sought until `loaded`.

    Imports leave none, and seeking it among what they make takes half of the time in which a training starts.
    """
    global _is_program
    _is_program = True
    gc.disable()


def loaded() -> None:
    """For the end of a program's imports: what they made is never looked through again, what comes now is."""
    if _is_program:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """For imports that come later: no garbage is sought; of a program, what they made is never looked through."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
            loaded()


def end_with(parent: int, number: signal.Signals) -> None:
    """Sends this process a signal when its parent ends, or now where it has ended already; later ends only on Linux.

    Args:
        parent: process id of the one that started this one.
        number: the signal.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""What a program owes its terminal: signals, one line for an error, an exit that cannot hang."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType

from vid3d import process
from vid3d.errors import UserError

CLEAN_UP_SECONDS = 5.0  # for a command after SIGTERM
RESUMABLE = ("train", "sweep", "cv")  # by the same command


class Terminated(KeyboardInterrupt):
    """SIGTERM: the command cleans up, as after Ctrl-C."""


def listen() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt again, and SIGTERM `Terminated`: everything is loaded."""

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        # A destructor may swallow the exception, and the clean-up may hang.
        again = threading.Timer(CLEAN_UP_SECONDS, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        raise Terminated

    process.end_imports()
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, terminate),
    ):
        if signal.getsignal(number) in (signal.SIG_DFL, process.interrupted_early):
            signal.signal(number, handler)


def say_loading(command: str) -> None:
    """Says on a terminal that a command has begun: its libraries take seconds to load."""
    if sys.stderr.isatty():
        print(f"vid3d {command}: loading", file=sys.stderr)


def explain(command: str, error: BaseException) -> int:
    """Says in one line what ended a command; returns its exit code."""
    if isinstance(error, BrokenPipeError):
        process.write_nowhere(sys.stdout.fileno())
        return 1
    print(last_line(command, error), file=sys.stderr)
    if not isinstance(error, KeyboardInterrupt):
        return 1
    if command in RESUMABLE:
        return process.RESUME_ME
    return 143 if isinstance(error, Terminated) else process.INTERRUPTED


def last_line(command: str, error: BaseException) -> str:
    """What a command says last: the error or the interruption that ended it, in one line."""
    if isinstance(error, UserError):
        line = "error: " + " ".join(str(error).split())
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        line = f"error: {where}{error.strerror or error}"
    elif command in RESUMABLE:
        line = "stopped; the same command goes on from here"
    else:
        line = "terminated" if isinstance(error, Terminated) else "interrupted"
    return f"vid3d {command}: {line}"


def end_at_once(code: int, *, is_program: bool) -> int:
    """Ends the program without Python's clean-up, in which interrupted libraries crash."""
    if is_program:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


@contextlib.contextmanager
def joined(options: argparse.Namespace) -> Iterator[None]:
    """Joins the other processes of the run, if any; an error then ends this one at once.

    Python's usual exit would wait for the others, while they wait for this one.
    """
    from vid3d import parallel

    parallel.initialize(
        options.coordinator,
        num_processes=options.num_processes,
        process_id=options.process_id,
        coordinator_timeout=options.coordinator_timeout,
    )
    try:
        yield
    except BaseException as error:
        if not parallel.has_others():
            raise
        error = parallel.explain(error)
        if isinstance(error, (UserError, KeyboardInterrupt, OSError)):
            code = explain(options.command, error)
        else:
            code = 1
            traceback.print_exception(error)
        end_at_once(code, is_program=True)

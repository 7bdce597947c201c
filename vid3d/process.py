"""This process: its start, its forks, its standard streams, its cores, its end with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import queue
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import FrameType
from typing import Any

FINISHED = 0  # exit codes; RESUME_ME, the same command goes on, is EX_TEMPFAIL of sysexits.h
RESUME_ME = 75
INTERRUPTED = 130  # 128 + the number of the signal, as shells have it
PR_SET_PDEATHSIG = 1
# What the extra `train` installs: labelling videos needs none of it.
OF_TRAINING = {
    "array_record",
    "matplotlib",
    "scipy",
    "sklearn",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
}
OF_SERVING = {"fastapi", "prometheus_client", "python_multipart", "uvicorn"}  # the extra `serve`
NO_LIBRARY = re.compile(r"(\S+\.so[.\d]*): cannot open shared object file")  # of Linux
_is_program = False
_lock = threading.Lock()
_lasting_calls: tuple[int, queue.SimpleQueue] | None = None  # of which process, and its queue
_has_threads = False  # of another network runtime than JAX
_is_cut_off = False  # a fork of a process in which a network had started


def start_program() -> None:
    """For the first line of a program: disables GC until `end_imports`.

    Imports leave no garbage, and looking for it takes half of the time in which training starts.
    """
    global _is_program
    _is_program = True
    gc.disable()
    take_standard_streams()


def take_standard_streams() -> None:
    """Opens the streams that the program was started without, as with `>&-`.

    Otherwise the next files to be opened would take their numbers.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def interrupted_early(number: int, frame: FrameType | None) -> None:
    """Handles Ctrl-C until a command has imported what it needs: says so, and ends at once.

    A KeyboardInterrupt would break libraries as they load.
    """
    with contextlib.suppress(OSError):
        os.write(2, b"vid3d: interrupted\n")
    os._exit(INTERRUPTED)


def end_imports() -> None:
    """For the end of a program's imports: enables GC, for what is made from now on."""
    if _is_program:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def without_gc() -> Iterator[None]:
    """Disables GC during later imports; a program's GC then skips what they made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
            end_imports()


def require_training() -> None:
    """Raises a UserError where the extra `train` is missing, before other processes need it."""
    with naming_missing_libraries():
        importlib.import_module("array_record")


@contextlib.contextmanager
def naming_missing_libraries() -> Iterator[None]:
    """Says what to install where an import lacks a package of an extra, or a system
    library, as on a machine without X.

    Raises:
        UserError: the package or the library is missing.
    """
    try:
        yield
    except ImportError as error:
        from vid3d.errors import UserError

        missing = (error.name or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and missing in OF_TRAINING:
            raise UserError(
                f"training and evaluation need {missing}, which is not installed: "
                "pip install 'vid3d[train]'"
            ) from error
        if isinstance(error, ModuleNotFoundError) and missing in OF_SERVING:
            raise UserError(
                f"serving needs {missing}, which is not installed: pip install 'vid3d[serve]' or, "
                "in a clone, pip install -e '.[serve]'"
            ) from error
        found = NO_LIBRARY.match(str(error))
        if not found:
            raise
        what = f"{error.name or 'a package'} needs {found[1]}, which this system does not have: "
        if error.name == "cv2":
            what += (
                "install libgl1 libglib2.0-0 libsm6 with apt-get or, where no window is to be "
                "opened, call `pip install opencv-python-headless`"
            )
        else:
            what += "install the system's package that has it"
        raise UserError(what) from error


def has_started_jax() -> bool:
    """Whether JAX has devices yet; it has no function that tells without making or locking them."""
    return bool(getattr(sys.modules.get("jax._src.xla_bridge"), "_backends", None))


def note_network() -> None:
    """Notes that a runtime other than JAX has started threads here, which no fork will have."""
    global _has_threads
    _has_threads = True


def note_fork() -> None:
    """Notes in a new process whether it can use a network, whose threads do not come along."""
    global _is_cut_off
    _is_cut_off = _is_cut_off or _has_threads or has_started_jax()


def check_fork() -> None:
    """Raises a UserError where JAX or OpenVINO would wait for its threads forever.

    Raises:
        UserError: this process was forked from one in which it had started.
    """
    if _is_cut_off:
        from vid3d.errors import UserError

        name = "JAX" if has_started_jax() else "OpenVINO"
        raise UserError(
            f"process {os.getpid()} was forked after {name} had started, and {name} hangs in a "
            "fork: load the classifier in the new process alone (gunicorn without --preload), or "
            'start processes with multiprocessing.get_context("spawn")'
        )


os.register_at_fork(after_in_child=note_fork)


def write_nowhere(handle: int) -> None:
    """Drops what is written to a file descriptor from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, handle)
    os.close(nowhere)


def call_in_lasting_thread(function: Callable, *args: Any, **options: Any) -> Any:
    """Calls a function in a thread that lives as long as this process, and waits for it.

    For starting a process that ends with its parent: to Linux, that is the thread it came from.
    """
    global _lasting_calls
    with _lock:
        if _lasting_calls is None or _lasting_calls[0] != os.getpid():  # a fork has no threads
            calls: queue.SimpleQueue = queue.SimpleQueue()
            threading.Thread(
                target=_answer, args=(calls,), name="vid3d-lasting", daemon=True
            ).start()
            _lasting_calls = os.getpid(), calls
    answer: queue.SimpleQueue = queue.SimpleQueue()
    _lasting_calls[1].put((answer, function, args, options))
    value, error = answer.get()
    if error:
        raise error
    return value


def _answer(calls: queue.SimpleQueue) -> None:
    while True:
        answer, function, args, options = calls.get()
        try:
            answer.put((function(*args, **options), None))
        except BaseException as error:
            answer.put((None, error))


def call_in_thread(function: Callable, *args: Any) -> Future:
    """Calls a function in a new thread; the result of the future is its own, or its error.

    An executor takes no more work once the main thread has ended, although others go on.
    """
    future: Future = Future()

    def call() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, name="vid3d").start()
    return future


def end_with(parent: int, number: signal.Signals) -> None:
    """Sends this process a signal when its parent ends, or now if it has; later only on Linux.

    Args:
        parent: process id of the parent.
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

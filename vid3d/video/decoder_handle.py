"""A decoding process as its parent sees it: its start, its memory and pipe, and how it ended."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import BinaryIO

from vid3d.process import call_in_lasting_thread
from vid3d.video.records import Settings
from vid3d.video.spans import Span


@dataclass
class Child:
    """The parent's side of one child process."""

    process: subprocess.Popen
    pipe: Connection
    memory: mmap.mmap
    errors: BinaryIO
    settings: Settings | None = None  # that it was last told
    jobs: deque[int] = field(default_factory=deque)
    heard: float = 0.0  # when it last gave a sign of life, or was given work
    ready: bool = False


@dataclass(frozen=True)
class OpenVideo:
    """A video that has no path of its own, which a child is given open.

    Attributes:
        name: what messages call it.
        handle: of an open file, kept open by the caller.
        path: of a temporary file, where the system cannot hand open ones on; or "".
    """

    name: str
    handle: int
    path: str = ""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Stretches:
    """A video of which some stretches are decoded.

    Attributes:
        path: of the file.
        spans: of it, all in one unit; they may overlap.
    """

    path: str
    spans: tuple[Span, ...]

    def __str__(self) -> str:
        return self.path


Video = str | OpenVideo | Stretches


def spans_of(video: Video) -> tuple[Span, ...]:
    """The stretches that are decoded of a file; none where it is decoded whole."""
    return video.spans if isinstance(video, Stretches) else ()


def give(child: Child, order: str, job: int, video: Video) -> None:
    """Sends a child a video to work on: its path, or None and an open file."""
    path = video if isinstance(video, str) else video.path or None
    if path is not None:  # the child may have been started in another current folder
        with contextlib.suppress(FileNotFoundError):  # that folder is gone
            path = os.path.join(os.getcwd(), path)
    child.pipe.send((order, job, path, spans_of(video)))
    if isinstance(video, OpenVideo) and path is None:
        with socket.fromfd(child.pipe.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.setblocking(True)  # whatever the program has made the default of its sockets
            socket.send_fds(channel, [b"\0"], [video.handle])


def tell(child: Child, settings: Settings) -> None:
    """Sends a child without work what to store from now on, unless it knows."""
    if child.settings != settings:
        child.pipe.send(("settings", settings))
        child.settings = settings


def start(*, slots: int, slot_bytes: int, memory_bytes: int) -> Child:
    """Starts a child on its own memory and pipe; it has to be told its settings.

    Args:
        slots: parts of the memory that both share.
        slot_bytes: the size of each.
        memory_bytes: of address space that the child may take for decoding (on Linux).
    """
    size = slots * slot_bytes
    handle = anonymous_file(size)
    here, there = Pipe()
    options = {
        "slots": slots,
        "slot_bytes": slot_bytes,
        "memory_bytes": memory_bytes,
        "pipe": there.fileno(),
        "memory": handle,
        "parent": os.getpid(),
    }
    errors = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the child
    process = call_in_lasting_thread(
        subprocess.Popen,
        # -P: the current folder may hold a json.py
        [sys.executable, "-P", "-m", "vid3d.video.decoder_child", json.dumps(options)],
        pass_fds=(there.fileno(), handle),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=child_environment(),
    )
    there.close()
    memory = mmap.mmap(handle, size)
    os.close(handle)
    return Child(process, here, memory, errors, heard=time.monotonic())


def anonymous_file(size: int) -> int:
    """The handle of a file without a name, in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("vid3d-frames")
    else:
        handle, name = tempfile.mkstemp()
        os.unlink(name)
    os.ftruncate(handle, size)
    return handle


def child_environment() -> dict[str, str]:
    """The environment of a child: this package on its path, and one thread."""
    root = str(Path(__file__).parents[2])
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        # Frames come and go by the thousand: keeping their memory saves a fifth of the time.
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
        "MALLOC_ARENA_MAX": "1",
    }


def end(child: Child) -> None:
    """Kills a child and gives its memory back."""
    child.process.kill()
    child.process.wait()
    child.pipe.close()
    child.errors.close()
    with contextlib.suppress(BufferError):  # a consumer still holds the last records
        child.memory.close()


def death(process: subprocess.Popen) -> str:
    """How a child ended, as the reason why its video failed."""
    code = process.wait()
    if code >= 0:
        return f"the decoder ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the decoder crashed ({name})"


def why_not_started(child: Child) -> str:
    """The last line that a child wrote before it ended at its start."""
    code = child.process.wait()
    child.errors.seek(0)
    lines = child.errors.read().decode("utf-8", "replace").strip().splitlines()
    message = lines[-1] if lines else "no message"
    return f"a decoding process ended at its start (code {code}): {message}"

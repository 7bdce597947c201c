"""Decoding in child processes that can be killed: a video that hangs, crashes or eats memory costs only itself.

The parent hands out paths over a pipe and the children write finished records (serialized tf.Example protos with one
frame each) into memory that both share, a few slots a child, so that frames are copied once and a slow disk holds the
children back. A child that gives no sign of life in time, or that dies, is replaced, and its video is named with the
reason. Children load OpenCV and NumPy only, and end with their parent.

Run as a program, this file is the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

import numpy as np

from vid3d.data import frames

SLOTS = 3
SLOT_BYTES = 4 * 2**20
MEMORY_BYTES = 4 * 2**30  # of address space that decoding may take
HASH_BYTES = 2**22
AHEAD = 2  # videos that a child has been given: the one in work and the next
FRAME_KEY = b"frame"


@dataclass(frozen=True)
class Settings:
    """What a stored frame looks like.

    Attributes:
        size: height and width.
        resize: "squash" or "short_side".
        color: "rgb" or "gray".
        max_frames: how many of a video's frames are stored; 0 is all.
        store: "raw" or "jpeg".
    """

    size: tuple[int, int]
    resize: str
    color: str
    max_frames: int
    store: str

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return (*self.size, 1 if self.color == "gray" else 3)


@dataclass(frozen=True)
class Frames:
    """Some records of a video, in order; the views are valid until the next event is asked for."""

    lane: int  # the child that they come from; a lane brings one video after the other
    job: int
    records: Sequence[bytes | memoryview]


@dataclass(frozen=True)
class Done:
    """The end of a video: everything that decoding has shown about it."""

    lane: int
    job: int
    sha256: str
    times: list[float]
    fps: float
    size: tuple[int, int]
    claimed: int  # frames, by the container; 0 where it claims none or where not all were wanted


@dataclass(frozen=True)
class Failed:
    """A video that gave no frames, or that broke its decoder, and why; its records so far are worthless."""

    lane: int
    job: int
    reason: str


@dataclass(frozen=True)
class Again:
    """A video whose decoder died and that is tried once more; its records so far are worthless."""

    lane: int
    job: int


Event = Frames | Done | Failed | Again


def record_header(size: int) -> bytes:
    """The serialized tf.Example with the one feature "frame", a string of this size, up to where the string begins."""
    key = b"\x0a" + varint(len(FRAME_KEY)) + FRAME_KEY
    header = b""
    # From the inside out: BytesList.value, Feature.bytes_list, the map entry's value (after its key), Features.feature,
    # Example.features.
    for tag, prefix in ((0x0A, b""), (0x0A, b""), (0x12, key), (0x0A, b""), (0x0A, b"")):
        header = prefix + bytes([tag]) + varint(len(header) + size) + header
    return header


def to_payload(fitted_HWC: np.ndarray, store: str) -> bytes | memoryview:
    """The string of a record: the frame's bytes, row by row, or a JPEG."""
    if store == "jpeg":
        return frames.encode_jpeg(fitted_HWC)
    return np.ascontiguousarray(fitted_HWC).data.cast("B")


def varint(number: int) -> bytes:
    """A number in the variable-length code of protocol buffers."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def record_bytes(settings: Settings) -> int:
    """Size of a raw record."""
    size = int(np.prod(settings.frame_shape))
    return len(record_header(size)) + size


@dataclass
class Child:
    """The parent's side of one child process."""

    process: subprocess.Popen
    pipe: Connection
    memory: mmap.mmap
    errors: object
    jobs: deque[int] = field(default_factory=deque)
    heard: float = 0.0
    ready: bool = False


def decode(
    paths: Iterable[str],
    settings: Settings,
    *,
    workers: int,
    timeout: float,
    look: bool = False,
    memory_bytes: int = MEMORY_BYTES,
) -> Iterator[Event]:
    """Decodes videos side by side.

    A video whose decoder dies is tried once more in a new child, so that it does not pay for another one's leak; one
    that hangs is not.

    Args:
        paths: the videos; their numbers in this order are the jobs of the events.
        settings: what to store.
        workers: child processes.
        timeout: seconds in which a video has to bring its first frames, and each time the next ones.
        look: read the headers only; `Done` then tells the claimed number of frames and the size of none.
        memory_bytes: of address space that decoding may take.

    Yields:
        For each video any number of `Frames`, then `Done` or `Failed`; the events of several videos come interleaved,
        each video's own on one lane.

    Raises:
        RuntimeError: a child cannot even start.
    """
    paths = list(paths)
    waiting = deque(range(len(paths)))
    second_try: set[int] = set()
    slot_bytes = max(SLOT_BYTES, record_bytes(settings))
    children: list[Child] = []

    def fill(child: Child) -> None:
        while waiting and len(child.jobs) < AHEAD:
            job = waiting.popleft()
            if not child.jobs:
                child.heard = time.monotonic()
            child.jobs.append(job)
            with contextlib.suppress(OSError):  # a dead child is noticed by its pipe
                child.pipe.send(("look" if look else "decode", job, paths[job]))

    def replace(lane: int, reason: str, *, again: bool) -> Iterator[Event]:
        child = children[lane]
        end(child)
        jobs = list(child.jobs)
        waiting.extendleft(reversed(jobs[1:]))
        children[lane] = start(settings, slot_bytes, memory_bytes)
        if jobs and again and jobs[0] not in second_try:
            second_try.add(jobs[0])
            waiting.appendleft(jobs[0])
            yield Again(lane, jobs[0])
        elif jobs:
            yield Failed(lane, jobs[0], reason)
        fill(children[lane])

    try:
        for _ in range(max(1, min(workers, len(paths)))):
            children.append(start(settings, slot_bytes, memory_bytes))
        for child in children:
            fill(child)
        while any(child.jobs for child in children):
            wait([child.pipe for child in children], timeout=min(timeout / 4, 1.0))
            for lane, child in enumerate(children):
                if not child.pipe.poll():
                    if child.jobs and time.monotonic() - child.heard > timeout:
                        reason = (
                            f"the decoder hung: nothing for {timeout:g} s (data.decode_timeout)"
                        )
                        yield from replace(lane, reason, again=False)
                    continue
                try:
                    kind, *message = child.pipe.recv()
                except (EOFError, OSError):
                    if not child.ready:
                        raise RuntimeError(why_not_started(child)) from None
                    yield from replace(lane, death(child.process), again=True)
                    continue
                child.ready = True
                if kind in ("frames", "done") and message[1] is not None:
                    job, slot, sizes = message[:3]
                    yield Frames(lane, job, views(child.memory, slot * slot_bytes, sizes))
                    with contextlib.suppress(OSError):
                        child.pipe.send(("free", slot))
                # Not before the consumer is done: while a child waits for a slot, its time does not run.
                child.heard = time.monotonic()
                if kind in ("done", "failed"):
                    child.jobs.popleft()
                    fill(child)
                if kind == "done":
                    yield Done(lane, message[0], *message[3:])
                elif kind == "failed":
                    yield Failed(lane, *message)
    finally:
        for child in children:
            end(child)


def views(memory: mmap.mmap, offset: int, sizes: list[int]) -> list[memoryview]:
    """The records of one slot."""
    whole, out = memoryview(memory), []
    for size in sizes:
        out.append(whole[offset : offset + size])
        offset += size
    return out


def start(settings: Settings, slot_bytes: int, memory_bytes: int) -> Child:
    """Starts a child on its own memory and pipe."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("vid3d-frames")
    else:
        handle, name = tempfile.mkstemp()
        os.unlink(name)
    os.ftruncate(handle, SLOTS * slot_bytes)
    here, there = Pipe()
    options = asdict(settings) | {
        "slot_bytes": slot_bytes,
        "memory_bytes": memory_bytes,
        "pipe": there.fileno(),
        "memory": handle,
        "parent": os.getpid(),
    }
    root = str(Path(__file__).parents[2])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        # Frames come and go by the thousand: keeping their memory saves the system a fifth of the whole time.
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
        "MALLOC_ARENA_MAX": "1",
        # A playlist that poses as a video opens nothing but files.
        "OPENCV_FFMPEG_CAPTURE_OPTIONS": "protocol_whitelist;file",
    }
    errors = tempfile.TemporaryFile()
    process = subprocess.Popen(
        [sys.executable, "-m", "vid3d.data.decoding", json.dumps(options)],
        pass_fds=(there.fileno(), handle),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=environment,
    )
    there.close()
    memory = mmap.mmap(handle, SLOTS * slot_bytes)
    os.close(handle)
    return Child(process, here, memory, errors, heard=time.monotonic())


def end(child: Child) -> None:
    """Ends a child, whatever it is doing, and gives its memory back."""
    child.process.kill()
    child.process.wait()
    child.pipe.close()
    child.errors.close()
    with contextlib.suppress(BufferError):  # a consumer still holds the last records
        child.memory.close()


def death(process: subprocess.Popen) -> str:
    """How a child ended, as the reason for its video."""
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
    return f"a decoding process ended at its start (code {code}): {lines[-1] if lines else 'no message'}"


class Worker:
    """The child: takes paths from the pipe, puts records into the slots."""

    def __init__(self, options: dict):
        """Maps the shared memory; see `start` for the options."""
        self.settings = Settings(
            size=tuple(options["size"]),
            resize=options["resize"],
            color=options["color"],
            max_frames=options["max_frames"],
            store=options["store"],
        )
        self.slot_bytes = options["slot_bytes"]
        self.pipe = Connection(options["pipe"])
        self.memory = memoryview(mmap.mmap(options["memory"], SLOTS * self.slot_bytes))
        self.free = deque(range(SLOTS))
        self.queue: deque[tuple[str, int, str]] = deque()
        self.told = time.monotonic()

    def run(self) -> None:
        """Works until the pipe is closed."""
        self.pipe.send(("ready", None, None))
        while True:
            while not self.queue:
                self.receive()
            kind, job, path = self.queue.popleft()
            try:
                (self.look if kind == "look" else self.decode)(job, path)
            except frames.VideoError as error:
                self.pipe.send(("failed", job, str(error)))
            except MemoryError:
                self.pipe.send(("failed", job, "decoding needs too much memory"))
            except OSError as error:
                self.pipe.send(("failed", job, f"cannot be read: {error.strerror}"))

    def receive(self) -> None:
        """Takes one message: a video to decode, or a slot that is free again."""
        kind, *message = self.pipe.recv()
        if kind == "free":
            self.free.append(message[0])
        else:
            self.queue.append((kind, *message))

    def look(self, job: int, path: str) -> None:
        """Sends what the header of a video claims."""
        reader = frames.Reader(path)
        size = (0, 0)
        self.pipe.send(("done", job, None, [], "", [], reader.claimed_fps, size, reader.claimed))

    def decode(self, job: int, path: str) -> None:
        """Decodes one video and sends its records and facts."""
        reader = frames.Reader(path)
        sha256 = self.digest(path)
        settings, times, sizes, slot, used = self.settings, [], [], None, 0
        size = (0, 0)
        for frame_HWC, seconds in reader:
            if not times:
                size = frame_HWC.shape[:2]
            fitted = frames.fit(
                frame_HWC, size=settings.size, resize=settings.resize, color=settings.color
            )
            payload = to_payload(fitted, settings.store)
            header = record_header(len(payload))
            length = len(header) + len(payload)
            if slot is not None and used + length > self.slot_bytes:
                self.pipe.send(("frames", job, slot, sizes))
                sizes, slot, used = [], None, 0
            if slot is None:
                while not self.free:
                    self.receive()
                slot = self.free.popleft()
            start = slot * self.slot_bytes + used
            self.memory[start : start + len(header)] = header
            self.memory[start + len(header) : start + length] = payload
            sizes.append(length)
            used += length
            times.append(seconds)
            if len(times) == settings.max_frames:
                break
        whole = len(times) != settings.max_frames
        fps = frames.measured_fps(np.array(times), reader.claimed_fps)
        claimed = reader.claimed if whole else 0
        self.pipe.send(("done", job, slot, sizes, sha256, times, fps, size, claimed))

    def digest(self, path: str) -> str:
        """SHA-256 of the file, with a sign of life every second."""
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(HASH_BYTES):
                digest.update(piece)
                if time.monotonic() - self.told > 1:
                    self.pipe.send(("alive", None, None))
                    self.told = time.monotonic()
        return digest.hexdigest()


def main() -> None:
    """The child's beginning: dies with its parent, is bounded in memory, leaves no core file."""
    options = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != options["parent"]:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + options["memory_bytes"]
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        Worker(options).run()


if __name__ == "__main__":
    main()

"""The child of `decoding`: a program that decodes what its parent asks for, and ends with it.

It loads OpenCV, PyAV and NumPy only. Records go into memory that it shares with the parent,
messages over a pipe:

    from the parent   (order, job, path) with the order "look" or "decode";  ("free", slot)
                      instead of a path None, and then an open file, for a video without one
    to the parent     ("ready",);  ("alive",);  ("failed", job, reason);
                      ("frames", job, slot, sizes, their times);
                      ("done", job, slot or None, sizes, their times,
                       sha256, all times, fps, size, claimed, damage)
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import mmap
import os
import resource
import signal
import socket
import sys
import time
from collections import deque
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from vid3d.process import end_with
from vid3d.video import container, frames, resize
from vid3d.video.picture import DecodeOptions
from vid3d.video.reader import Reader
from vid3d.video.records import Settings, record_header, to_payload

HASH_BYTES = 2**22


class Decoder:
    """Takes paths from the pipe and puts records into the slots."""

    def __init__(self, options: dict):
        """Maps the shared memory; see `decoding.Pool.start_child` for the options."""
        names = ("size", "resize", "color", "max_frames", "store")
        self.settings = Settings(
            **{name: options[name] for name in names}, decode=DecodeOptions(**options["decode"])
        )
        self.slot_bytes = options["slot_bytes"]
        self.pipe = Connection(options["pipe"])
        self.memory = memoryview(mmap.mmap(options["memory"], options["slots"] * self.slot_bytes))
        self.free = deque(range(options["slots"]))
        self.queue: deque[tuple[str, int, str | None, int]] = deque()

    def run(self) -> None:
        """Works until the pipe is closed."""
        self.pipe.send(("ready",))
        while True:
            while not self.queue:
                self.receive()
            order, job, path, handle = self.queue.popleft()
            try:
                name = f"/dev/fd/{handle}" if path is None else path
                (self.look if order == "look" else self.decode)(job, name)
            except container.VideoError as error:
                self.pipe.send(("failed", job, str(error)))
            except MemoryError:
                reason = "the file is damaged, or its frames are very large"
                self.pipe.send(("failed", job, f"decoding needs too much memory: {reason}"))
            if path is None:
                os.close(handle)

    def receive(self) -> None:
        """Takes one message: a video to work on, or a slot that is free again."""
        kind, *rest = self.pipe.recv()
        if kind == "free":
            self.free.append(rest[0])
        else:
            job, path = rest
            self.queue.append((kind, job, path, self.receive_file() if path is None else -1))

    def receive_file(self) -> int:
        """Takes the open file that follows a message without a path."""
        with socket.fromfd(self.pipe.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            _, (handle,), _, _ = socket.recv_fds(channel, 1, 1)
        return handle

    def look(self, job: int, path: str) -> None:
        """Sends what the header of a video claims."""
        with contextlib.closing(Reader(path)) as reader:
            facts = (reader.claimed_fps, (0, 0), reader.claimed, "")
        self.pipe.send(("done", job, None, [], [], "", np.zeros(0), *facts))

    def decode(self, job: int, path: str) -> None:
        """Decodes one video and sends its records and facts."""
        settings = self.settings
        reader = Reader(path, settings.decode)
        sha256 = self.digest(path)
        times: list[float] = []
        sizes: list[int] = []
        slot, used, size = None, 0, (0, 0)
        for frame_HWC, seconds in reader:
            size = size if times else frame_HWC.shape[:2]
            fitted = resize.fit(
                frame_HWC, size=settings.size, resize=settings.resize, color=settings.color
            )
            payload = to_payload(fitted, settings.store)
            header = record_header(len(payload))
            length = len(header) + len(payload)
            if slot is not None and used + length > self.slot_bytes:
                self.pipe.send(("frames", job, slot, sizes, times[-len(sizes) :]))
                slot, used, sizes = None, 0, []
            if slot is None:
                slot = self.free_slot()
            start = slot * self.slot_bytes + used
            self.memory[start : start + len(header)] = header
            self.memory[start + len(header) : start + length] = payload
            sizes.append(length)
            used += length
            times.append(seconds)
            if len(times) == settings.max_frames:
                break
        times_T = np.array(times)
        fps = frames.measured_fps(times_T, reader.claimed_fps)
        facts = (sha256, times_T, fps, size, reader.claimed, reader.damage)
        self.pipe.send(("done", job, slot, sizes, times[-len(sizes) :], *facts))

    def free_slot(self) -> int:
        """A slot that may be written; waits for the parent where there is none."""
        while not self.free:
            self.receive()
        return self.free.popleft()

    def digest(self, path: str) -> str:
        """SHA-256 of the file, with a sign of life every second.

        Raises:
            VideoError: it cannot be read to the end.
        """
        digest = hashlib.sha256()
        last_sign = time.monotonic()
        try:
            with open(path, "rb", buffering=0) as file:
                while piece := file.read(HASH_BYTES):
                    digest.update(piece)
                    if time.monotonic() - last_sign > 1:
                        self.pipe.send(("alive",))
                        last_sign = time.monotonic()
        except OSError as error:
            raise container.VideoError(f"cannot be read: {error.strerror}", path) from None
        return digest.hexdigest()


def main() -> None:
    """Starts the child: it dies with its parent, has bounded memory, and leaves no core file."""
    gc.freeze()  # modules are not searched for garbage
    options = json.loads(sys.argv[1])
    options["size"] = tuple(options["size"])
    os.nice(5)  # the parent goes first: the network, or the writing
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(options["parent"], signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + options["memory_bytes"]
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        Decoder(options).run()


if __name__ == "__main__":
    main()

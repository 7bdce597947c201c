"""The child of `decoder_pool`: a program that decodes what its parent asks for, and ends with it.

It loads OpenCV, PyAV and NumPy only. Records go into memory that it shares with the parent,
messages over a pipe:

    from the parent   ("settings", settings), before the first video, and where they change;
                      (order, job, path, spans) with the order "look" or "decode", and no spans for
                      a whole video;  ("free", slot)
                      instead of a path None, and then an open file, for a video without one
    to the parent     ("ready",);  ("alive",);  ("failed", job, reason, limit);
                      ("again", job): what came of the video is to be dropped;
                      ("frames", job, slot, sizes, their times);
                      ("done", job, slot or None, sizes, their times,
                       sha256, all times, fps, size, claimed, damage, places,
                       width : height of a pixel), and for "look" the claimed seconds at the end
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
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from vid3d.process import end_with
from vid3d.video import container, frame_folder, frames, resize
from vid3d.video.packet_index import InexactError
from vid3d.video.reader import Reader
from vid3d.video.records import Settings, record_header, to_payload
from vid3d.video.selected import read_selected
from vid3d.video.spans import Selection, Span


class Decoder:
    """Takes paths from the pipe and puts records into the slots."""

    def __init__(self, options: dict):
        """Maps the shared memory; see `decoder_handle.start` for the options."""
        self.settings: Settings
        self.slot_bytes = options["slot_bytes"]
        self.pipe = Connection(options["pipe"])
        self.memory = memoryview(mmap.mmap(options["memory"], options["slots"] * self.slot_bytes))
        self.free = deque(range(options["slots"]))
        self.queue: deque[tuple[str, int, str | None, tuple[Span, ...], int]] = deque()
        self.last_sign = 0.0

    def run(self) -> None:
        """Works until the pipe is closed."""
        self.pipe.send(("ready",))
        while True:
            while not self.queue:
                self.receive()
            order, job, path, spans, handle = self.queue.popleft()
            try:
                name = f"/dev/fd/{handle}" if path is None else path
                if order == "look":
                    self.look(job, name)
                else:
                    self.decode(job, name, spans)
            except container.VideoError as error:
                self.pipe.send(("failed", job, str(error), getattr(error, "limit", "")))
            except MemoryError:
                reason = "the file is damaged, or its frames are very large"
                self.pipe.send(("failed", job, f"decoding needs too much memory: {reason}"))
            if path is None:
                os.close(handle)

    def receive(self) -> None:
        """Takes one message: settings, a video to work on, or a slot that is free again."""
        kind, *rest = self.pipe.recv()
        if kind == "free":
            self.free.append(rest[0])
        elif kind == "settings":
            (self.settings,) = rest
        else:
            job, path, spans = rest
            handle = self.receive_file() if path is None else -1
            self.queue.append((kind, job, path, spans, handle))

    def receive_file(self) -> int:
        """Takes the open file that follows a message without a path."""
        with socket.fromfd(self.pipe.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            _, (handle,), _, _ = socket.recv_fds(channel, 1, 1)
        return handle

    def look(self, job: int, path: str) -> None:
        """Sends what the header of a video claims."""
        with contextlib.closing(frame_folder.open_reader(path, self.settings.decode)) as reader:
            seconds = container.duration(reader.container, reader.stream)
            facts = (reader.claimed_fps, (0, 0), reader.claimed, "", (), 1.0, seconds)
        self.pipe.send(("done", job, None, [], [], "", np.zeros(0), *facts))

    def decode(self, job: int, path: str, spans: tuple[Span, ...]) -> None:
        """Decodes one video, or stretches of it, and sends its records and facts."""
        reader = frame_folder.open_reader(path, self.settings.decode)
        sha256 = self.digest(path)
        try:
            self.send(job, reader, spans, sha256)
        except InexactError:
            self.pipe.send(("again", job))
            self.send(job, reader.again(), spans, sha256, seek=False)

    def send(
        self, job: int, reader: Reader, spans: tuple[Span, ...], sha256: str, *, seek: bool = True
    ) -> None:
        """Decodes and sends the records and facts of a video whose content is known."""
        settings = self.settings
        selection = Selection(spans, settings.max_frames) if spans else None
        found: Iterable[tuple[np.ndarray | None, float]] = (
            read_selected(reader, selection, seek=seek) if selection else reader
        )
        times: list[float] = []
        sizes: list[int] = []
        slot, used, size, shape = None, 0, (0, 0), 1.0
        began = time.monotonic()
        try:
            for frame_HWC, seconds in found:
                if frame_HWC is None:
                    self.sign()
                    continue
                if not times:
                    size = frame_HWC.shape[:2]
                    if settings.decode.pixels == "square":
                        shape = container.pixel_shape(reader.stream)  # while it is open
                settings.limits.check(
                    reader.path,
                    pixels=frame_HWC.shape[0] * frame_HWC.shape[1],
                    seconds=seconds,
                    worked=time.monotonic() - began,
                )
                header, payload = self.record(frame_HWC)
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
                if len(times) == settings.max_frames and not selection:
                    break
        except Exception:  # the child goes on with the next video
            self.free += [] if slot is None else [slot]
            raise
        times_T = np.array(times)
        fps = reader.claimed_fps if selection else frames.measured_fps(times_T, reader.claimed_fps)
        places = selection.described() if selection else ()
        facts = (sha256, times_T, fps, size, reader.claimed, reader.damage, places, shape)
        self.pipe.send(("done", job, slot, sizes, times[-len(sizes) :], *facts))

    def record(self, frame_HWC: np.ndarray) -> tuple[bytes, bytes | memoryview]:
        """A frame as the two parts of a record."""
        settings = self.settings
        fitted = resize.fit(
            frame_HWC, size=settings.size, resize=settings.resize, color=settings.color
        )
        payload = to_payload(fitted, settings.store)
        return record_header(len(payload)), payload

    def sign(self) -> None:
        """A sign of life, if none was given for a second."""
        if time.monotonic() - self.last_sign > 1:
            self.pipe.send(("alive",))
            self.last_sign = time.monotonic()

    def free_slot(self) -> int:
        """A slot that may be written; waits for the parent where there is none."""
        while not self.free:
            self.receive()
        return self.free.popleft()

    def digest(self, path: str) -> str:
        """SHA-256 of the file or folder, with a sign of life every second.

        Raises:
            VideoError: it cannot be read to the end.
        """
        digest = hashlib.sha256()
        try:
            frame_folder.update(digest, path, self.sign)
        except OSError as error:
            raise container.VideoError(f"cannot be read: {error.strerror}", path) from None
        return digest.hexdigest()


def main() -> None:
    """Starts the child: it dies with its parent, has bounded memory, and leaves no core file."""
    gc.freeze()  # modules are not searched for garbage
    options = json.loads(sys.argv[1])
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

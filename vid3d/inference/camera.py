"""A camera read by a thread that keeps the newest frame and reopens the camera if it is lost."""

from __future__ import annotations

import abc
import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np

from vid3d.errors import UserError
from vid3d.inference.stream import LabelStream
from vid3d.video.container import VideoError
from vid3d.video.reader import ConversionError
from vid3d.video.sources import Source

FIRST_PAUSE = 0.5  # seconds before a lost camera is reopened; doubled after each failure
LONGEST_PAUSE = 8.0


class Taken(NamedTuple):
    """A frame of a camera."""

    number: int
    frame_HWC: np.ndarray
    seconds: float  # on the camera's clock
    full: bool  # whether it fills the stream's window


class Worker(abc.ABC):
    """A thread that lives as long as a `with` block; `check` raises the error that ended it."""

    def __init__(self):
        """Prepares the thread, which `with` starts."""
        self.ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guard, name=type(self).__name__, daemon=True)

    @abc.abstractmethod
    def run(self) -> None:
        """The body of the thread; returns soon after `ended` is set."""

    def check(self) -> None:
        """Raises the error that ended the thread, if any."""
        if self._error:
            raise self._error

    def _guard(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._thread.join(timeout=5)  # a camera that hangs in its driver does not block the exit


class Camera(Worker):
    """Reads frames from a camera, feeds them to a stream and keeps the newest.

    Attributes:
        stream: the consumer of the frames; None until there is one.
        newest: the newest frame.
        lost: whether the camera has stopped giving frames and is being reopened.
    """

    def __init__(
        self, reader: Source, on_event: Callable[[str, float], None] = lambda kind, seconds: None
    ):
        """Reads the first frame.

        Args:
            reader: an open camera.
            on_event: called with "lost" or "back" and the seconds on the clock, in this thread.

        Raises:
            UserError: the camera gives no frames.
        """
        super().__init__()
        self.reader = reader
        self.on_event = on_event
        self.stream: LabelStream | None = None
        self.lost = False
        self._came = threading.Condition()
        self._began = time.perf_counter()
        self.newest = Taken(-1, np.zeros((0, 0, 3), np.uint8), 0.0, False)
        first = self._read()
        if first is None:
            reader.close()
            raise UserError(f"{reader.name}: it is open, but gives no frames")
        self._take(first)

    def clock(self) -> float:
        """Seconds since the camera was first opened."""
        return time.perf_counter() - self._began

    def wait(self, *, after: int, timeout: float) -> Taken | None:
        """Waits for a frame with a number above `after`; None after `timeout` seconds."""
        with self._came:
            came = self._came.wait_for(lambda: self.newest.number > after, timeout)
            return self.newest if came else None

    def run(self) -> None:
        pause = FIRST_PAUSE
        while not self.ended.is_set():
            if (frame_HWC := self._read()) is not None:
                pause = FIRST_PAUSE
                if self.lost:
                    self.lost = False
                    print(f"{self.reader.name}: back", file=sys.stderr)
                    self.on_event("back", self.clock())
                self._take(frame_HWC)
                continue
            if not self.lost:
                self.lost = True
                if self.stream:
                    self.stream.clear()
                print(f"{self.reader.name}: no signal, opening it again", file=sys.stderr)
                self.on_event("lost", self.clock())
            self.reader.close()
            self.ended.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            with contextlib.suppress(VideoError):
                self.reader = Source(self.reader.name, self.reader.options)
        self.reader.close()

    def _read(self) -> np.ndarray | None:
        """The next frame; None where the signal is lost.

        Raises:
            UserError: a frame cannot be converted to RGB.
        """
        try:
            item = self.reader.read()
        except ConversionError as error:
            raise UserError(f"{self.reader.name}: {error}") from None
        except VideoError:  # the signal was lost before the first frame
            return None
        return None if item is None else item[0]

    def _take(self, frame_HWC: np.ndarray) -> None:
        seconds = self.clock()
        full = self.stream is not None and self.stream.add(frame_HWC, seconds)
        with self._came:
            self.newest = Taken(self.newest.number + 1, frame_HWC, seconds, full)
            self._came.notify_all()

"""Cameras, streams and files as `vid3d live` reads them, frame by frame as they come."""

from __future__ import annotations

import time
from collections.abc import Generator
from urllib.parse import unquote

import cv2
import numpy as np

from vid3d.video.clock import FrameClock
from vid3d.video.container import DEFAULT_FPS, VideoError
from vid3d.video.picture import DecodeOptions
from vid3d.video.reader import AS_DEFAULT, Reader, UrlReader


class Source:
    """A camera, a file or a URL that is read frame by frame, for live prediction.

    A context manager.

    Attributes:
        name: as it was given.
        options: how the pictures of a file or a URL become frames.
        path: of the file; None for cameras and URLs.
        is_camera: frames come in real time and without an end, from a device or over the network.
        fps: stated frames per second; 0.0 where a camera states none.
    """

    def __init__(self, source: str | int, options: DecodeOptions = AS_DEFAULT):
        """Opens the source.

        Args:
            source: the number of a camera, a URL such as rtsp://..., or a video file, also as
                file://...
            options: how the pictures of a file or a URL become frames.

        Raises:
            VideoError: it cannot be opened.
        """
        self.name = str(source)
        self.options = options
        self.path = file_path(self.name)
        self._reader: Reader | DeviceReader
        if self.name.isdecimal():
            self._reader = DeviceReader(int(self.name))
        elif self.path is None:
            self._reader = UrlReader(self.name, options)
        else:
            self._reader = Reader(self.path, options)
        self.is_camera = self.path is None and self._reader.is_endless
        self.fps = self._reader.claimed_fps
        self._frames = iter(self._reader)
        self._clock = FrameClock(self.fps or DEFAULT_FPS)

    @property
    def damage(self) -> str:
        """What the decoder has reported so far, in one line; "" for a whole video."""
        return self._reader.damage

    def read(self) -> tuple[np.ndarray, float] | None:
        """The next frame, uint8 RGB [H, W, 3], and its seconds from the first one.

        None at the end or after a loss.

        The seconds of a file are its own, those of a camera are when the frame came.

        Raises:
            VideoError: there is not a single frame, or one cannot be converted to RGB.
        """
        item = next(self._frames, None)
        if item is None or not self.is_camera:
            return item
        return item[0], self._clock.tick(time.monotonic())

    def close(self) -> None:
        """Releases the camera or the file."""
        self._frames.close()
        self._reader.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DeviceReader:
    """The frames of a camera of this machine, by OpenCV; see `Reader`.

    Attributes:
        claimed_fps: frames per second that the camera states; 0.0 where it states none.
    """

    is_endless = True
    damage = ""

    def __init__(self, number: int):
        """Opens a camera.

        Raises:
            VideoError: there is none with this number.
        """
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise VideoError("no such camera", str(number))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.claimed_fps = fps if 0 < fps <= 1000 else 0.0

    def __iter__(self) -> Generator[tuple[np.ndarray, float]]:
        while True:
            read, frame = self._capture.read()
            if not read:
                return
            yield to_rgb(frame), 0.0

    def close(self) -> None:
        """Releases the camera."""
        self._capture.release()


def to_rgb(frame: np.ndarray) -> np.ndarray:
    """OpenCV's frame (BGR, BGRA or one channel) as uint8 RGB [H, W, 3]."""
    if frame.ndim == 2 or frame.shape[2] == 1:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(frame, cv2.COLOR_BGRA2RGB if frame.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def file_path(source: str) -> str | None:
    """The path of a source that is a file, also one named as file://.

    None for the number of a camera and for any other URL.
    """
    if source.startswith("file://"):
        return unquote(source.removeprefix("file://").removeprefix("localhost"))
    return None if source.isdecimal() or "://" in source else source

"""Cameras, streams and files as `vid3d live` reads them: one frame after the other, as they come."""

from __future__ import annotations

import time
from urllib.parse import unquote

import cv2
import numpy as np

from vid3d.data.frames import (
    DEFAULT_FPS,
    FrameClock,
    Reader,
    VideoError,
    claimed_frames,
    fourcc,
    no_frame,
    to_rgb,
)


class Source:
    """A camera, a file or a URL that is read frame by frame, for live prediction; a context manager.

    Attributes:
        name: as it was given.
        path: of the file; None for cameras and URLs.
        is_camera: frames come in their own time and without an end, from a device or over the network.
        fps: claimed frames a second; 0.0 where a camera claims none.
        size: height and width of the frames.
    """

    def __init__(self, source: str | int):
        """Opens the source.

        Args:
            source: the number of a camera, a URL such as rtsp://..., or a video file, also as file://...

        Raises:
            VideoError: it cannot be opened.
        """
        self.name = str(source)
        self.is_camera = False
        self.path = file_path(self.name)
        if self.path is not None:
            reader = Reader(self.path)
            self.capture, self.fps = reader.capture, reader.claimed_fps
        else:
            target = int(self.name) if self.name.isdecimal() else self.name
            self.capture = cv2.VideoCapture(target)
            if not self.capture.isOpened():
                kind = "no such camera" if self.name.isdecimal() else "the stream cannot be opened"
                raise VideoError(kind, self.name)
            self.is_camera = self.name.isdecimal() or not claimed_frames(self.capture)
            fps = self.capture.get(cv2.CAP_PROP_FPS)
            self.fps = fps if 0 < fps <= 1000 else 0.0
        self.size = (
            int(self.capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            int(self.capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        )
        self.clock = FrameClock(self.fps or DEFAULT_FPS)

    def read(self) -> tuple[np.ndarray, float] | None:
        """The next frame, uint8 RGB [H, W, 3], and its seconds from the first one; None at the end or after a loss.

        The seconds of a file are its own, those of a camera are when the frame came.
        """
        read, frame = self.capture.read()
        if not read:
            return None
        if self.is_camera:
            return to_rgb(frame), self.clock.tick(time.monotonic())
        return to_rgb(frame), self.clock.tick(self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)

    def no_frame(self) -> str:
        """Why there is not a single frame."""
        return no_frame(fourcc(self.capture.get(cv2.CAP_PROP_FOURCC)))

    def close(self) -> None:
        """Gives the camera or the file back."""
        self.capture.release()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def file_path(source: str) -> str | None:
    """The path of a file that is named as such or as file://...; None for the number of a camera and any other URL."""
    if source.startswith("file://"):
        return unquote(source.removeprefix("file://").removeprefix("localhost"))
    return None if source.isdecimal() or "://" in source else source

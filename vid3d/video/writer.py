"""Annotated videos: H.264 that browsers play, with the times of the frames that came in."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from vid3d.errors import UserError

SUFFIXES = (".mp4", ".mov", ".mkv")  # containers that keep the times of frames
CODECS = ("libx264", "mpeg4")  # the first that this build of FFmpeg has
QUALITY = {
    "libx264": {"preset": "veryfast", "crf": "18"},
    "mpeg4": {"qscale": "3"},
}
TICK = Fraction(1, 90_000)  # seconds
BT601 = 6  # SMPTE 170M in the numbering of ISO/IEC 23091


class VideoWriter:
    """Writes frames to a video file that appears under its name once it is whole.

    Until then it is called `.NAME.part.SUFFIX`; leaving the `with` block by an exception removes
    it.

    Attributes:
        num_frames: written so far.
    """

    def __init__(self, path: str | Path, *, fps: float):
        """Checks that the file can be written; its size is that of the first frame.

        Args:
            path: ends in .mp4, .mov or .mkv; its folder is there; an existing file is replaced.
            fps: frames per second of those that come without their time.

        Raises:
            UserError: another ending, or a place that cannot be written.
        """
        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise UserError(f"cannot write {self.path}: end the name in {', '.join(SUFFIXES)}")
        name = self.path.stem.encode("utf-8", "replace").decode()  # FFmpeg takes text alone
        self.part = self.path.with_name(f".{name}.part{self.path.suffix}")
        try:
            str(self.part).encode()
        except UnicodeEncodeError:
            raise UserError(f"cannot write {self.path}: its name is not valid text") from None
        self.num_frames = 0
        self._interval = 1 / fps
        self._last = -1  # ticks of the newest frame
        self._output: tuple[av.container.OutputContainer, av.VideoStream] | None = None
        # Signals interrupt the main thread anywhere: between encoder and file it would cost a
        # packet, and between the file and the `with` block the file would stay. This thread runs
        # before there is a file.
        self._worker = ThreadPoolExecutor(max_workers=1)
        self._worker.submit(self._check).result()

    def write(self, frame_HWC: np.ndarray, seconds: float | None = None) -> None:
        """Adds a uint8 RGB frame; one of another size than the first is resized.

        Args:
            frame_HWC: uint8 RGB [H, W, 3].
            seconds: when it is shown, ascending from 0; by default the frames come at `fps`.

        Raises:
            UserError: no video of this size can be written here.
        """
        if seconds is None:
            seconds = self.num_frames * self._interval
        self._worker.submit(self._encode, frame_HWC, seconds).result()

    def close(self) -> None:
        """Finishes the file and gives it its name; without a frame there is no file.

        Raises:
            UserError: the disk took less than was written.
        """
        try:
            self._worker.submit(self._finish).result()
        except BaseException:
            self.discard()
            raise
        self._worker.shutdown()

    def discard(self) -> None:
        """Removes what has been written."""
        self._worker.submit(self._abandon).result()
        self._worker.shutdown()

    def _check(self) -> None:
        """Raises a UserError where the file could not be written; leaves nothing behind."""
        folder = self.path.parent
        if not folder.exists():
            raise UserError(f"cannot write {self.path}: there is no folder {folder}")
        try:
            if self.path.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            with contextlib.suppress(FileNotFoundError):
                self.part.lstat()  # the name may be too long
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"cannot write {self.path}: {reason}") from None

    def _encode(self, frame_HWC: np.ndarray, seconds: float) -> None:
        # Two frames that are nearer than a tick still come one after the other.
        self._last = max(round(seconds / TICK), self._last + 1)
        try:
            if self._output is None:
                self._output = self._open(*frame_HWC.shape[:2])
            container, stream = self._output
            frame = av.VideoFrame.from_ndarray(self._fit(frame_HWC), format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = self._last, TICK
            frame.duration = round(self._interval / TICK)
            container.mux(stream.encode(frame))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._failure(error, frame_HWC) from None
        self.num_frames += 1

    def _finish(self) -> None:
        """Writes what the encoder holds back, and gives the file its name."""
        if self._output is None:
            return
        container, stream = self._output
        try:
            container.mux(stream.encode(None))
            container.close()
            os.replace(self.part, self.path)
        except (av.error.FFmpegError, OSError) as error:
            raise self._failure(error) from None
        self._output = None

    def _abandon(self) -> None:
        if self._output is not None:
            container, _ = self._output
            with contextlib.suppress(av.error.FFmpegError, OSError):  # such as a full disk
                container.close()
        self.part.unlink(missing_ok=True)

    def _open(self, height: int, width: int) -> tuple[av.container.OutputContainer, av.VideoStream]:
        """The file that is being written and its stream, for frames of this size."""
        # H.264 and MPEG-4 store colour for pairs of pixels.
        self._size = (max(height - height % 2, 2), max(width - width % 2, 2))
        codec = next(name for name in CODECS if name in av.codecs_available)
        container = av.open(str(self.part), "w")
        stream = container.add_stream(
            codec, rate=Fraction(1 / self._interval).limit_denominator(1001), options=QUALITY[codec]
        )
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = self._size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = TICK
        context.colorspace = context.color_primaries = context.color_trc = BT601
        context.color_range = ColorRange.MPEG
        return container, stream

    def _fit(self, frame_HWC: np.ndarray) -> np.ndarray:
        """The frame in the size of the video."""
        height, width = self._size
        rows, columns = frame_HWC.shape[:2]
        if rows - rows % 2 != height or columns - columns % 2 != width:
            frame_HWC = cv2.resize(frame_HWC, (width, height), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(frame_HWC[:height, :width])

    def _failure(self, error: Exception, frame_HWC: np.ndarray | None = None) -> UserError:
        """What went wrong, for the user."""
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        if getattr(error, "errno", None) == errno.ENOSPC:
            reason = "no space left on the disk"
        elif not self.num_frames and frame_HWC is not None:
            height, width = frame_HWC.shape[:2]
            reason = f"{width}x{height} pixels: {reason}"
        return UserError(f"cannot write {self.path}: {reason}")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()

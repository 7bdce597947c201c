"""What a viewer sees: a bar with label and probability on each frame, in a window or in an annotated video."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
import unicodedata
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from vid3d import storage
from vid3d.config import UserError
from vid3d.data import frames

TITLE = "vid3d"
ESCAPE = 27
NO_WINDOW = "no display to open a window on: use --output=annotated.mp4 for a video, or --json"
NO_WINDOWS = (
    "this OpenCV opens no windows (opencv-python-headless): use --output=annotated.mp4 for a video, or --json, "
    "or call `pip install --force-reinstall --no-deps opencv-python`"
)
LARGEST_WINDOW = (720, 1280)  # pixels, height and width; larger frames are shown smaller
SUFFIXES = (".mp4", ".mov", ".mkv", ".avi")  # containers that hold MPEG-4 (mp4v)
HEADER_BYTES = 2**12  # that a video begins with, at least
SMALLEST = 240  # pixels; the text cannot be read on a smaller frame
LARGEST = 4096  # pixels that no frame is enlarged beyond
FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, GRAY = (255, 255, 255), (170, 170, 170)
SURE, UNSURE = (64, 200, 120), (235, 170, 60)  # colours of the probability line, RGB


def draw(
    frame_HWC: np.ndarray, label: str, *, probability: float | None = None, note: str = ""
) -> np.ndarray:
    """A copy of a frame with a bar at its foot: the label, its probability and a note, such as the latency.

    A frame whose shorter side has fewer than `SMALLEST` pixels is enlarged by a whole number first. The text is
    ASCII, shortened where it is wider than the frame.

    Args:
        frame_HWC: uint8 RGB.
        label: the text on the left.
        probability: from 0 to 1, as a number and as a line above the bar; None leaves both out.
        note: smaller text on the right.

    Returns:
        uint8 RGB, contiguous.
    """
    smaller, larger = sorted(frame_HWC.shape[:2])
    zoom = max(min(-(-SMALLEST // smaller), LARGEST // larger), 1)
    canvas = frame_HWC.copy() if zoom == 1 else frame_HWC.repeat(zoom, axis=0).repeat(zoom, axis=1)
    height, width = canvas.shape[:2]
    bar = min(max(26, round(0.075 * min(height, width))), height)
    margin = bar // 4
    top = height - bar
    canvas[top:] = canvas[top:] // 4  # darkened: white text reads on any scene
    if probability is not None:
        line = max(2, bar // 12)
        colour = SURE if probability >= 0.5 else UNSURE
        canvas[top - line : top] = canvas[top - line : top] // 4
        canvas[top - line : top, : round(width * min(max(probability, 0), 1))] = colour

    right = width - margin
    if note:
        right -= put(canvas, note, right=right, top=top, bar=bar, share=0.38, colour=GRAY)
        right -= margin
    if probability is not None:
        percent = f"{100 * probability:.0f}%"
        right -= put(canvas, percent, right=right, top=top, bar=bar, share=0.5, colour=WHITE)
        right -= margin
    text = shorten(ascii_text(label), right - margin, bar)
    put(canvas, text, left=margin, top=top, bar=bar, share=0.5, colour=WHITE)
    return canvas


def put(
    canvas: np.ndarray,
    text: str,
    *,
    top: int,
    bar: int,
    share: float,
    colour: tuple[int, int, int],
    left: int = 0,
    right: int | None = None,
) -> int:
    """Writes text into the bar, from `left` or up to `right`; its capitals are `share` of the bar high.

    Returns:
        Its width in pixels.
    """
    scale, thickness = font(bar, share)
    width = cv2.getTextSize(text, FONT, scale, thickness)[0][0]
    corner = (left if right is None else right - width, top + round(bar * (1 + share) / 2))
    cv2.putText(canvas, text, corner, FONT, scale, colour, thickness, cv2.LINE_AA)
    return width


def font(bar: int, share: float) -> tuple[float, int]:
    """(scale, thickness) of letters that are `share` of the bar high; at scale 1 they have about 22 pixels."""
    scale = bar * share / 22
    return scale, max(1, round(1.6 * scale))


def shorten(text: str, width: int, bar: int) -> str:
    """Cuts text at its end, marked by "..", until it is at most `width` pixels wide in the bar's font."""
    scale, thickness = font(bar, 0.5)
    kept = text
    while kept and cv2.getTextSize(text, FONT, scale, thickness)[0][0] > width:
        kept = kept[:-1]
        text = kept.rstrip() + ".."
    return text if kept else ""


def ascii_text(text: str) -> str:
    """Accents are dropped and what then still is not ASCII becomes "?": drawn text has no other letters everywhere."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in plain)


class VideoWriter:
    """Writes frames to a video file that appears under its name once it is whole.

    Until then it is called `.NAME.part.SUFFIX`; leaving the `with` block by an exception removes it.
    """

    def __init__(self, path: str | Path, *, fps: float):
        """Checks that the file can be written; its size is that of the first frame.

        Args:
            path: ends in .mp4, .mov, .mkv or .avi; its folder is there; an existing file is replaced.
            fps: frames a second.

        Raises:
            UserError: another ending, or a place that cannot be written.
        """
        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise UserError(f"cannot write {self.path}: end the name in {', '.join(SUFFIXES)}")
        name = self.path.stem.encode("utf-8", "replace").decode()  # OpenCV takes text alone
        self.part = self.path.with_name(f".{name}.part{self.path.suffix}")
        try:
            str(self.part).encode()
        except UnicodeEncodeError:
            raise UserError(f"cannot write {self.path}: its name is no valid text") from None
        # MPEG-4 keeps the rate as a fraction with 16 bits below.
        self.fps = round(fps, 3) if fps <= 60 else float(round(fps))
        self.num_frames = 0
        self._size = (0, 0)  # height and width of the first frame
        self._writer: cv2.VideoWriter | None = None
        if not self.path.parent.exists():
            raise UserError(f"cannot write {self.path}: there is no folder {self.path.parent}")
        try:
            if self.path.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            self.part.touch()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"cannot write {self.path}: {reason}") from None

    def write(self, frame_HWC: np.ndarray) -> None:
        """Adds a uint8 RGB frame; one of another size than the first is resized.

        Raises:
            UserError: no video of this size can be written here.
        """
        if self._writer is None:
            self._writer = self._open(*frame_HWC.shape[:2])
        if frame_HWC.shape[:2] != self._size:
            frame_HWC = cv2.resize(frame_HWC, self._size[::-1], interpolation=cv2.INTER_AREA)
        height, width = self._size
        frame_HWC = frame_HWC[: height - height % 2, : width - width % 2]
        self._writer.write(cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR))
        self.num_frames += 1

    def close(self) -> None:
        """Finishes the file and gives it its name; without a frame there is no file.

        Raises:
            UserError: the disk took less than was written.
        """
        if self._writer is None:
            self.part.unlink(missing_ok=True)
            return
        self._writer.release()
        try:
            # A full disk shows only here. The last frame may have been written, but not counted, before an interruption.
            whole = frames.Reader(self.part).claimed >= self.num_frames
        except frames.VideoError:
            whole = False
        if not whole:
            self.part.unlink(missing_ok=True)
            raise UserError(f"cannot write {self.path}: the file is not whole; is the disk full?")
        os.replace(self.part, self.path)

    def _open(self, height: int, width: int) -> cv2.VideoWriter:
        self._size = (height, width)
        even = (width - width % 2, height - height % 2)  # MPEG-4 stores colour for pairs of pixels
        code = cv2.VideoWriter_fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(self.part), code, self.fps, even)
        if not writer.isOpened():
            reason = f"no encoder for {width}x{height} pixels at {self.fps:g} frames a second"
            if storage.room(self.path.parent) < HEADER_BYTES:
                reason = "no space left on the disk"
            raise UserError(f"cannot write {self.path}: {reason}")
        return writer

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
            if self._writer is not None:
                self._writer.release()
            self.part.unlink(missing_ok=True)


class Window:
    """A window that ESC or its close button ends; a context manager."""

    def __init__(self, *, paced: bool):
        """Opens nothing yet.

        Args:
            paced: show each frame at its time and not earlier, as a file needs it; a camera paces itself.
        """
        self.paced = paced
        self._begin = 0.0  # when a frame of time 0 was due
        self._opened = False

    def show(self, frame_HWC: np.ndarray, seconds: float) -> bool:
        """Shows a frame that is due at `seconds`; says whether the window is still open."""
        now = time.perf_counter()
        if not self._opened:
            self._open(frame_HWC)
            self._begin = now - seconds
        self._begin = max(self._begin, now - seconds)  # what is late is not made up for by a rush
        due = self._begin + seconds if self.paced else now
        if not self._is_open():
            return False
        cv2.imshow(TITLE, cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR))
        while True:
            left = due - time.perf_counter()
            # Keys and clicks are only noticed in here, so that one long wait becomes several.
            key = cv2.waitKey(min(max(round(1000 * left), 1), 50))
            if key & 0xFF == ESCAPE or not self._is_open():
                return False
            if left <= 0.05:
                return True

    def _open(self, frame_HWC: np.ndarray) -> None:
        height, width = frame_HWC.shape[:2]
        scale = min(1.0, LARGEST_WINDOW[0] / height, LARGEST_WINDOW[1] / width)
        try:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error:  # elsewhere than with Qt the display is asked only now
            raise UserError(NO_WINDOW) from None
        cv2.resizeWindow(TITLE, round(width * scale), round(height * scale))
        self._opened = True

    def _is_open(self) -> bool:
        try:
            return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # the last window is closed
            return False

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened:
            cv2.destroyAllWindows()


def check_display() -> None:
    """Finds out whether there is a display, and readies it; on Linux Qt ends the whole process where it finds none.

    Raises:
        UserError: there is none, or an OpenCV without windows.
    """
    if not cv2.currentUIFramework():
        raise UserError(NO_WINDOWS)
    if sys.platform != "linux":
        return
    try:
        xcb = ctypes.CDLL("libxcb.so.1")  # what Qt itself connects with
        xcb.xcb_connect.restype = ctypes.c_void_p
        connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
        failed = xcb.xcb_connection_has_error(connection)
        xcb.xcb_disconnect(connection)
    except OSError:
        failed = True
    if failed:
        raise UserError(NO_WINDOW)
    # OpenCV's wheel brings a libX11-xcb of its own, which does not fit the libX11 of today's systems: Qt then loses the
    # events that Xlib reads first, and where "the window is visible" is among them it stays black for ever.
    with contextlib.suppress(OSError):
        ctypes.CDLL("libX11-xcb.so.1", mode=ctypes.RTLD_GLOBAL)

"""Draws a bar with label and probability on frames, and shows them in a window."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
import unicodedata

import cv2
import numpy as np

from vid3d.errors import UserError

TITLE = "vid3d"
ESCAPE = 27
NO_WINDOW = "no display to open a window on: use --output=annotated.mp4 for a video, or --json"
NO_WINDOWS = (
    "this OpenCV opens no windows (opencv-python-headless): use --output=annotated.mp4 for a "
    "video, or --json, or call `pip install --force-reinstall --no-deps opencv-python`"
)
LARGEST_WINDOW = (720, 1280)  # pixels, height and width; larger frames are scaled down
SMALLEST = 240  # pixels of the shorter side; text is unreadable on smaller frames
LARGEST = 4096  # pixels; no frame is enlarged beyond it
FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, GRAY = (255, 255, 255), (170, 170, 170)
SURE, UNSURE = (64, 200, 120), (235, 170, 60)  # colours of the probability line, RGB


def draw(
    frame_HWC: np.ndarray, label: str, *, probability: float | None = None, note: str = ""
) -> np.ndarray:
    """A copy of a frame with a bar at the bottom: label, probability and a note, e.g. latency.

    Frames with a shorter side below `SMALLEST` pixels are first enlarged by an integer factor. Text
    is ASCII, and shortened if it is wider than the frame.

    Args:
        frame_HWC: uint8 RGB.
        label: the text on the left.
        probability: from 0 to 1, drawn as a number and as a line above the bar; None draws neither.
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
    canvas[top:] = canvas[top:] // 4  # darkened, so that white text is readable on any scene
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
    """Writes text into the bar, from `left` or up to `right`; capitals fill `share` of its height.

    Returns:
        The width of the text in pixels.
    """
    scale, thickness = font(bar, share)
    width = cv2.getTextSize(text, FONT, scale, thickness)[0][0]
    corner = (left if right is None else right - width, top + round(bar * (1 + share) / 2))
    cv2.putText(canvas, text, corner, FONT, scale, colour, thickness, cv2.LINE_AA)
    return width


def font(bar: int, share: float) -> tuple[float, int]:
    """(scale, thickness) of capitals that fill `share` of the bar; scale 1 is about 22 pixels."""
    scale = bar * share / 22
    return scale, max(1, round(1.6 * scale))


def shorten(text: str, width: int, bar: int) -> str:
    """Shortens text, marked by "..", to at most `width` pixels in the bar's font."""
    scale, thickness = font(bar, 0.5)
    kept = text
    while kept and cv2.getTextSize(text, FONT, scale, thickness)[0][0] > width:
        kept = kept[:-1]
        text = kept.rstrip() + ".."
    return text if kept else ""


def ascii_text(text: str) -> str:
    """Drops accents and replaces other non-ASCII characters by "?", as OpenCV draws only ASCII."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in plain)


class DisplayWindow:
    """A window that ESC or its close button closes; a context manager."""

    def __init__(self, *, paced: bool):
        """The window is opened with the first frame.

        Args:
            paced: show each frame at its time, as a file needs; a camera paces itself.
        """
        self.paced = paced
        self._begin = 0.0  # when a frame of time 0 was due
        self._opened = False

    def show(self, frame_HWC: np.ndarray, seconds: float) -> bool:
        """Shows a frame that is due at `seconds`; returns whether the window is still open."""
        now = time.perf_counter()
        if not self._opened:
            self._open(frame_HWC)
            self._begin = now - seconds
        self._begin = max(self._begin, now - seconds)  # late frames do not make the next ones hurry
        due = self._begin + seconds if self.paced else now
        if not self._is_open():
            return False
        cv2.imshow(TITLE, cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR))
        while True:
            left = due - time.perf_counter()
            # Keys and clicks are only noticed in here, so a long wait is split into several.
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
        except cv2.error:  # backends other than Qt contact the display only now
            raise UserError(NO_WINDOW) from None
        cv2.resizeWindow(TITLE, round(width * scale), round(height * scale))
        self._opened = True

    def _is_open(self) -> bool:
        try:
            return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # the last window is closed
            return False

    def __enter__(self) -> DisplayWindow:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened:
            cv2.destroyAllWindows()


def check_display() -> None:
    """Checks for a display and prepares it; on Linux, Qt aborts the process if there is none.

    Raises:
        UserError: there is no display, or OpenCV was built without windows.
    """
    if not cv2.currentUIFramework():
        raise UserError(NO_WINDOWS)
    if sys.platform != "linux":
        return
    try:
        xcb = ctypes.CDLL("libxcb.so.1")  # the library that Qt connects with
        xcb.xcb_connect.restype = ctypes.c_void_p
        connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
        failed = xcb.xcb_connection_has_error(connection)
        xcb.xcb_disconnect(connection)
    except OSError:
        failed = True
    if failed:
        raise UserError(NO_WINDOW)
    # OpenCV's wheel bundles a libX11-xcb that does not match the libX11 of current systems. Qt then
    # misses the events that Xlib reads first, and if "the window is visible" is among them, the
    # window stays black. Loading the system's library first avoids this.
    with contextlib.suppress(OSError):
        ctypes.CDLL("libX11-xcb.so.1", mode=ctypes.RTLD_GLOBAL)

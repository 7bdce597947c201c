"""Video files to uint8 RGB frames: the only place that decodes, but for what `sources` reads live.

Frames are read one after the other and never sought, since seeking gives wrong frames in many files. Their number, times
and rate are what decoding shows, whatever the container claims. Rotated videos come out upright.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vid3d.data.resize import BILINEAR

if TYPE_CHECKING:
    from ml_collections import ConfigDict

DECODER = f"opencv {cv2.__version__}"  # frames may differ between versions
DEFAULT_FPS = 25.0
JPEG_QUALITY = 90

# Damaged files make the decoders write pages of messages; what they mean is raised as a VideoError.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class VideoError(Exception):
    """A video or camera that gives no frames: the message is the reason, `path` names the source."""

    def __init__(self, reason: str, path: str):
        super().__init__(reason)
        self.path = path


@dataclass(frozen=True)
class Decoded:
    """A decoded video.

    Attributes:
        frames_THWC: uint8, fitted.
        times_T: seconds of the frames, float64, from 0.
        fps: frames a second, measured.
        size: height and width before fitting, upright.
    """

    frames_THWC: np.ndarray
    times_T: np.ndarray
    fps: float
    size: tuple[int, int]


class FrameClock:
    """Seconds from the first frame on, strictly ascending, from time stamps that need not be."""

    def __init__(self, fps: float):
        """Takes the rate that fills in for missing time stamps."""
        self.interval = 1 / fps
        self.start = self.last = 0.0
        self.count = 0

    def tick(self, stamp: float) -> float:
        """The time of the next frame; where its stamp is not after the last one, one interval later."""
        if not self.count:
            self.start = stamp if math.isfinite(stamp) else 0.0
        else:
            seconds = stamp - self.start
            self.last = seconds if seconds > self.last else self.last + self.interval
        self.count += 1
        return self.last


class Reader:
    """One pass over a video file. Iterating gives (uint8 RGB [H, W, 3] upright, seconds from the first frame).

    Attributes:
        claimed: number of frames that the container claims; 0 where it claims none.
        claimed_fps: frames a second that the container claims; 25 where it claims none.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Opens the file.

        Raises:
            VideoError: it is missing, empty, not a file, or not a video.
        """
        self.path = os.fspath(path)
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            raise VideoError("no such file", self.path) from None
        except OSError as error:
            raise VideoError(f"cannot be read: {error.strerror}", self.path) from None
        if not stat.S_ISREG(status.st_mode):
            raise VideoError("not a file", self.path)
        if not status.st_size:
            raise VideoError("empty file", self.path)
        try:
            os.close(os.open(self.path, os.O_RDONLY))
        except OSError as error:
            raise VideoError(f"cannot be read: {error.strerror}", self.path) from None
        # One thread a file: files are decoded side by side.
        with readable_name(self.path) as name:
            self.capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self.capture.isOpened():
            raise VideoError("not a video, or one without a readable header", self.path)
        self.capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        self.claimed = claimed_frames(self.capture)
        self.claimed_fps = sane_fps(self.capture.get(cv2.CAP_PROP_FPS))

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        """Decodes to the end.

        Raises:
            VideoError: there is not a single frame, or the decoder fails, as for want of memory.
        """
        clock = FrameClock(self.claimed_fps)
        codec = fourcc(self.capture.get(cv2.CAP_PROP_FOURCC))
        try:
            while True:
                read, frame = self.capture.read()
                if not read:
                    break
                stamp = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield to_rgb(frame), clock.tick(stamp)
        except cv2.error as error:
            raise VideoError(f"the decoder failed: {error.err}", self.path) from None
        finally:
            self.capture.release()
        if not clock.count:
            raise VideoError(no_frame(codec), self.path)


def no_frame(codec: str) -> str:
    """Says that a video is opened but not decoded, and what to do; `codec` as of `fourcc`."""
    if not codec:
        return "no frame can be decoded"
    return (
        f"no frame can be decoded (codec {codec}): re-encode it to H.264, "
        "ffmpeg -i VIDEO -c:v libx264 -pix_fmt yuv420p NEW.mp4"
    )


@contextlib.contextmanager
def readable_name(path: str) -> Iterator[str]:
    """A name under which OpenCV can open the file.

    An absolute path is never taken for a protocol. A name that is no valid text, which OpenCV does not survive, is replaced
    by that of an open file.
    """
    name = os.path.abspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        handle = os.open(path, os.O_RDONLY)
        try:
            yield f"/dev/fd/{handle}"
        finally:
            os.close(handle)
    else:
        yield name


def read_frames(path: str | os.PathLike[str]) -> Iterator[tuple[np.ndarray, float]]:
    """Frames of a file in order: (uint8 RGB [H, W, 3] upright, seconds from the first frame).

    Raises:
        VideoError: the file cannot be read or has no frames.
    """
    yield from Reader(path)


def read_video(path: str | os.PathLike[str], data: ConfigDict) -> Decoded:
    """Decodes and fits the first `data.stored_frames` frames (0: all) as `prepare` stores them.

    Raises:
        VideoError: the file cannot be read or has no frames.
    """
    frames, times, size = [], [], (0, 0)
    reader = Reader(path)
    for frame_HWC, seconds in reader:
        size = size if frames else frame_HWC.shape[:2]
        frames.append(fit(frame_HWC, size=stored_size(data), resize=data.resize, color=data.color))
        times.append(seconds)
        if len(frames) == data.stored_frames:
            break
    times_T = np.array(times)
    return Decoded(np.stack(frames), times_T, measured_fps(times_T, reader.claimed_fps), size)


def stored_size(data: ConfigDict) -> tuple[int, int]:
    """Height and width on disk: `data.stored_size`, or the network's own square."""
    return tuple(data.stored_size) or (data.size, data.size)


def fit(frame_HWC: np.ndarray, *, size: tuple[int, int], resize: str, color: str) -> np.ndarray:
    """Brings a frame to the stored size: the one resize of training, evaluation and live prediction.

    "squash" changes the shape; "short_side" cuts the centre out so that the shape stays. A frame at least twice too
    large is first averaged over whole blocks of pixels (for that, less than one output pixel is trimmed off the edges),
    and the rest is bilinear, which skips no pixel below a factor of two. The others are those of `resize.BILINEAR`.

    Args:
        frame_HWC: uint8 RGB of any size.
        size: height and width to come out.
        resize: one of `checks.RESIZES`.
        color: "rgb", or "gray" for one channel.

    Returns:
        uint8 [height, width, 3 or 1].
    """
    height, width = size
    if resize == "short_side":
        frame_HWC = cut_to_shape(frame_HWC, height, width)
    if resize in BILINEAR:
        frame_HWC = BILINEAR[resize](frame_HWC, height, width)
    rows, columns = frame_HWC.shape[0] // height, frame_HWC.shape[1] // width
    if rows > 1 or columns > 1:
        rows, columns = max(rows, 1), max(columns, 1)
        down, across = frame_HWC.shape[0] // rows, frame_HWC.shape[1] // columns
        block_HWC = centre(frame_HWC, down * rows, across * columns)
        frame_HWC = cv2.resize(block_HWC, (across, down), interpolation=cv2.INTER_AREA)
    if frame_HWC.shape[:2] != size:
        frame_HWC = cv2.resize(frame_HWC, (width, height), interpolation=cv2.INTER_LINEAR)
    if color == "gray":
        return cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY)[:, :, None]
    return frame_HWC


def cut_to_shape(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest centred part of the frame with the shape height : width."""
    rows, columns = frame_HWC.shape[:2]
    if columns * height > rows * width:
        return centre(frame_HWC, rows, max(round(rows * width / height), 1))
    return centre(frame_HWC, max(round(columns * height / width), 1), columns)


def centre(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle height x width pixels."""
    top, left = (frame_HWC.shape[0] - height) // 2, (frame_HWC.shape[1] - width) // 2
    return frame_HWC[top : top + height, left : left + width]


def to_rgb(frame: np.ndarray) -> np.ndarray:
    """OpenCV's frame (BGR, BGRA or one channel) as uint8 RGB [H, W, 3]."""
    if frame.ndim == 2 or frame.shape[2] == 1:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(frame, cv2.COLOR_BGRA2RGB if frame.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def encode_jpeg(frame_HWC: np.ndarray) -> bytes:
    """JPEG bytes of a uint8 frame, RGB or one channel, at quality 90."""
    flipped = frame_HWC if frame_HWC.shape[2] == 1 else cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", flipped, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def decode_jpeg(encoded: bytes, channels: int) -> np.ndarray:
    """The uint8 frame [H, W, channels] of JPEG bytes."""
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    frame = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)
    return frame.reshape(*frame.shape[:2], channels)


def measured_fps(times_T: np.ndarray, fallback: float) -> float:
    """Frames a second between the first and the last frame; the fallback for a single frame."""
    return float((len(times_T) - 1) / times_T[-1]) if len(times_T) > 1 else fallback


def sane_fps(fps: float) -> float:
    """The claimed rate if it can be one, otherwise 25."""
    return fps if 0 < fps <= 1000 else DEFAULT_FPS


def claimed_frames(capture: cv2.VideoCapture) -> int:
    """The number of frames that a container claims; 0 where it claims none."""
    claimed = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(claimed) if 0 < claimed < 1e9 else 0


def fourcc(code: float) -> str:
    """The four letters of a codec, or ""."""
    letters = int(code).to_bytes(4, "little", signed=False) if 0 < code < 2**32 else b""
    text = letters.decode("ascii", "replace").strip("\0 ")
    return text if text.isprintable() and text.isascii() else ""

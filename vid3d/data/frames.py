"""Video files to uint8 RGB frames in the size that is stored: what training, evaluation and prediction see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vid3d.data.container import DEFAULT_FPS, VideoError, no_frame
from vid3d.data.picture import DecodeOptions
from vid3d.data.reader import AS_DEFAULT, FrameClock, Reader
from vid3d.data.resize import BILINEAR

if TYPE_CHECKING:
    from ml_collections import ConfigDict

__all__ = ["DEFAULT_FPS", "FrameClock", "Reader", "VideoError", "no_frame"]

OPENCV = f"OpenCV {cv2.__version__}"  # what it resizes may differ between versions
JPEG_QUALITY = 90

# Cameras that fail make OpenCV write pages of messages; what they mean is raised as a VideoError.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True)
class Decoded:
    """A decoded video.

    Attributes:
        frames_THWC: uint8, fitted.
        times_T: seconds of the frames, float64, from 0.
        fps: frames per second, measured.
        size: height and width before fitting, upright.
    """

    frames_THWC: np.ndarray
    times_T: np.ndarray
    fps: float
    size: tuple[int, int]


def read_frames(
    path: str | os.PathLike[str], options: DecodeOptions = AS_DEFAULT
) -> Iterator[tuple[np.ndarray, float]]:
    """Frames of a file in order: (uint8 RGB [H, W, 3] upright, seconds from the first frame).

    Raises:
        VideoError: the file cannot be read or has no frames.
    """
    yield from Reader(path, options)


def read_video(
    path: str | os.PathLike[str], data: ConfigDict, options: DecodeOptions = AS_DEFAULT
) -> Decoded:
    """Decodes and fits the first `data.stored_frames` frames (0: all) as `prepare` stores them.

    Raises:
        VideoError: the file cannot be read or has no frames.
    """
    frames, times, size = [], [], (0, 0)
    reader = Reader(path, options)
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
    large is first averaged over whole blocks of pixels, of 2 x 2 for as long as it is at least four times too large (for
    that, less than one output pixel is trimmed off the edges), and the rest is bilinear, which skips no pixel below a
    factor of two. The others are those of `resize.BILINEAR`.

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
    while frame_HWC.shape[0] >= 4 * height and frame_HWC.shape[1] >= 4 * width:
        frame_HWC = block_means(frame_HWC, 2, 2)  # OpenCV has a fast path for these
    rows, columns = frame_HWC.shape[0] // height, frame_HWC.shape[1] // width
    if rows > 1 or columns > 1:
        frame_HWC = block_means(frame_HWC, max(rows, 1), max(columns, 1))
    if frame_HWC.shape[:2] != size:
        frame_HWC = cv2.resize(frame_HWC, (width, height), interpolation=cv2.INTER_LINEAR)
    if color == "gray":
        return cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY)[:, :, None]
    return frame_HWC


def block_means(frame_HWC: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The means of blocks of rows x columns pixels; what is no whole block at the edges is cut off."""
    down, across = frame_HWC.shape[0] // rows, frame_HWC.shape[1] // columns
    blocks_HWC = centre(frame_HWC, down * rows, across * columns)
    return cv2.resize(blocks_HWC, (across, down), interpolation=cv2.INTER_AREA)


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

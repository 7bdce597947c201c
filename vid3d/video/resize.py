"""The one resize of all frames, and those that published weights were trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from ml_collections import ConfigDict

OPENCV = f"OpenCV {cv2.__version__}"  # what it resizes may differ between versions


def stored_size(data: ConfigDict) -> tuple[int, int]:
    """Height and width on disk: `data.stored_size`, or the network's own square."""
    return tuple(data.stored_size) or (data.size, data.size)


def stored_shape(data: ConfigDict) -> tuple[int, int, int, int]:
    """(T, H, W, C) of a clip as stored."""
    return (data.num_frames, *stored_size(data), 1 if data.color == "gray" else 3)


def fitting(data: ConfigDict) -> dict[str, Any]:
    """The keyword arguments of `fit` that a config asks for."""
    return {"size": stored_size(data), "resize": data.resize, "color": data.color}


def fit(frame_HWC: np.ndarray, *, size: tuple[int, int], resize: str, color: str) -> np.ndarray:
    """Brings a frame to the stored size, in training, evaluation and live prediction alike.

    "squash" changes the shape; "short_side" cuts the centre out so that the shape stays. A frame at
    least twice too large is first averaged over whole blocks of pixels, of 2 x 2 for as long as it
    is at least four times too large (for that, less than one output pixel is trimmed off the
    edges), and the rest is bilinear, which skips no pixel below a factor of two. The others are
    those of `BILINEAR`.

    Args:
        frame_HWC: uint8 RGB of any size.
        size: height and width to come out.
        resize: one of `schema.RESIZES`.
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
    """The means of blocks of rows x columns pixels; incomplete blocks at the edges are cut off."""
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


def squash_bilinear(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Changes a frame to height x width, as torchvision's `VideoClassification` does.

    Half-pixel centres, interpolated in float32 and rounded to the nearest level, halves to the even
    one (`F.resize` of uint8 without antialiasing). A value that lies half way between two levels,
    within float32, may come out as the other of the two, as it may in PyTorch itself with another
    number of threads.

    Args:
        frame_HWC: uint8.

    Returns:
        uint8 [height, width, C].
    """
    if frame_HWC.shape[:2] == (height, width):
        return frame_HWC
    # OpenCV interpolates uint8 with weights of 11 bits, and a tenth of the values are off by one
    # level.
    scaled_HWC = cv2.resize(
        frame_HWC.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return np.rint(scaled_HWC, out=scaled_HWC).astype(np.uint8)


def short_side_bilinear(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales a frame until it just covers height x width and cuts out the centre.

    For a square this is pytorchvideo's `ShortSideScale` (the long side is rounded down, in floating
    point as there) and `CenterCropVideo`, but for the rounding to uint8, half a level at most:
    pytorchvideo scales floats and rounds nothing.

    Args:
        frame_HWC: uint8.

    Returns:
        uint8 [height, width, C].
    """
    rows, columns = frame_HWC.shape[:2]
    if columns * height > rows * width:
        scaled = (height, max(int(columns / rows * height), width))
    else:
        scaled = (max(int(rows / columns * width), height), width)
    frame_HWC = squash_bilinear(frame_HWC, *scaled)
    top, left = round((scaled[0] - height) / 2), round((scaled[1] - width) / 2)
    return np.ascontiguousarray(frame_HWC[top : top + height, left : left + width])


BILINEAR = {"squash_bilinear": squash_bilinear, "short_side_bilinear": short_side_bilinear}

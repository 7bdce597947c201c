"""The resizing that published weights were trained with: plain bilinear, without averaging before."""

from __future__ import annotations

import cv2
import numpy as np


def squash_bilinear(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Changes a frame to height x width, as torchvision's `VideoClassification` does.

    Half-pixel centres, interpolated in float32 and rounded to the nearest level, halves to the even one (`F.resize` of
    uint8 without antialiasing). A value that lies half way between two levels, within float32, may come out as the
    other of the two, as it may in PyTorch itself with another number of threads.

    Args:
        frame_HWC: uint8.

    Returns:
        uint8 [height, width, C].
    """
    if frame_HWC.shape[:2] == (height, width):
        return frame_HWC
    # OpenCV interpolates uint8 with weights of 11 bits, and a tenth of the values are off by one level.
    scaled_HWC = cv2.resize(
        frame_HWC.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return np.rint(scaled_HWC, out=scaled_HWC).astype(np.uint8)


def short_side_bilinear(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales a frame until it just covers height x width and cuts out the centre.

    For a square this is pytorchvideo's `ShortSideScale` (the long side is rounded down, in floating point as there) and
    `CenterCropVideo`, but for the rounding to uint8, half a level at most: pytorchvideo scales floats and rounds nothing.

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

"""The resizing that published weights were trained with: plain bilinear, without averaging before."""

from __future__ import annotations

import cv2
import numpy as np


def squash_bilinear(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Changes a frame to height x width, as torchvision's `VideoClassification` does (half-pixel centres)."""
    if frame_HWC.shape[:2] == (height, width):
        return frame_HWC
    return cv2.resize(frame_HWC, (width, height), interpolation=cv2.INTER_LINEAR)


def short_side_bilinear(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales a frame until it just covers height x width and cuts out the centre.

    For a square this is pytorchvideo's `ShortSideScale` (the long side is rounded down) and `CenterCropVideo`.
    """
    rows, columns = frame_HWC.shape[:2]
    if columns * height > rows * width:
        scaled = (height, max(columns * height // rows, width))
    else:
        scaled = (max(rows * width // columns, height), width)
    frame_HWC = squash_bilinear(frame_HWC, *scaled)
    top, left = round((scaled[0] - height) / 2), round((scaled[1] - width) / 2)
    return np.ascontiguousarray(frame_HWC[top : top + height, left : left + width])


BILINEAR = {"squash_bilinear": squash_bilinear, "short_side_bilinear": short_side_bilinear}

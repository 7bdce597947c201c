"""Video files to uint8 RGB frames of the stored size, as every part of vid3d sees them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vid3d.video.frame_folder import open_reader
from vid3d.video.picture import DecodeOptions
from vid3d.video.reader import AS_DEFAULT
from vid3d.video.resize import fit, fitting

if TYPE_CHECKING:
    from ml_collections import ConfigDict


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
    yield from open_reader(path, options)


def read_video(
    path: str | os.PathLike[str], data: ConfigDict, options: DecodeOptions = AS_DEFAULT
) -> Decoded:
    """Decodes and fits the first `data.stored_frames` frames (0: all) as `prepare` stores them.

    Raises:
        VideoError: the file cannot be read or has no frames.
    """
    frames: list[np.ndarray] = []
    times: list[float] = []
    size = (0, 0)
    reader = open_reader(path, options)
    for frame_HWC, seconds in reader:
        size = size if frames else frame_HWC.shape[:2]
        frames.append(fit(frame_HWC, **fitting(data)))
        times.append(seconds)
        if len(frames) == data.stored_frames:
            break
    times_T = np.array(times)
    return Decoded(np.stack(frames), times_T, measured_fps(times_T, reader.claimed_fps), size)


def measured_fps(times_T: np.ndarray, fallback: float) -> float:
    """Frames per second between the first and the last frame; the fallback for a single frame."""
    return float((len(times_T) - 1) / times_T[-1]) if len(times_T) > 1 else fallback

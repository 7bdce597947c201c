"""A stretch of a video file as `predict` and `explain` take it: the frames that training takes."""

from __future__ import annotations

import math
import os
from collections.abc import Collection

from vid3d.errors import UserError
from vid3d.video.decoder_handle import Stretches
from vid3d.video.spans import Span

__all__ = ["Stretches", "check_single", "stretch"]


def check_single(videos: Collection[str]) -> None:
    """Raises a UserError where a stretch is asked for, and there is not one video alone."""
    if len(videos) != 1:
        raise UserError(f"--start and --end are of a single video, and there are {len(videos)}")


def stretch(path: str | os.PathLike[str], start: float, end: float) -> Stretches:
    """The frames of a file with `start <= seconds < end`, as a source for `Classifier.predict`.

    Args:
        path: of the file.
        start: seconds from the first frame.
        end: likewise.

    Raises:
        UserError: that is no stretch of time.
    """
    if not 0 <= start < end < math.inf:
        raise UserError(f"{os.fsdecode(path)}: from {start:g} to {end:g} s is no stretch of time")
    return Stretches(os.fsdecode(path), (Span(round(start, 6), round(end, 6)),))

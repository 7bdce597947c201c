"""What a classifier answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Segment(NamedTuple):
    """A stretch of a video with one label; its probability is the mean of the windows in it, by the time they answer for."""

    start: float  # seconds
    end: float
    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The answer for one video, or for one window of a stream.

    Attributes:
        label: the most probable class; in a stream "unknown" where its probability is below the threshold.
        probability: of the most probable class.
        probabilities: class -> probability, in the order of the classes.
        segments: the time line; a single segment unless the video is much longer than the training videos.
        num_frames: frames of the video or the window.
        seconds: their duration.
        damage: what is wrong with a file that can be read nevertheless, such as an early end, or "".
        note: how the answer was made, where it was not made like that for a video of training length, or "".
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    segments: tuple[Segment, ...]
    num_frames: int
    seconds: float
    damage: str = ""
    note: str = ""

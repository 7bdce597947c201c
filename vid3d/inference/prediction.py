"""The answers of a classifier."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

from vid3d.video.timeline import UNKNOWN, Event

__all__ = ["UNKNOWN", "Event", "Prediction", "Segment", "as_dict"]


class Segment(NamedTuple):
    """A stretch of a video with one label, and its windows' mean probability, by duration."""

    start: float  # seconds
    end: float
    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The prediction for one video, or for one window of a stream.

    Attributes:
        label: the most probable class; "unknown" if its probability is below the threshold.
        probability: of the most probable class.
        probabilities: class -> probability, in the order of the classes.
        segments: the time line; a single segment unless the video is much longer than the training
            videos.
        num_frames: number of frames of the video or window.
        seconds: duration of the video or window.
        damage: what is wrong with a file that can still be read, such as an early end, or "".
        note: how the prediction was made, if not as for a video of training length, or "".
        events: what `config.predict.events` makes of the time line; see `vid3d.video.timeline`.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    segments: tuple[Segment, ...]
    num_frames: int
    seconds: float
    damage: str = ""
    note: str = ""
    events: tuple[Event, ...] = ()


def as_dict(answer: Prediction) -> dict[str, object]:
    """The fields of a prediction in JSON; events have files of their own."""
    fields = asdict(answer) | {"segments": [segment._asdict() for segment in answer.segments]}
    del fields["events"]
    return fields

"""The answers of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

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

    @classmethod
    def of(
        cls,
        classes: Sequence[str],
        probabilities_K: np.ndarray,
        *,
        num_frames: int,
        start: float,
        end: float,
        segments: tuple[Segment, ...] = (),
        threshold: float = 0.0,
        damage: str = "",
        note: str = "",
        events: tuple[Event, ...] = (),
    ) -> Prediction:
        """From probabilities in the order of the classes.

        Args:
            classes: their names.
            probabilities_K: float [K].
            num_frames: of the video or window.
            start: seconds.
            end: seconds.
            segments: by default one, from start to end.
            threshold: below it the label is "unknown".
            damage: of the file.
            note: how the prediction was made.
            events: of the time line.
        """
        best = int(probabilities_K.argmax())
        probability = float(probabilities_K[best])
        label = classes[best] if probability >= threshold else UNKNOWN
        return cls(
            label=label,
            probability=probability,
            probabilities=dict(zip(classes, probabilities_K.tolist(), strict=True)),
            segments=segments or (Segment(start, end, label, probability),),
            num_frames=num_frames,
            seconds=end - start,
            damage=damage,
            note=note,
            events=events,
        )


def as_dict(answer: Prediction) -> dict[str, object]:
    """The fields of a prediction in JSON; events have files of their own."""
    fields = asdict(answer) | {"segments": [segment._asdict() for segment in answer.segments]}
    del fields["events"]
    return fields

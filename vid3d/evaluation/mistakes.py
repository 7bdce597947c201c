"""The videos that were answered wrongly, the most confident answers first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vid3d.datasets.videos import ListedVideo
from vid3d.evaluation.predictions import Predictions


class Mistake(NamedTuple):
    """A video that was answered wrongly."""

    video: ListedVideo
    true: str  # class
    predicted: str  # class
    probability: float  # of the predicted class
    true_probability: float  # of the true class
    margin: float  # the difference of both

    def as_dict(self) -> dict[str, Any]:
        """As metrics.json has it, with the name of the video as `path`."""
        return {"path": self.video.name} | dict(zip(self._fields[1:], self[1:], strict=True))


def find(
    predictions: Predictions, videos: Sequence[ListedVideo], classes: Sequence[str]
) -> list[Mistake]:
    """The mistakes, those with the most probable answers first.

    Args:
        predictions: in the order of the videos.
        videos: of the split.
        classes: names, in the order of the labels.
    """
    found = []
    for video, row_K, label in zip(
        videos, predictions.probabilities_NK, predictions.labels_N, strict=True
    ):
        best = int(row_K.argmax())
        if best != label:
            answer, truth = float(row_K[best]), float(row_K[label])
            found.append(
                Mistake(video, classes[label], classes[best], answer, truth, answer - truth)
            )
    return sorted(found, key=lambda mistake: (-mistake.probability, mistake.video.name))

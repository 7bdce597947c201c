"""The videos that were answered wrongly, the most confident answers first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from vid3d.datasets.videos import COLUMNS, ListedVideo
from vid3d.evaluation.predictions import Predictions


class Mistake(NamedTuple):
    """A video that was answered wrongly."""

    video: ListedVideo
    group: str  # its source; "" where that is unknown
    true: str  # class
    predicted: str  # class
    probability: float  # of the predicted class
    true_probability: float  # of the true class
    margin: float  # the difference of both
    file: str  # absolute path; "" where the video is no file

    def as_dict(self) -> dict[str, Any]:
        """As metrics.json has it, with the name of the video as `path`, and times of a stretch."""
        span = self.video.span
        times = dict(zip(COLUMNS[span.unit], span[:2], strict=True)) if span else {}
        rest = dict(zip(self._fields[1:], self[1:], strict=True))
        return {"path": self.video.name} | times | rest


def find(
    predictions: Predictions, videos: Sequence[ListedVideo], classes: Sequence[str], root: str
) -> list[Mistake]:
    """The mistakes, those with the most probable answers first.

    Args:
        predictions: in the order of the videos.
        videos: of the split.
        classes: names, in the order of the labels.
        root: that the paths of the videos are relative to.
    """
    found = []
    for video, row_K, label in zip(
        videos, predictions.probabilities_NK, predictions.labels_N, strict=True
    ):
        best = int(row_K.argmax())
        if best != label:
            answer, truth = float(row_K[best]), float(row_K[label])
            file = os.path.abspath(os.path.join(root, video.path))
            found.append(
                Mistake(
                    video,
                    video.group,
                    true=classes[label],
                    predicted=classes[best],
                    probability=answer,
                    true_probability=truth,
                    margin=answer - truth,
                    file=file if os.path.exists(file) else "",
                )
            )
    return sorted(found, key=lambda mistake: (-mistake.probability, mistake.video.name))

"""What an evaluation wrote, as arrays."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vid3d import storage
from vid3d.checkpoint import Workdir
from vid3d.datasets.videos import row_name
from vid3d.errors import UserError

PROBABILITY = "probability:"  # the columns of predictions.csv


@dataclass(frozen=True)
class Answers:
    """The answers of one evaluation, in the order of predictions.csv.

    Attributes:
        figures: what metrics.json holds.
        folder: of the evaluation.
        classes: in the order of the labels.
        names: of the videos.
        groups: their sources; a video without a known one is its own.
        labels_N: true classes.
        probabilities_NK: float32.
    """

    figures: dict[str, Any]
    folder: Path
    classes: tuple[str, ...]
    names: list[str]
    groups: list[str]
    labels_N: np.ndarray
    probabilities_NK: np.ndarray

    @cached_property
    def predicted_N(self) -> np.ndarray:
        return self.probabilities_NK.argmax(axis=1)

    @cached_property
    def confidence_N(self) -> np.ndarray:
        """The probability of each answer."""
        return self.probabilities_NK.max(axis=1)

    @cached_property
    def right_N(self) -> np.ndarray:
        return self.predicted_N == self.labels_N


def read(folder: Path, workdir: Workdir) -> Answers:
    """Reads metrics.json and predictions.csv of an evaluation.

    Raises:
        UserError: one of them is missing or damaged.
    """
    try:
        figures = json.loads(storage.read_text(folder / "metrics.json"))
        classes = tuple(figures["per_class"])
        text = storage.read_text(folder / "predictions.csv")
        header, *lines = csv.reader(io.StringIO(text, newline=""))
        first = len(header) - len(classes)
        if header[first:] != [PROBABILITY + name for name in classes]:
            raise ValueError("other classes")
        rows = [dict(zip(header[:first], line[:first], strict=True)) for line in lines]
        number_of = {name: number for number, name in enumerate(classes)}
        labels_N = np.array([number_of[row["true"]] for row in rows])
        probabilities_NK = np.array([line[first:] for line in lines], np.float32)
        if len(lines) != figures["num_videos"] or not lines:
            raise ValueError("other videos")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the evaluation in {folder} is missing or damaged ({error}): evaluate again"
        ) from None
    names = [row_name(row) for row in rows]
    group_of = {row_name(row): row["group"] for row in workdir.videos()}
    groups = [group_of.get(name) or name for name in names]
    return Answers(figures, folder, classes, names, groups, labels_N, probabilities_NK)

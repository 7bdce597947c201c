"""The files of an evaluation."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vid3d import storage
from vid3d.data.pipeline import Clips
from vid3d.datasets.videos import span_cells, span_columns
from vid3d.evaluation import metrics, plots
from vid3d.evaluation.mistakes import Mistake
from vid3d.evaluation.predictions import Predictions

FILES = (
    "metrics.json",
    "predictions.csv",
    "mistakes.csv",
    "confusion_matrix.csv",
    "confusion_matrix.png",
    "confusion_matrix.svg",
)


def write(
    folder: Path,
    figures: dict[str, Any],
    predictions: Predictions,
    wrong: Sequence[Mistake],
    clips: Clips,
    classes: tuple[str, ...],
) -> None:
    """Writes the files of an evaluation (`FILES`), each whole or not at all."""
    predicted_N = predictions.probabilities_NK.argmax(axis=1)
    columns = span_columns(clips.videos)
    rows = [
        [
            video.path,
            *span_cells(video, columns),
            video.group,
            video.label,
            classes[best],
            *(repr(float(p)) for p in row_K),
        ]
        for video, row_K, best in zip(
            clips.videos, predictions.probabilities_NK, predicted_N, strict=True
        )
    ]
    probabilities = (f"probability:{name}" for name in classes)
    header = ["path", *columns, "group", "true", "predicted", *probabilities]
    write_csv(folder / "predictions.csv", header, rows)
    write_csv(
        folder / "mistakes.csv",
        ["path", *columns, *Mistake._fields[1:]],
        [[video.path, *span_cells(video, columns), *rest] for video, *rest in wrong],
    )
    matrix = metrics.confusion_matrix(predictions.labels_N, predicted_N, len(classes))
    header = ["true", *(f"predicted:{name}" for name in classes)]
    counts = [[name, *row] for name, row in zip(classes, matrix.tolist(), strict=True)]
    write_csv(folder / "confusion_matrix.csv", header, counts)
    low, high = metrics.best_interval(figures)[1]
    title = (
        f"accuracy {figures['accuracy']:.1%} of {figures['num_videos']} {figures['split']} videos\n"
        f"{low:.1%} to {high:.1%} ({metrics.interval_kind(figures)})\n"
        f"protocol: {figures['protocol']}"
    )
    figure = plots.confusion_figure(matrix, classes, title=title)
    for kind in ("png", "svg"):
        plots.save_figure(figure, folder / f"confusion_matrix.{kind}")
    storage.write_whole(folder / "metrics.json", json.dumps(figures, indent=2) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Writes a CSV file whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    storage.write_whole(path, text.getvalue())

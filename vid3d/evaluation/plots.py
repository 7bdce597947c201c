"""The pictures of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

WRITTEN_OUT = 15  # up to this many classes each cell carries its count


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], *, title: str) -> Figure:
    """A confusion matrix: rows are the true classes, colours the share of the row, numbers the counts.

    Args:
        matrix: int [true, predicted].
        classes: names in the order of the labels.
        title: one line.
    """
    n = len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cell = 0.75 if n <= WRITTEN_OUT else 0.17
    side = max(3.2, cell * n)
    longest = max(len(name) for name in classes)
    font = 9 if n <= WRITTEN_OUT else 6
    margin = 0.6 + longest * font / 72 * 0.62
    figure = Figure(figsize=(side + margin + 1.0, side + margin + 0.5), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(
        range(n), classes, rotation=90 if n > 5 else 30, ha="center" if n > 5 else "right"
    )
    axes.set_yticks(range(n), classes)
    axes.tick_params(labelsize=font, length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10)
    if n <= WRITTEN_OUT:
        for row in range(n):
            for column in range(n):
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    column, row, str(matrix[row, column]), ha="center", va="center", color=color
                )
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.04)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG whole or not at all."""
    temporary = path.with_name(path.name + ".incomplete")
    with matplotlib.rc_context({"savefig.dpi": 120}):
        figure.savefig(temporary, format="png")
    temporary.replace(path)


def figure_to_array(figure: Figure) -> np.ndarray:
    """Renders a figure, uint8 [H, W, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

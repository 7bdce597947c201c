"""The pictures of an evaluation."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vid3d import storage

MOST_COUNTED = 15  # classes up to which each cell shows its count
DISTINCT_COLOURS = 10  # that are easily told apart
PANELS = (("val", "accuracy"), ("val", "loss"), ("train", "accuracy"), ("train", "loss"))


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], *, title: str) -> Figure:
    """A confusion matrix: a row per true class, coloured by the share of the row, with counts.

    Args:
        matrix: int [true, predicted].
        classes: names in the order of the labels.
        title: a few lines.
    """
    classes, title = list(map(plain, classes)), plain(title)
    n = len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cell = 0.75 if n <= MOST_COUNTED else 0.17
    side = max(3.2, cell * n)
    longest = max(len(name) for name in classes)
    font = 9 if n <= MOST_COUNTED else 6
    margin = 0.6 + longest * font / 72 * 0.62
    figure = Figure(figsize=(side + margin + 1.0, side + margin + 0.5), layout="compressed")
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
    if n <= MOST_COUNTED:
        for row in range(n):
            for column in range(n):
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    column, row, str(matrix[row, column]), ha="center", va="center", color=color
                )
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.04)
    return figure


def curves_figure(
    curves: Mapping[str, Sequence[Mapping[str, float]]], alike: Mapping[str, str] | None = None
) -> Figure:
    """Accuracy and loss of several runs over the epochs, in validation and in training; of more
    than ten runs, those that are alike share a colour and a name.

    Args:
        curves: name of the run -> its rows with `epoch` and, where they were measured,
            `accuracy` and `loss` of `val/`, `train/` and `train_eval/`.
        alike: name of the run -> what is equal for runs that are alike; without it none are.
    """
    kinds: dict[str, list[str]] = {}
    for name in curves:
        kinds.setdefault(
            alike[name] if alike and len(curves) > DISTINCT_COLOURS else name, []
        ).append(name)
    height = max(7.2, 0.17 * len(kinds) + 1.2)
    figure = Figure(figsize=(11, height), layout="constrained")
    axes = figure.subplots(2, 2)
    few = len(kinds) <= DISTINCT_COLOURS
    colors = matplotlib.colormaps["tab10" if few else "turbo"]
    both = any("train_eval/loss" in row for rows in curves.values() for row in rows)
    for panel, (what, key) in zip(axes.flat, PANELS, strict=True):
        for number, names in enumerate(kinds.values()):
            color = colors(number if few else number / (len(kinds) - 1))
            for name in names:
                label = plain(name) + (f" ({len(names)} seeds)" if len(names) > 1 else "")
                label = label if name == names[0] else "_not in the legend"
                draw(panel, curves[name], f"{what}/{key}", color=color, label=label)
                if both and what == "train":
                    draw(panel, curves[name], f"train_eval/{key}", color=color, linestyle="--")
        panel.set_xlabel("epoch")
        panel.set_xlim(left=0)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        dashed = "\n(dashed: without these, of the weights of the validation)" * both
        panel.set_title(
            f"validation {key}"
            if what == "val"
            else f"training {key}, a mean over the steps\nwith dropout and augmentation{dashed}",
            fontsize=10,
        )
        panel.grid(alpha=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=7)
    return figure


def draw(panel: Axes, rows: Sequence[Mapping[str, float]], key: str, **style: Any) -> None:
    """Draws one figure of the rows that have it over the epochs."""
    found = [(row["epoch"], row[key]) for row in rows if key in row]
    epochs, values = zip(*found, strict=True) if found else ((), ())
    panel.plot(epochs, values, marker=".", linewidth=1.2, **style)


def plain(text: str) -> str:
    """Text that matplotlib does not take for a formula, whatever dollars are in it."""
    return text.replace("$", r"\$")


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG whole or not at all."""
    picture = io.BytesIO()
    with matplotlib.rc_context({"savefig.dpi": 120}):
        figure.savefig(picture, format="png")
    storage.write_whole(path, picture.getvalue())


def figure_to_array(figure: Figure) -> np.ndarray:
    """Renders a figure, uint8 [H, W, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

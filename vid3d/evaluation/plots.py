"""The pictures of an evaluation."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vid3d import storage
from vid3d.evaluation.metrics import confused_pairs

CELL = (0.17, 0.75)  # inches: the least and the most of a cell, where there is room for it
LARGEST_SIDE = 18.0  # inches of a matrix
FONTS = (6.0, 9.0)  # points: what would be smaller is left out, and nothing is larger
NAME, NAME_OF_PAIR = 36, 24  # characters of a class beside the matrix, and in the list
LINE = 0.165  # inches of a line of the list
BAR, GAP = 0.15, 0.1  # inches: the width of the colour bar, and the space around each part
MOST_PAIRS = 60  # that are listed
DISTINCT_COLOURS = 10  # that are easily told apart
PANELS = (("val", "accuracy"), ("val", "loss"), ("train", "accuracy"), ("train", "loss"))


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], *, title: str) -> Figure:
    """A confusion matrix: a row per true class, coloured by the share of the row.

    Beside it stand the pairs that are confused most often. Cells have their counts where these
    fit, but for 0. The axes have the names of the classes where these fit, otherwise their numbers
    from 0. The row of a class without videos is grey.

    Args:
        matrix: int [true, predicted].
        classes: names in the order of the labels.
        title: a few lines.
    """
    n = len(classes)
    total_K1 = matrix.sum(axis=1, keepdims=True)
    shares_KK = np.ma.masked_array(
        matrix / np.maximum(total_K1, 1), mask=np.broadcast_to(total_K1 == 0, (n, n))
    )
    cell = min(max(10 / n, CELL[0]), CELL[1], LARGEST_SIDE / n)
    side = max(cell * n, 3.2)
    font = min(side / n * 72 * 0.7, FONTS[1])
    names = [plain(squeeze(name, NAME)) for name in classes] if font >= FONTS[0] else []
    lines = pair_lines(matrix, classes, most=int(side / LINE) - 1, numbered=not names)
    figure = Figure()
    axes, beside, bar = (figure.add_axes((0, 0, 1, 1), label=name) for name in ("", "list", "bar"))
    image = axes.imshow(
        shares_KK,
        cmap=matplotlib.colormaps["Blues"].with_extremes(bad="0.88"),
        norm=PowerNorm(0.5, vmin=0, vmax=1),  # so that rare confusions are seen
        interpolation="none",
        aspect="auto",
    )
    if names:
        axes.set_xticks(
            range(n), names, rotation=90 if n > 5 else 30, ha="center" if n > 5 else "right"
        )
        axes.set_yticks(range(n), names)
        axes.tick_params(labelsize=font, length=0)
    axes.set_xlabel("predicted" if names else "predicted (number of the class)")
    axes.set_ylabel("true" if names else "true (number of the class)")
    axes.set_title(plain(title), fontsize=10)
    write_counts(axes, matrix, shares_KK, side / n * 72)
    figure.colorbar(
        image,
        cax=bar,
        label="share of the true class",
        ticks=(0, 0.05, 0.25, 0.5, 1),
        format="{x:g}",
    )
    beside.set_axis_off()
    beside.text(0, 1, plain("\n".join(lines)), fontsize=8, linespacing=1.4, va="top")
    place(figure, axes, beside, bar, side=side)
    return figure


def place(figure: Figure, axes: Axes, beside: Axes, bar: Axes, *, side: float) -> None:
    """Gives a square matrix, its colour bar and its list their places, and the figure its size.

    Constrained layout would measure every text about ten times, in each evaluation.

    Args:
        figure: of all three.
        axes: the matrix.
        beside: the list, one text.
        bar: the colour bar.
        side: of the matrix, in inches.
    """

    def put(part: Axes, left: float, bottom: float, width: float) -> None:
        across, up = figure.get_size_inches()
        part.set_position((left / across, bottom / up, width / across, side / up))

    def over(part: Axes) -> np.ndarray:
        """How far its texts reach over its left, bottom, right and top, in inches."""
        own, whole = part.get_window_extent(), part.get_tightbbox()
        assert whole is not None  # it is, of an invisible one alone
        return (own.get_points() - whole.get_points()).ravel() * (1, 1, -1, -1) / figure.dpi

    figure.set_size_inches(3 * side, 3 * side)
    for part, width in ((axes, side), (bar, BAR)):
        put(part, side, side, width)
    left, bottom, right, top = over(axes)
    column = beside.texts[0].get_window_extent().width / figure.dpi
    edge, start = GAP + left, GAP + bottom
    of_bar = edge + side + right + GAP
    of_list = of_bar + BAR + over(bar)[2] + GAP
    figure.set_size_inches(of_list + column + GAP, start + side + top + GAP)
    put(axes, edge, start, side)
    put(bar, of_bar, start, BAR)
    put(beside, of_list, start, column)


def write_counts(axes: Axes, matrix: np.ndarray, shares_KK: np.ndarray, cell: float) -> None:
    """Writes the counts above 0 into the cells, of `cell` points each, unless they do not fit."""
    font = min(cell * 0.85 / (0.64 * len(str(matrix.max()))), cell * 0.7, FONTS[1] + 1)
    if font < FONTS[0]:
        return
    for row, column in np.argwhere(matrix).tolist():
        text = axes.text(
            column,
            row,
            str(matrix[row, column]),
            ha="center",
            va="center",
            fontsize=font,
            color="white" if shares_KK[row, column] > 0.4 else "black",
        )
        text.set_in_layout(False)  # a look at each would take seconds


def pair_lines(
    matrix: np.ndarray, classes: Sequence[str], *, most: int, numbered: bool = False
) -> list[str]:
    """The list beside a confusion matrix, in at most so many lines, with numbers if asked to."""
    pairs = confused_pairs(matrix)
    if not pairs:
        return ["no video was confused"]
    lines = ["most confused (true → predicted)"]
    for pair in pairs[: max(min(most - 2, MOST_PAIRS), 1)]:
        true, predicted = (
            squeeze(classes[k], NAME_OF_PAIR) + f" ({k})" * numbered
            for k in (pair.true, pair.predicted)
        )
        lines.append(f"{pair.videos} of {pair.total}  {true} → {predicted}")
    left = len(pairs) + 1 - len(lines)
    return [*lines, f"and {left} more"] if left else lines


def squeeze(name: str, most: int) -> str:
    """A name of at most so many characters, with its beginning and its end."""
    end = most // 3
    return name if len(name) <= most else f"{name[: most - end - 1]}…{name[-end:]}"


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
    visible = "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return visible.replace("$", r"\$")


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG or an SVG, as the suffix says, whole or not at all.

    Both have a white background. The text of an SVG is text, in the reader's own font.
    """
    kind = path.suffix.removeprefix(".")
    picture = io.BytesIO()
    with matplotlib.rc_context(
        {"savefig.dpi": 120, "svg.fonttype": "none", "svg.hashsalt": "vid3d"}
    ):
        # Without the date, equal figures are equal files.
        figure.savefig(picture, format=kind, metadata={"Date": None} if kind == "svg" else None)
    storage.write_whole(path, picture.getvalue())


def figure_to_array(figure: Figure) -> np.ndarray:
    """Renders a figure, uint8 [H, W, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

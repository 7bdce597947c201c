"""Charts as inline SVG; their colours are those of page.css."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from vid3d.report.html import e

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 12, 38
MOST_POINTS = 300  # of a line

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axes:
    """The ranges of a chart, and where on the page its numbers are."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point, from the left and from the top."""
        (x0, x1), (y0, y1) = self.x, self.y
        across = LEFT + (WIDTH - LEFT - RIGHT) * (x - x0) / ((x1 - x0) or 1)
        down = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - y0) / ((y1 - y0) or 1)
        return round(across, 1), round(down, 1)

    def path(self, points: Points) -> str:
        """A line through points, in the language of SVG."""
        places = (self.at(*point) for point in thinned(points))
        return "M" + "L".join(f"{x} {y}" for x, y in places)


def thinned(points: Points) -> Points:
    """At most `MOST_POINTS` of them, evenly spaced, with the first and the last."""
    if len(points) <= MOST_POINTS:
        return points
    places = np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int))
    return [points[i] for i in places]


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high, four to seven of them."""
    span = high - low or 1.0
    step = 10 ** np.floor(np.log10(span))
    step *= next(s for s in (0.2, 0.25, 0.5, 1.0, 2.0) if span / (step * s) <= 6)
    first = np.ceil(low / step - 1e-9) * step
    return [float(round(first + i * step, 10)) for i in range(8) if first + i * step <= high + 1e-9]


def frame(axes: Axes, x_label: str, y_label: str, *, percent: bool = False) -> list[Element]:
    """The grid, the numbers at it and what they are."""
    drawn = []
    for value in ticks(*axes.y):
        (x0, y), (x1, _) = axes.at(axes.x[0], value), axes.at(axes.x[1], value)
        drawn.append(e("line", x1=x0, x2=x1, y1=y, y2=y, class_="rule"))
        shown = f"{value:.0%}" if percent else f"{value:g}"
        drawn.append(e("text", shown, x=x0 - 6, y=y + 4, class_="tick end"))
    for value in ticks(*axes.x):
        x, y = axes.at(value, axes.y[0])
        shown = f"{value:.0%}" if percent else f"{value:g}"
        drawn.append(e("text", shown, x=x, y=y + 16, class_="tick middle"))
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    drawn.append(e("text", x_label, x=middle, y=HEIGHT - 5, class_="axis middle"))
    drawn.append(e("title", f"{y_label} over {x_label}"))
    return drawn


def chart(
    title: str, legend: Sequence[tuple[str, str]], inside: Sequence[Element], about: str = ""
) -> Element:
    """A figure with a title, and the names of its lines as (class of the line, name)."""
    keys = [e("span", e("i", class_=f"key {kind}"), name) for kind, name in legend]
    box = e(
        "svg", inside, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title, class_="chart"
    )
    about_line = e("p", about, class_="about") if about else None
    return e("figure", e("figcaption", e("b", title), e("span", keys, class_="legend")), box,
             about_line, class_="chart-box")  # fmt: skip


CURVES = (("train", "a", "training"), ("train_eval", "c", "training videos, as in validation"),
          ("val", "b", "validation"))  # fmt: skip


def learning_curves(rows: Sequence[dict[str, Any]], step: int) -> list[Element]:
    """Accuracy and loss over the epochs, with the checkpoint that was evaluated."""
    charts = []
    chosen = next((row["epoch"] for row in rows if row["step"] == step), None)
    for what in ("accuracy", "loss"):
        lines = {}
        for key, kind, name in CURVES:
            found = [(row["epoch"], row[f"{key}/{what}"]) for row in rows if f"{key}/{what}" in row]
            if found:
                lines[kind, name] = found
        points = [point for line in lines.values() for point in line]
        if not points:
            continue
        values = [y for _, y in points if np.isfinite(y)]
        high = 1.0 if what == "accuracy" else max(values, default=1.0) * 1.05
        axes = Axes((0, max(x for x, _ in points)), (0.0, high))
        drawn = frame(axes, "epoch", what, percent=False)
        if chosen is not None:
            x, bottom = axes.at(chosen, 0)
            drawn.append(e("line", x1=x, x2=x, y1=TOP, y2=bottom, class_="mark"))
        for (kind, name), line in lines.items():
            drawn.append(e("path", e("title", name), d=axes.path(line), class_=f"line {kind}"))
            if len(line) < 40:
                for point in line:
                    x, y = axes.at(*point)
                    drawn.append(e("circle", cx=x, cy=y, r=2.2, class_=f"dot {kind}"))
        legend = [(kind, name) for kind, name in lines]
        if chosen is not None:
            legend.append(("mark", "this checkpoint"))
        charts.append(chart(what.capitalize(), legend, drawn))
    return charts


def reliability(calibration: dict[str, Any]) -> Element:
    """How often answers are right, over how probable they say they are."""
    axes = Axes((0, 1), (0, 1))
    drawn = frame(axes, "probability of the answers", "share that is right", percent=True)
    (x0, y0), (x1, y1) = axes.at(0, 0), axes.at(1, 1)
    drawn.append(e("line", x1=x0, y1=y0, x2=x1, y2=y1, class_="ideal"))
    legend = [("b", "as answered")]
    before = calibration.get("before")
    if before:
        drawn += bubbles(axes, before["bins"], "a")
        legend.append(("a", "without the temperature"))
    drawn += bubbles(axes, calibration["bins"], "b")
    legend.append(("ideal", "true probabilities"))
    about = "Below the line answers are too sure, above it too modest. The larger, the more videos."
    return chart("Are the probabilities true?", legend, drawn, about)


def bubbles(axes: Axes, bins: Sequence[dict[str, Any]], kind: str) -> list[Element]:
    """A circle per bin, its area by the number of videos."""
    most = max(row["videos"] for row in bins)
    drawn = []
    for row in bins:
        x, y = axes.at(row["confidence"], row["accuracy"])
        said = f"{row['videos']} videos: {row['confidence']:.0%} said, {row['accuracy']:.0%} right"
        radius = round(2.5 + 6.5 * (row["videos"] / most) ** 0.5, 1)
        drawn.append(e("circle", e("title", said), cx=x, cy=y, r=radius, class_=f"dot {kind}"))
    return drawn


def risk_coverage(confidence_N: np.ndarray, right_N: np.ndarray) -> Element:
    """How often answers are right if only the surest are given, over the share that is given."""
    order = np.argsort(-confidence_N, kind="stable")
    count_N = np.arange(1, len(order) + 1)
    accuracy_N = np.cumsum(right_N[order]) / count_N
    # Equally probable answers are given together.
    ends = np.append(np.diff(confidence_N[order]) != 0, True)
    points = list(
        zip((count_N[ends] / len(order)).tolist(), accuracy_N[ends].tolist(), strict=True)
    )
    low = float(np.floor(min(y for _, y in points) * 5) / 5)
    axes = Axes((0, 1), (low if low < 1 else 0.0, 1))
    drawn = frame(axes, "share of the videos that are labelled", "right of these", percent=True)
    drawn.append(e("path", d=axes.path(points), class_="line b"))
    about = (
        "With a threshold, the least probable answers are left out. From right to left: the rest "
        "is fewer, and more often right."
    )
    return chart("What a threshold buys", [("b", "right of those that are labelled")], drawn, about)


def interval_bar(accuracy: float, low: float, high: float, chance: float) -> Element:
    """The accuracy and its interval on a scale from 0 to 1, and what guessing gives."""
    x, x0, x1, c = (round(10 + 580 * value, 1) for value in (accuracy, low, high, chance))
    said = f"{accuracy:.1%}, {low:.1%} to {high:.1%}; guessing is {chance:.1%}"
    drawn = [
        e("line", x1=10, x2=590, y1=16, y2=16, class_="scale"),
        e("line", x1=c, x2=c, y1=8, y2=24, class_="chance"),
        e("text", "guessing", x=max(c, 34), y=38, class_="tick middle"),
        e("line", x1=x0, x2=x1, y1=16, y2=16, class_="whisker"),
        e("circle", cx=x, cy=16, r=7, class_="dot b"),
    ]
    return e("svg", e("title", said), drawn, viewBox="0 0 600 44", role="img", class_="bar",
             aria_label=said)  # fmt: skip


def whisker(value: float, low: float, high: float) -> Element:
    """A figure and its interval on a small scale from 0 to 1."""
    return e(
        "svg",
        e("line", x1=0, x2=100, y1=4, y2=4, class_="scale"),
        e("line", x1=round(100 * low, 1), x2=round(100 * high, 1), y1=4, y2=4, class_="whisker"),
        e("circle", cx=round(100 * value, 1), cy=4, r=3, class_="dot b"),
        viewBox="-4 0 108 8",
        class_="small",
        aria_hidden="true",
    )

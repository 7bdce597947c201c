"""Precision, recall and F1 of every class, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element

import numpy as np

from vid3d.evaluation import metrics
from vid3d.report import charts
from vid3d.report.answers import Answers
from vid3d.report.html import e
from vid3d.text import shorten

MOST_ROWS = 400
FIGURES = ("precision", "recall", "F1")

Interval = tuple[float, float]


def intervals(answers: Answers, label: int) -> dict[str, Interval | None]:
    """95% intervals of the three figures of a class; None where there is no video to count.

    Over the sources of the videos where these have some, else Wilson's. F1 is 2J / (1 + J), where J
    is the share of the right ones among the videos that are of the class or are taken for it.
    """
    is_true, is_answer = answers.labels_N == label, answers.predicted_N == label
    over = share_interval(answers)
    right = is_true & is_answer
    jaccard = over(right, is_true | is_answer)
    return {
        "precision": over(right, is_answer),
        "recall": over(right, is_true),
        "F1": jaccard and (2 * jaccard[0] / (1 + jaccard[0]), 2 * jaccard[1] / (1 + jaccard[1])),
    }


def share_interval(answers: Answers) -> Callable[[np.ndarray, np.ndarray], Interval | None]:
    """A function (which are right, which count) -> 95% interval of the share."""
    has_sources = len(set(answers.groups)) < len(answers.groups)

    def over(right_N: np.ndarray, counted_N: np.ndarray) -> Interval | None:
        places = np.flatnonzero(counted_N)
        if not len(places):
            return None
        if not has_sources:
            return metrics.wilson_interval(float(right_N.sum()), len(places))
        right = right_N[places].astype(float).tolist()
        groups = [answers.groups[i] for i in places]
        return metrics.ratio_interval(right, [1.0] * len(places), groups)

    return over


def table(answers: Answers) -> Element:
    """A row per class, those with the lowest F1 first."""
    per_class = answers.figures["per_class"]
    order = sorted(range(len(answers.classes)), key=lambda k: per_class[answers.classes[k]]["f1"])
    rows = []
    for k in order[:MOST_ROWS]:
        name = answers.classes[k]
        found = intervals(answers, k)
        figures = [figure(per_class[name][what.lower()], found[what], what) for what in FIGURES]
        videos = e("td", str(per_class[name]["count"]), class_="count")
        rows.append(e("tr", e("th", shorten(name, 60), scope="row"), figures, videos))
    head = e("tr", (e("th", text, scope="col") for text in ("class", *FIGURES, "videos")))
    left = len(order) - MOST_ROWS
    note = e("p", f"{left} more classes are in metrics.json.", class_="about") if left > 0 else None
    built = e("table", e("thead", head), e("tbody", rows), class_="classes")
    return e("div", e("div", built, class_="scroll"), note)


def figure(value: float, interval: Interval | None, name: str) -> Element:
    """A cell with a figure, its interval in numbers and as a bar."""
    if interval is None:
        return e("td", e("span", "no video", class_="faint"), data_name=name)
    low, high = interval
    said = e("span", f"{low:.2f} to {high:.2f}", class_="faint")
    return e(
        "td",
        e("span", e("b", f"{value:.2f}"), " ", said),
        charts.whisker(value, low, high),
        data_name=name,
    )

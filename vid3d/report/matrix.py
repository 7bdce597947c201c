"""The confusion matrix as inline SVG; its cells open the clips behind them."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from vid3d.evaluation import metrics
from vid3d.report.answers import Answers
from vid3d.report.choose import Cell
from vid3d.report.html import e
from vid3d.text import shorten

SIDE = 30  # of a cell
MOST_CLASSES = 150  # that are drawn: a larger matrix is not readable
NUMBERS_UP_TO = 40  # classes, beyond which cells have no numbers
MARGIN = 150  # for the names
LONGEST_NAME = 22


def draw(answers: Answers, cells: dict[Cell, list[int]]) -> Element:
    """The matrix; a cell whose videos are on the page can be clicked, or chosen with the keyboard.

    With many classes it shows those that are confused most.
    """
    whole = metrics.confusion_matrix(answers.labels_N, answers.predicted_N, len(answers.classes))
    shown = most_confused(whole)
    size, side = MARGIN + SIDE * len(shown), SIDE
    totals_K = whole.sum(axis=1)
    drawn: list[Element] = []
    for place, k in enumerate(shown):
        middle = MARGIN + side * (place + 0.5)
        name, full = shorten(answers.classes[k], LONGEST_NAME), e("title", answers.classes[k])
        drawn.append(e("text", full, name, x=MARGIN - 8, y=middle + 4, class_="name end"))
        turned = f"rotate(-45 {middle} {MARGIN - 8})"
        drawn.append(
            e("text", e("title", answers.classes[k]), name, x=middle, y=MARGIN - 8,
              transform=turned, class_="name")
        )  # fmt: skip
    ground = e("rect", x=MARGIN, y=MARGIN, width=side * len(shown), height=side * len(shown),
               class_="ground")  # fmt: skip
    drawn.append(ground)
    for row, k in enumerate(shown):
        for column, answer in enumerate(shown):
            if whole[k, answer]:
                place = (MARGIN + side * column, MARGIN + side * row)
                share = whole[k, answer] / totals_K[k]
                drawn.append(
                    cell(answers, (k, answer), int(whole[k, answer]), share, place,
                         is_open=(k, answer) in cells, numbered=len(shown) <= NUMBERS_UP_TO)
                )  # fmt: skip
    box = e(
        "svg",
        drawn,
        viewBox=f"0 0 {size + 60} {size}",
        class_="matrix",
        role="group",
        aria_label="confusion matrix",
        style=f"min-width:{min(size, 11 * len(shown) + 200)}px;max-width:{size + 60}px",
    )
    left_out = len(answers.classes) - len(shown)
    note = None
    if left_out:
        said = (
            f"{left_out} of {len(answers.classes)} classes, the least confused, are left out of the "
            "picture; confusion_matrix.csv has all."
        )
        note = e("p", said, class_="about")
    return e("div", e("div", box, class_="scroll"), note)


def most_confused(matrix: np.ndarray) -> list[int]:
    """The classes that are drawn, in their order."""
    wrong_KK = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    errors_K = wrong_KK.sum(axis=0) + wrong_KK.sum(axis=1)
    return sorted(np.argsort(-errors_K, kind="stable")[:MOST_CLASSES].tolist())


def cell(
    answers: Answers,
    which: Cell,
    count: int,
    share: float,
    place: tuple[int, int],
    *,
    is_open: bool,
    numbered: bool,
) -> Element:
    """A cell with videos: the more of its class, the stronger its colour."""
    true, answer = (answers.classes[k] for k in which)
    said = f"{true}, answered {answer}: {count} of its videos ({share:.0%})"
    x, y = place
    kind = "right" if which[0] == which[1] else "wrong"
    strength = round(0.15 + 0.85 * share, 2)
    inside = [
        e("title", said),
        e("rect", x=x + 1, y=y + 1, width=SIDE - 2, height=SIDE - 2, rx=3, fill_opacity=strength),
    ]
    if numbered:
        strong = " strong" if strength > 0.6 else ""
        inside.append(
            e("text", str(count), x=x + SIDE / 2, y=y + SIDE / 2 + 4, class_=f"number{strong}")
        )
    if not is_open:
        return e("g", inside, class_=f"cell {kind}")
    return e(
        "g",
        inside,
        class_=f"cell {kind} open",
        data_cell=f"{which[0]},{which[1]}",
        tabindex=0,
        role="button",
        aria_label=said,
    )

"""The confusion matrix as inline SVG; its cells open the clips behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
LETTER = 0.55  # width of a letter, on average, by the size of the font
STEEP = 40  # classes, beyond which the names of columns would touch each other
LONGEST_NAME = 22


@dataclass(frozen=True)
class Layout:
    """Where things are, in the units of the SVG.

    Attributes:
        shown: the classes, in their order.
        names: of these, short enough to be drawn.
        font: size of the names, larger where a page shows the whole smaller.
        left: where the cells begin.
        top: likewise; the names of the columns are turned.
    """

    shown: list[int]
    names: list[str]
    font: int
    left: int
    top: int

    @classmethod
    def of(cls, shown: list[int], classes: Sequence[str]) -> Layout:
        names = [shorten(classes[k], LONGEST_NAME) for k in shown]
        font = min(max(12, len(shown) // 4), 26)
        left = round(LETTER * font * max(map(len, names))) + 14
        return cls(shown, names, font, left, round((1 if len(shown) > STEEP else 0.75) * left) + 6)

    @property
    def angle(self) -> int:
        """Of the names of the columns."""
        return 75 if len(self.shown) > STEEP else 45

    @property
    def side(self) -> int:
        """Of the square of all cells."""
        return SIDE * len(self.shown)


def draw(answers: Answers, cells: dict[Cell, list[int]]) -> Element:
    """The matrix; a cell whose videos are on the page can be clicked, or chosen with the keyboard.

    With many classes it shows those that are confused most.
    """
    whole = metrics.confusion_matrix(answers.labels_N, answers.predicted_N, len(answers.classes))
    place = Layout.of(most_confused(whole), answers.classes)
    ground = e("rect", x=place.left, y=place.top, width=place.side, height=place.side,
               class_="ground")  # fmt: skip
    totals_K = whole.sum(axis=1)
    squares = [
        cell(
            answers,
            (k, answer),
            int(whole[k, answer]),
            whole[k, answer] / totals_K[k],
            (place.left + SIDE * column, place.top + SIDE * row),
            is_open=(k, answer) in cells,
            numbered=len(place.shown) <= NUMBERS_UP_TO,
        )
        for row, k in enumerate(place.shown)
        for column, answer in enumerate(place.shown)
        if whole[k, answer]
    ]
    width = place.left + place.side + place.left // 2
    least = min(width, 11 * len(place.shown) + place.left)
    box = e(
        "svg",
        labels(place, answers.classes),
        ground,
        squares,
        viewBox=f"0 0 {width} {place.top + place.side}",
        class_="matrix",
        role="group",
        aria_label="confusion matrix",
        style=f"min-width:{least}px;width:{width}px",
    )
    note = None
    if left_out := len(answers.classes) - len(place.shown):
        said = (
            f"{left_out} of {len(answers.classes)} classes, the least confused, are left out of "
            "the picture; confusion_matrix.csv has all."
        )
        note = e("p", said, class_="about")
    return e("div", e("div", box, class_="scroll"), note)


def labels(place: Layout, classes: Sequence[str]) -> Iterator[Element]:
    """The names of the rows and, turned, of the columns."""
    style = f"font-size:{place.font}px"
    for number, (k, name) in enumerate(zip(place.shown, place.names, strict=True)):
        x, y = (edge + SIDE * (number + 0.5) for edge in (place.left, place.top))
        yield e("text", e("title", classes[k]), name, x=place.left - 8, y=y + place.font / 3,
                class_="name end", style=style)  # fmt: skip
        turned = f"rotate({-place.angle} {x} {place.top - 8})"
        yield e("text", e("title", classes[k]), name, x=x, y=place.top - 8, transform=turned,
                class_="name", style=style)  # fmt: skip


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
    strength = round(0.25 + 0.75 * share, 2)
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

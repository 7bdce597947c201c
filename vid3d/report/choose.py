"""Which videos of an evaluation are shown, those that say most first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vid3d.report.answers import Answers

MOST_WRONG = MOST_UNSURE = 12
MOST_RIGHT = 120  # one of each class
MOST_LISTED = 5000  # videos behind the cells of the matrix
MOST_STRIPS = 400

Cell = tuple[int, int]  # true class, answer


@dataclass(frozen=True)
class Chosen:
    """Positions of videos.

    Attributes:
        wrong: the wrong answers with the highest probabilities.
        unsure: the answers with the lowest probabilities, others than these.
        right: of each class with a right answer the surest.
        cells: the videos of each cell of the confusion matrix, the surest first, as far as there is
            room.
        moving: those to be shown moving, the first ones first.
    """

    wrong: list[int]
    unsure: list[int]
    right: list[int]
    cells: dict[Cell, list[int]]
    moving: list[int]


def choose(answers: Answers) -> Chosen:
    """Chooses what to show, whatever the number of videos."""
    surest_first = np.argsort(-answers.confidence_N, kind="stable")
    right_N, labels_N, predicted_N = answers.right_N, answers.labels_N, answers.predicted_N
    wrong = surest_first[~right_N[surest_first]][:MOST_WRONG].tolist()
    unsure = [i for i in surest_first[::-1].tolist() if i not in set(wrong)][:MOST_UNSURE]
    cells: dict[Cell, list[int]] = {}
    for i in surest_first.tolist():
        cells.setdefault((int(labels_N[i]), int(predicted_N[i])), []).append(i)
    right = [cells[k, k][0] for k in range(len(answers.classes)) if (k, k) in cells][:MOST_RIGHT]
    cells = within(cells, MOST_LISTED)
    moving = [*wrong, *unsure, *right]
    by_turns = sorted(
        (place, cell[0] == cell[1], -len(videos), video)
        for cell, videos in cells.items()
        for place, video in enumerate(videos)
    )
    # The first of every cell before the second of any, and wrong answers before right ones.
    by_turns.sort(key=lambda turn: (turn[1], turn[0]))
    moving += [video for *_, video in by_turns]
    return Chosen(wrong, unsure, right, cells, list(dict.fromkeys(moving))[:MOST_STRIPS])


def within(cells: dict[Cell, list[int]], most: int) -> dict[Cell, list[int]]:
    """The same cells with fewer videos: all get as many, but those that have fewer."""
    sizes = np.array([len(videos) for videos in cells.values()])
    limit = int(sizes.max(initial=0))
    while np.minimum(sizes, limit).sum() > most and limit > 1:
        limit = limit * 3 // 4
    kept = {cell: videos[:limit] for cell, videos in cells.items()}
    return dict(list(kept.items())[:most])

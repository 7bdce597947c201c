"""Judges the time lines of recordings, chooses how they are decoded, and writes both down.

Here are only windows and events; the command labels the windows, as `predict` does.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vid3d import storage
from vid3d.errors import UserError
from vid3d.evaluation import events, plots
from vid3d.evaluation.timeline_plot import timeline_figure
from vid3d.evaluation.truth import Truth, absolute
from vid3d.video.timeline import Settings, decode

FILES = ("metrics.json", "events.csv", "timeline.png", "timeline.svg")
MEASURE = "segment_f1@50"  # that the decoder is chosen by; of equals the F1 of seconds decides
ROUNDS = 4  # over all settings
# Multiples of the median time between two windows.
SPANS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
SHARES: dict[str, tuple[Any, ...]] = {
    "smoothing": (0.0, 0.3, 0.5, 0.7, 0.85),
    "hysteresis": (0.0, 0.2, 0.4, 0.6),
    "threshold": (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9),
    "on": ((0.2,), (0.3,), (0.4,), (0.5,), (0.6,), (0.7,), (0.8,), (0.9,)),
}


class Windows(NamedTuple):
    """A recording as the network sees it; see `timeline.decode`.

    Attributes:
        path: as it was given.
        seconds: how long it is.
        bounds: of the windows.
        probabilities_NK: of the windows.
        sha256: of the file.
    """

    path: str
    seconds: float
    bounds: Sequence[float]
    probabilities_NK: np.ndarray
    sha256: str


def decoded(
    recordings: Sequence[Windows], truth: Truth, classes: Sequence[str], settings: Settings
) -> list[events.Recording]:
    """Truth and events of each recording.

    Raises:
        UserError: a true event is beyond the end of its recording.
    """
    return [
        events.Recording(
            path=one.path,
            source=truth.sources[absolute(one.path)],
            seconds=one.seconds,
            truth=truth.of(one.path, one.seconds),
            found=decode(one.bounds, one.probabilities_NK, classes, settings),
        )
        for one in recordings
    ]


def judged_labels(classes: Sequence[str], settings: Settings) -> list[str]:
    """The classes that are events."""
    return [name for name in classes if name not in settings.background]


def score(
    recordings: Sequence[Windows], truth: Truth, classes: Sequence[str], settings: Settings
) -> tuple[float, float]:
    """What the decoder is chosen by: segment F1 at an IoU of 50%, then the F1 of seconds."""
    judged = decoded(recordings, truth, classes, settings)
    labels = judged_labels(classes, settings)
    found = []
    for name in (MEASURE, "second_f1"):
        count = events.counters()[name]
        f1 = events.total(count(one, label) for one in judged for label in labels).f1()
        found.append(round(f1 or 0.0, 9))
    return found[0], found[1]


def choose(
    recordings: Sequence[Windows], truth: Truth, classes: Sequence[str], settings: Settings
) -> tuple[Settings, float]:
    """The settings of the decoder with the best score, and their segment F1.

    One setting after the other is tried at each of its values, until none gets better; once with
    one label at a time and once with every label by itself. Of equals, what was first stays: the
    settings that are given, and the smaller values.

    Raises:
        UserError: there is no true event.
    """
    if not any(truth.events[absolute(one.path)] for one in recordings):
        raise UserError(f"{truth.file} has no event in these recordings to choose by")
    step = median_step(recordings)
    spans = tuple(round(span * step, 3) for span in SPANS)
    best, best_score = settings, score(recordings, truth, classes, settings)
    for start in (replace(settings, on=()), replace(settings, on=(0.5,))):
        now, now_score = start, score(recordings, truth, classes, start)
        for _ in range(ROUNDS):
            before = now
            for tried in neighbours(now, spans):
                found = score(recordings, truth, classes, tried)
                if found > now_score:
                    now, now_score = tried, found
            if now == before:
                break
        if now_score > best_score:
            best, best_score = now, now_score
    return best, best_score[0]


def median_step(recordings: Sequence[Windows]) -> float:
    """Seconds from one window to the next."""
    return float(np.median(np.concatenate([np.diff(one.bounds) for one in recordings])))


def neighbours(settings: Settings, spans: Sequence[float]) -> Iterator[Settings]:
    """Settings with another value of one of them."""
    values = SHARES | {"shortest": tuple(spans), "merge": tuple(spans)}
    del values["threshold" if settings.on else "on"]
    for name, choices in values.items():
        for value in choices:
            if value != getattr(settings, name):
                yield replace(settings, **{name: value})


def write(
    folder: Path, figures: dict[str, Any], judged: Sequence[events.Recording], labels: Sequence[str]
) -> None:
    """Writes the files of an evaluation (`FILES`), each whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "start", "end", "label", "probability", "from"))
    for one in judged:
        for kind, own in (("truth", one.truth), ("prediction", one.found)):
            for event in own:
                start, end = round(event.start, 3), round(event.end, 3)
                row = (one.path, start, end, event.label, round(event.probability, 6), kind)
                table.writerow(row)
    storage.write_whole(folder / "events.csv", text.getvalue())
    figure = timeline_figure(judged, labels)
    for kind in ("png", "svg"):
        plots.save_figure(figure, folder / f"timeline.{kind}")
    storage.write_whole(folder / "metrics.json", json.dumps(figures, indent=2) + "\n")

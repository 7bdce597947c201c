"""The picture of time lines: of each recording, truth over prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vid3d.evaluation.events import Recording
from vid3d.evaluation.plots import DISTINCT_COLOURS, plain, squeeze

MOST = 40  # recordings of a picture
ROW = 0.62  # inches of a recording


def without_common_folder(paths: Sequence[str]) -> list[str]:
    """The paths from where they part; of a single one its name."""
    parts = [Path(path).parts for path in paths]
    shared = 0
    while all(len(own) - 1 > shared and own[shared] == parts[0][shared] for own in parts):
        shared += 1
    return [str(Path(*own[shared:])) for own in parts]


def timeline_figure(recordings: Sequence[Recording], labels: Sequence[str]) -> Figure:
    """Draws each recording as two bars over time: truth above, prediction below it.

    Events of different labels that overlap share the height. Of more than `MOST` recordings, the
    first are drawn.

    Args:
        recordings: with truth and prediction.
        labels: in the order of their colours.
    """
    drawn = recordings[:MOST]
    few = len(labels) <= DISTINCT_COLOURS
    colours = matplotlib.colormaps["tab10" if few else "turbo"]
    colour = {label: colours(k if few else k / (len(labels) - 1)) for k, label in enumerate(labels)}
    longest = max(one.seconds for one in drawn)
    unit, name = (60.0, "minutes") if longest > 300 else (1.0, "seconds")
    figure = Figure(figsize=(12, 1.3 + ROW * len(drawn)), layout="constrained")
    axes = figure.subplots()
    for row, one in enumerate(drawn):
        for top, events in ((row - 0.4, one.truth), (row + 0.02, one.found)):
            axes.broken_barh([(0, one.seconds / unit)], (top, 0.38), facecolors="0.93")
            for event in events:
                together = sorted(
                    {e.label for e in events if e.start < event.end and event.start < e.end},
                    key=labels.index,
                )
                height = 0.38 / len(together)
                axes.broken_barh(
                    [(event.start / unit, (event.end - event.start) / unit)],
                    (top + height * together.index(event.label), height),
                    facecolors=colour[event.label],
                )
    names = without_common_folder([one.path for one in drawn])
    axes.set_yticks(range(len(drawn)), [plain(squeeze(name, 40)) for name in names], fontsize=7)
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    beside = axes.twinx()  # which bar is which
    beside.set_ylim(axes.get_ylim())
    middles = [row + offset for row in range(len(drawn)) for offset in (-0.21, 0.21)]
    beside.set_yticks(middles, ["truth", "prediction"] * len(drawn), fontsize=6)
    beside.tick_params(length=0)
    axes.set_xlim(0, longest / unit)
    axes.set_xlabel(name)
    left = len(recordings) - len(drawn)
    axes.set_title(
        "truth over prediction" + f" ({left} more recordings are not drawn)" * bool(left),
        fontsize=10,
    )
    handles = [Patch(color=colour[label], label=plain(squeeze(label, 30))) for label in labels]
    figure.legend(handles=handles, loc="outside right upper", fontsize=7)
    return figure

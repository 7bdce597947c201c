"""Which clips of a video answer for it: the views of evaluation, and for a long one the windows of a time line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ml_collections import ConfigDict

from vid3d.data.clips import clip_indices, evaluation_sampling, frame_interval, view_positions
from vid3d.inference.prediction import Segment
from vid3d.inference.windows import window_of

LONG = 1.5  # training videos: what is longer gets a time line


@dataclass
class Video:
    """A video on its way through the network.

    Attributes:
        frames: the fitted frames from the first on; may be called again.
        indices: the frames of each clip: the views of evaluation, then the windows of the time line.
        bounds: seconds at which the windows begin, and the end of the last; empty where there is no time line.
        probabilities_NK: what the network said of each clip so far.
        missing: clips that it has not seen.
        damage: what is wrong with the file, or "".
    """

    frames: Callable[[], Iterable[np.ndarray]]
    indices: list[np.ndarray]
    bounds: list[float]
    num_frames: int
    seconds: float
    probabilities_NK: np.ndarray
    missing: int
    damage: str = ""


def plan(
    config: ConfigDict,
    times_N: np.ndarray,
    frames: Callable[[], Iterable[np.ndarray]],
    *,
    num_classes: int,
    window_seconds: float,
) -> Video:
    """Chooses the clips that answer for a video.

    Args:
        config: the whole config.
        times_N: seconds of the frames.
        frames: the fitted frames from the first on; may be called again.
        num_classes: that the network tells apart.
        window_seconds: median duration of the training videos; 0 is unknown.
    """
    data, views = config.data, config.eval.views
    stored_N = times_N[: data.stored_frames or None]  # evaluation knows only these
    sampling = evaluation_sampling(data, views)
    indices = [
        clip_indices(stored_N, data, sampling=sampling, position=position)
        for position in view_positions(views)
    ]
    seconds = round(float(times_N[-1]) + frame_interval(times_N), 6)
    bounds: list[float] = []
    window = window_of(data, window_seconds)
    tiles = window.tiles(times_N)
    if len(tiles) > 1 and seconds > LONG * window_seconds:
        indices += [
            first + clip_indices(times_N[first:stop], data, sampling=window.sampling)
            for first, stop in tiles
        ]
        # The last window overlaps the one before it, which has the say as far as it goes.
        begins = [first for first, _ in tiles[:-1]] + [tiles[-2][1]]
        bounds = [float(times_N[first]) for first in begins] + [seconds]
    return Video(
        frames=frames,
        indices=indices,
        bounds=bounds,
        num_frames=len(times_N),
        seconds=seconds,
        probabilities_NK=np.empty((len(indices), num_classes), np.float32),
        missing=len(indices),
    )


def time_line(video: Video, classes: Sequence[str]) -> tuple[Segment, ...]:
    """The windows of a video that the network has seen, neighbours of one label made one segment."""
    if not video.bounds:
        return ()
    windows_NK = video.probabilities_NK[-(len(video.bounds) - 1) :]
    labels_N = windows_NK.argmax(axis=1)
    cuts = [0, *(np.flatnonzero(np.diff(labels_N)) + 1).tolist(), len(labels_N)]
    return tuple(
        Segment(
            start=video.bounds[first],
            end=video.bounds[stop],
            label=classes[labels_N[first]],
            probability=float(windows_NK[first:stop, labels_N[first]].mean()),
        )
        for first, stop in pairwise(cuts)
    )

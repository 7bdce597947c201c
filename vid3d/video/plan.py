"""Which clips of a video answer for it, in evaluation and prediction, and how they are combined.

A video of training length is answered by the views of evaluation. A longer one is cut into windows
of the length that the network knows, and their probabilities make the answer (`eval.long_videos`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from vid3d.video.clips import clip_indices, duration, evaluation_sampling, view_positions
from vid3d.video.windows import temporal_window

LONG = 1.5  # times the training videos: beyond, a video is long
NO_LABEL = -1  # of a window without a probable class
UNSEEN = 4  # times the views, where the length of the training videos is unknown


class Durations(NamedTuple):
    """Seconds of the training videos: the median, and what 95% of them do not exceed.

    0 is unknown.
    """

    median: float = 0.0
    p95: float = 0.0

    @classmethod
    def of(cls, meta: dict[str, Any]) -> Durations:
        """Those in the meta of a checkpoint; an imported one knows the median at most."""
        return cls(meta["window_seconds"], meta.get("p95_seconds", 0.0))

    def limit(self) -> float:
        """A video of more seconds than this is long."""
        return LONG * max(self.median, self.p95)

    def __str__(self) -> str:
        most = f", 95% up to {self.p95:.3g} s" if self.p95 else ""
        return f"median {self.median:.3g} s{most}"


UNKNOWN = Durations()


@dataclass(frozen=True)
class Plan:
    """The clips of a video.

    Attributes:
        indices: the frames of each clip, int64 [T].
        bounds: seconds at which the stretches that the clips answer for begin, and the end of the
            last; empty where every clip answers for the whole video.
        note: how the answer is made, where the video is not answered like one of training length;
            otherwise "".
    """

    indices: list[np.ndarray]
    bounds: list[float]
    note: str

    def weights(
        self, probabilities_NK: np.ndarray, long_videos: str, *, threshold: float = 0.0
    ) -> np.ndarray:
        """How much each clip counts in the answer, which is the weighted mean of the probabilities.

        Args:
            probabilities_NK: what the network said of each clip.
            long_videos: `eval.long_videos`.
            threshold: a window whose largest probability is below it has no label.

        Returns:
            float64 [N] with the sum 1: by the time that a clip answers for and, with "longest", 0
            outside of the longest stretch of windows with one label (of equally long ones the
            first; where no window has a label, of those without).
        """
        if not self.bounds:
            return np.full(len(self.indices), 1 / len(self.indices))
        weights_N = np.diff(self.bounds)
        if long_videos == "longest":
            labels_N = window_labels(probabilities_NK, threshold)
            first, stop = max(
                stretches(labels_N),
                key=lambda stretch: (
                    labels_N[stretch[0]] != NO_LABEL,
                    round(self.bounds[stretch[1]] - self.bounds[stretch[0]], 6),
                ),
            )
            weights_N[:first] = weights_N[stop:] = 0
        return weights_N / weights_N.sum()


def lengths(times_N: np.ndarray, tiles: list[tuple[int, int]]) -> str:
    """How long the windows are, without the last, which may be shorter: "1.6", or "0.4 to 203"."""
    seconds_N = np.array([times_N[stop] - times_N[first] for first, stop in tiles[:-1]])
    shortest, longest = f"{seconds_N.min():.3g}", f"{seconds_N.max():.3g}"
    return shortest if shortest == longest else f"{shortest} to {longest}"


def window_labels(probabilities_NK: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """The most probable class of each window, int64 [N]; `NO_LABEL` if below a threshold."""
    known_N = probabilities_NK.max(axis=1) >= threshold
    return np.where(known_N, probabilities_NK.argmax(axis=1), NO_LABEL)


def smoothed(probabilities_NK: np.ndarray, smoothing: float) -> np.ndarray:
    """Probabilities of successive windows, each with a share of those before, as `live` does."""
    smooth_NK = probabilities_NK.copy()
    for before_K, now_K in pairwise(smooth_NK):
        now_K += smoothing * (before_K - now_K)
    return smooth_NK


def stretches(labels_N: np.ndarray) -> list[tuple[int, int]]:
    """Neighbouring windows with the same label, as (first, one past the last)."""
    cuts = [0, *(np.flatnonzero(np.diff(labels_N)) + 1).tolist(), len(labels_N)]
    return list(pairwise(cuts))


def plan(
    times_N: np.ndarray,
    data: ConfigDict,
    evaluation: ConfigDict,
    trained: Durations,
    *,
    window: float = 0.0,
    overlap: float = 0.0,
) -> Plan:
    """Chooses the clips that answer for a video.

    With `data.stored_frames` evaluation knows only the first frames, and they are the video here,
    too. Where the length of the training videos is unknown, clips that are spread over the whole
    video (sampling "uniform") answer for any length; with clips of a fixed length, a video is long
    where the views together cover less than a quarter of it.

    Args:
        times_N: seconds of the frames, ascending, float64 [N].
        data: `config.data`.
        evaluation: `config.eval`; views and long_videos are read.
        trained: how long the training videos are.
        window: seconds of a window where sampling is "uniform", and instead of the training videos
            what a long video is compared with; 0: as long as the training videos.
        overlap: share of a window that the next one looks at, too.
    """
    stored_N = times_N[: data.stored_frames or None]
    views, seconds = evaluation.views, duration(stored_N)
    windows = temporal_window(data, window or trained.median)
    if window:
        limit, reason = LONG * window, f"longer than predict.window ({window:g} s)"
    elif trained.median:
        limit, reason = trained.limit(), f"longer than the training videos ({trained})"
    else:
        reason = "how long the training videos were is unknown"
        uniform = data.sampling == "uniform"
        limit = math.inf if uniform else UNSEEN * views * windows.duration(stored_N)
    tiles = windows.tiles(stored_N, overlap) if seconds > limit else []
    bounds: list[float] = []
    if len(tiles) > 1 and evaluation.long_videos != "views":
        indices = [
            first + clip_indices(stored_N[first:stop], data, sampling=windows.sampling)
            for first, stop in tiles
        ]
        # Of what two windows share each answers for one half. So the last one, which is moved back
        # to end with the video, answers for half a window at least, and never for a single frame.
        middles = [
            float(stored_N[first] + stored_N[stop]) / 2 for (_, stop), (first, _) in pairwise(tiles)
        ]
        bounds = [float(stored_N[0]), *middles, seconds]
        longest = "the longest stretch with one label of " * (evaluation.long_videos == "longest")
        shared = f" that overlap by {overlap:.0%}" if overlap else ""
        seconds_each = lengths(stored_N, tiles)
        note = f"from {longest}{len(tiles)} windows of {seconds_each} s{shared}: {reason}"
    else:
        sampling = evaluation_sampling(data, views)
        indices = [
            clip_indices(stored_N, data, sampling=sampling, position=position)
            for position in view_positions(views)
        ]
        note = f"from {views} clips of the whole video: {reason}".replace(" 1 clips", " one clip")
        note *= len(tiles) > 1 or limit == math.inf
    if len(stored_N) < len(times_N):
        note = (
            f"of the first {len(stored_N)} frames: evaluation knows no others (data.stored_frames)"
            + (f"; {note}" if note else "")
        )
    return Plan(indices, bounds, note)

"""Which frames make a clip, in training, evaluation and live prediction; and the clip's shape."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict


def clip_indices(
    times_N: np.ndarray, data: ConfigDict, *, sampling: str, position: float = 0.5
) -> np.ndarray:
    """The frames of one clip.

    With "first", "center" and "random", a clip is `data.num_frames` frames at a distance of
    `data.frame_step` or, where `data.fps` is set, the frames nearest to the times t, t + 1/fps, t +
    2/fps and so on. With "uniform" the video is cut into `data.num_frames` equal pieces, and each
    piece gives one frame.

    Args:
        times_N: seconds of the video's frames, ascending, float64 [N].
        data: `config.data`; num_frames, frame_step, fps and short are read.
        sampling: "first", "center", "uniform" or "random".
        position: from 0 to 1. Where the clip starts in what the video leaves ("random"; "center"
            for several views), or where in its piece each frame lies ("uniform"). "first" ignores
            it.

    Returns:
        Frame numbers, int64 [num_frames], ascending unless a short video is looped.

    Raises:
        ValueError: the video has no frames, or the sampling is unknown.
    """
    num_frames, total = data.num_frames, len(times_N)
    if not total:
        raise ValueError("a video without frames has no clips")
    if sampling not in ("first", "center", "uniform", "random"):
        raise ValueError(f"no sampling {sampling!r}")
    if sampling == "first":
        position = 0.0
    if sampling == "uniform":
        return uniform_indices(times_N, data, position=position)
    steps = np.arange(num_frames)
    if data.fps > 0:
        seconds = times_N[-1] - times_N[0]
        spare = seconds - (num_frames - 1) / data.fps
        wanted = max(spare, 0.0) * position + steps / data.fps
        if data.short == "loop" and spare < 0:
            wanted = wanted % (seconds + frame_interval(times_N))
        return nearest(times_N, times_N[0] + wanted)
    span = (num_frames - 1) * data.frame_step + 1
    spare = total - span
    start = min(int(max(spare, 0) * position + position), max(spare, 0))
    indices = start + steps * data.frame_step
    return indices % total if data.short == "loop" else np.minimum(indices, total - 1)


def uniform_indices(times_N: np.ndarray, data: ConfigDict, *, position: float) -> np.ndarray:
    """One frame of each of `data.num_frames` equal pieces, of time with `data.fps`, else of frames.

    Source: the segments of Temporal Segment Networks (Wang et al., ECCV 2016).
    """
    shares = (np.arange(data.num_frames) + min(position, 1 - 1e-9)) / data.num_frames
    if data.fps > 0:
        length = times_N[-1] - times_N[0] + frame_interval(times_N)
        return nearest(times_N, times_N[0] + shares * length - frame_interval(times_N) / 2)
    return np.minimum((shares * len(times_N)).astype(np.int64), len(times_N) - 1)


def nearest(times_N: np.ndarray, wanted_T: np.ndarray) -> np.ndarray:
    """Frame numbers whose times are nearest to the wanted ones, int64 [T].

    Of two equally near, the earlier.
    """
    middles = (times_N[1:] + times_N[:-1]) / 2
    # A microsecond keeps sums of rounded times from deciding a tie.
    return np.searchsorted(middles, wanted_T - 1e-6, side="left")


def frame_interval(times_N: np.ndarray) -> float:
    """Mean seconds from one frame to the next; 0.04 for a single frame."""
    return float(times_N[-1] - times_N[0]) / (len(times_N) - 1) if len(times_N) > 1 else 0.04


def duration(times_N: np.ndarray) -> float:
    """Seconds that a video takes, to the microsecond.

    Its last frame is shown as long as the median one: where the rate varies, one long pause would
    make the mean interval many times longer.
    """
    last = float(np.median(np.diff(times_N))) if len(times_N) > 1 else frame_interval(times_N)
    return round(float(times_N[-1]) + last, 6)


def view_positions(views: int) -> tuple[float, ...]:
    """Positions of `views` evenly spaced clips: the middle for one, 1/4 and 3/4 for two."""
    return tuple((k + 0.5) / views for k in range(views))


def evaluation_sampling(data: ConfigDict, views: int = 1) -> str:
    """The sampling of evaluation: "center" for "random", and for "first" with several views."""
    if data.sampling == "random" or (data.sampling == "first" and views > 1):
        return "center"
    return data.sampling


def is_short(times_N: np.ndarray, data: ConfigDict) -> bool:
    """Whether the video has fewer frames, or less time, than one clip takes."""
    if data.sampling == "uniform":
        return len(times_N) < data.num_frames
    if data.fps > 0:
        seconds = float(times_N[-1] - times_N[0])
        return seconds + frame_interval(times_N) / 2 < (data.num_frames - 1) / data.fps
    return len(times_N) < clip_frames(data)


def clip_frames(data: ConfigDict) -> int:
    """Consecutive frames that a clip spans; 0 where it spans a time or the whole video."""
    if data.fps > 0 or data.sampling == "uniform":
        return 0
    return (data.num_frames - 1) * data.frame_step + 1

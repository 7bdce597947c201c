"""Which frames one answer looks at: windows over a file, and the newest one in a stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from vid3d.video.clips import clip_frames, frame_interval


@dataclass(frozen=True)
class TemporalWindow:
    """How much video one answer looks at: a number of frames or, where `frames` is 0, a time.

    A clip of every n-th frame spans a number of frames, a clip sampled by time a time, and a clip
    that is spread over the whole video as much time as the videos took that the network was trained
    on.
    """

    frames: int
    seconds: float
    sampling: str  # of the clip inside the window

    def start(self, times_N: np.ndarray) -> int | None:
        """The first frame of the window that ends with the last frame.

        None where there are too few frames.
        """
        if self.frames:
            return len(times_N) - self.frames if len(times_N) >= self.frames else None
        # Half a frame of tolerance: neither the clocks of cameras nor floating-point times are
        # exact.
        latest = times_N[-1] - self.span(times_N) + frame_interval(times_N) / 2
        reached = int(np.searchsorted(times_N, latest, side="right"))
        return reached - 1 if reached else None

    def span(self, times_N: np.ndarray) -> float:
        """Seconds from the first to the last frame of a window by time."""
        if self.sampling == "uniform":
            return self.seconds - frame_interval(times_N)  # the last frame's own time counts, too
        return self.seconds

    def duration(self, times_N: np.ndarray) -> float:
        """Seconds that a window takes in a video, its last frame's own time included."""
        interval = frame_interval(times_N)
        return self.frames * interval if self.frames else self.span(times_N) + interval

    def tiles(self, times_N: np.ndarray, overlap: float = 0.0) -> list[tuple[int, int]]:
        """Windows over a whole video, as (first frame, one past the last frame).

        The last one is moved back so that it ends with the video, and overlaps the one before. A
        video shorter than a window is one window.

        Args:
            times_N: seconds of the frames, ascending.
            overlap: the share of a window that the next one looks at, too; 0 is side by side.
        """
        last = self.start(times_N)
        if not last:
            return [(0, len(times_N))]
        tiles, start = [], 0
        while start < last:
            stop = self.following(times_N, start)
            if stop == len(times_N):  # the last one, but for the rounding of half a frame
                break
            tiles.append((start, stop))
            start = self.following(times_N, start, overlap)
        return [*tiles, (min(start, last), len(times_N))]

    def following(self, times_N: np.ndarray, first: int, overlap: float = 0.0) -> int:
        """The first frame of the window that follows the one from frame `first` on."""
        if self.frames:
            return first + max(round(self.frames * (1 - overlap)), 1)
        interval = frame_interval(times_N)
        whole = self.span(times_N) + interval
        end = times_N[first] + self.span(times_N) + interval / 2 - overlap * whole
        return max(int(np.searchsorted(times_N, end)), first + 1)


def temporal_window(data: ConfigDict, seconds: float) -> TemporalWindow:
    """The window of a model.

    Args:
        data: `config.data`.
        seconds: its duration for clips that are spread over the whole video (sampling "uniform").
    """
    if data.sampling == "uniform":
        return TemporalWindow(frames=0, seconds=seconds, sampling="uniform")
    if data.fps > 0:
        return TemporalWindow(frames=0, seconds=(data.num_frames - 1) / data.fps, sampling="first")
    return TemporalWindow(frames=clip_frames(data), seconds=0.0, sampling="first")

"""Which frames one answer looks at: windows side by side over a file, and the window that ends now in a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from vid3d.data.clips import clip_frames, frame_interval


@dataclass(frozen=True)
class Window:
    """How much video one answer looks at: a number of frames or, where `frames` is 0, a time.

    A clip of every n-th frame spans a number of frames, a clip sampled by time a time, and a clip that is spread over
    the whole video as much time as the videos took that the network was trained on.
    """

    frames: int
    seconds: float
    sampling: str  # of the clip inside the window

    def start(self, times_N: np.ndarray) -> int | None:
        """The first frame of the window that ends with the last frame; None where there are too few frames."""
        if self.frames:
            return len(times_N) - self.frames if len(times_N) >= self.frames else None
        # Half a frame of tolerance: neither the clocks of cameras nor floating-point times are exact.
        latest = times_N[-1] - self.span(times_N) + frame_interval(times_N) / 2
        reached = int(np.searchsorted(times_N, latest, side="right"))
        return reached - 1 if reached else None

    def span(self, times_N: np.ndarray) -> float:
        """Seconds from the first to the last frame of a window by time."""
        if self.sampling == "uniform":
            return self.seconds - frame_interval(times_N)  # the last frame's own time counts, too
        return self.seconds

    def tiles(self, times_N: np.ndarray) -> list[tuple[int, int]]:
        """Windows side by side over a whole video, as (first frame, one past the last frame).

        The last one is moved back so that it ends with the video. A video shorter than a window is one window.
        """
        last = self.start(times_N)
        if not last:
            return [(0, len(times_N))]
        tiles, start = [], 0
        while start < last:
            if self.frames:
                stop = start + self.frames
            else:
                end = times_N[start] + self.span(times_N) + frame_interval(times_N) / 2
                stop = max(int(np.searchsorted(times_N, end)), start + 1)
                if stop == len(times_N):  # the last one, but for the rounding of half a frame
                    break
            tiles.append((start, stop))
            start = stop
        return [*tiles, (min(start, last), len(times_N))]


def window_of(data: ConfigDict, seconds: float) -> Window:
    """The window of a model.

    Args:
        data: `config.data`.
        seconds: its duration for clips that are spread over the whole video (sampling "uniform").
    """
    if data.sampling == "uniform":
        return Window(frames=0, seconds=seconds, sampling="uniform")
    if data.fps > 0:
        return Window(frames=0, seconds=(data.num_frames - 1) / data.fps, sampling="first")
    return Window(frames=clip_frames(data), seconds=0.0, sampling="first")


def gather(
    frames: Iterable[np.ndarray], indices: list[np.ndarray]
) -> Iterator[tuple[int, np.ndarray]]:
    """Picks clips out of frames that come in order, and holds only frames that a later clip needs.

    Args:
        frames: uint8 [H, W, C] each.
        indices: the frame numbers of each clip, in any order.

    Yields:
        (number of the clip, uint8 [T, H, W, C]), each as soon as its last frame has come.
    """
    ends: dict[int, list[int]] = {}  # frame -> the clips that it completes
    needed_until: dict[int, int] = {}  # frame -> the last clip-completing frame that waits for it
    for number, clip in enumerate(indices):
        end = int(clip.max())
        ends.setdefault(end, []).append(number)
        for i in clip.tolist():
            needed_until[i] = max(needed_until.get(i, 0), end)
    held: dict[int, np.ndarray] = {}
    for i, frame in enumerate(frames):
        if i in needed_until:
            held[i] = frame
        if i in ends:
            for number in ends[i]:
                yield number, np.stack([held[j] for j in indices[number].tolist()])
            held = {j: kept for j, kept in held.items() if needed_until[j] > i}

"""A sliding window over a stream of frames."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vid3d.errors import UserError
from vid3d.inference.prediction import Prediction
from vid3d.video.clips import clip_indices
from vid3d.video.resize import fit, fitting
from vid3d.video.windows import temporal_window

if TYPE_CHECKING:
    from vid3d.inference.classifier import Classifier


class LabelStream(Protocol):
    """What labels frames as they come: `Stream`, or `ContinualStream`."""

    def push(self, frame_HWC: np.ndarray, seconds: float | None = None) -> Prediction | None:
        """Adds a frame; returns the newest label, or None where there is none yet."""

    def add(self, frame_HWC: np.ndarray, seconds: float | None = None) -> bool:
        """Adds a frame; returns whether `predict` has a label."""

    def predict(self) -> Prediction | None:
        """The newest label."""

    def clear(self) -> None:
        """Forgets the frames and the smoothed probabilities, as after a gap."""


class Stream:
    """Labels the newest window of a stream.

        stream = classifier.stream(fps=30)
        for frame in my_camera:
            prediction = stream.push(frame)  # None until the window is full

    Each frame is fitted to the network's size once, when it arrives, and kept as long as a window
    needs it. `add` and `predict` are the two halves of `push` and may be called from two threads.
    """

    def __init__(self, classifier: Classifier, *, fps: float):
        """See `Classifier.stream`."""
        self.classifier = classifier
        self.fps = fps
        self.settings = classifier.config.live
        self.data = classifier.config.data
        self._window = temporal_window(self.data, self.settings.window or classifier.window_seconds)
        self._lock = threading.Lock()
        self._ring: deque[tuple[np.ndarray, float]] = deque()
        self._smooth_K: np.ndarray | None = None
        self._count = 0
        self._gaps = 0

    def push(self, frame_HWC: np.ndarray, seconds: float | None = None) -> Prediction | None:
        """Adds a frame and labels the window that ends with it.

        Args:
            frame_HWC: uint8 RGB of any size.
            seconds: the time of the frame, ascending; by default frames come at `fps`.

        Returns:
            The prediction, or None until the window is full.
        """
        return self.predict() if self.add(frame_HWC, seconds) else None

    def add(self, frame_HWC: np.ndarray, seconds: float | None = None) -> bool:
        """Adds a frame without labelling anything; returns whether the window is full."""
        fitted = fit(check_frame(frame_HWC), **fitting(self.data))
        with self._lock:
            self._ring.append((fitted, self._count / self.fps if seconds is None else seconds))
            self._count += 1
            start = self._window.start(self._times())
            # The frame before the window stays: the next one's time may move it back into the
            # window.
            for _ in range((start or 0) - 1):
                self._ring.popleft()
            return start is not None

    def predict(self) -> Prediction | None:
        """Labels the newest window, or all frames so far; None before the first frame.

        Probabilities are smoothed over time by `live.smoothing`, and the label is "unknown" if the
        largest is below `live.threshold`. The segment of the prediction holds the start and end of
        the window.
        """
        with self._lock:
            if not self._ring:
                return None
            times_N = self._times()
            first = self._window.start(times_N) or 0
            times_N = times_N[first:]
            window = list(islice(self._ring, first, None))
            previous_K, gaps = self._smooth_K, self._gaps
        indices = clip_indices(times_N, self.data, sampling=self._window.sampling)
        clip_THWC = np.stack([window[i][0] for i in indices.tolist()])
        now_K = self.classifier.probabilities(clip_THWC[None])[0]
        if previous_K is not None and self.settings.smoothing:
            now_K = previous_K + (1 - self.settings.smoothing) * (now_K - previous_K)
        with self._lock:
            if gaps == self._gaps:
                self._smooth_K = now_K
        return Prediction.of(
            self.classifier.classes,
            now_K,
            num_frames=len(window),
            start=float(times_N[0]),
            end=float(times_N[-1]),
            threshold=self.settings.threshold,
        )

    def clear(self) -> None:
        """Forgets the frames and the smoothed probabilities, as after a gap."""
        with self._lock:
            self._ring.clear()
            self._smooth_K = None
            self._gaps += 1

    def _times(self) -> np.ndarray:
        return np.array([seconds for _, seconds in self._ring])


def check_frame(frame_HWC: Any) -> np.ndarray:
    """One frame as an array.

    Raises:
        UserError: it is not uint8 RGB [H, W, 3].
    """
    array = np.asarray(frame_HWC)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UserError(
            "a frame has to be uint8 RGB [height, width, 3], this one is "
            f"{array.dtype} {list(array.shape)}"
        )
    return array

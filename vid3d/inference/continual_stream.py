"""Labels of a stream by a network that computes only what is new, see `vid3d.continual`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from vid3d.continual.network import ContinualNetwork
from vid3d.continual.values import CannotStream
from vid3d.errors import UserError
from vid3d.inference.prediction import Prediction
from vid3d.inference.stream import check_frame
from vid3d.models.on_clips import logits_of
from vid3d.video.resize import fit, fitting, stored_shape

if TYPE_CHECKING:
    from vid3d.inference.classifier import Classifier

LONGEST_GAP = 1.0  # seconds without a frame after which the past no longer counts
LONGEST_QUEUE = 64  # steps


class ContinualStream:
    """Labels the newest frames of a stream, at the cost of a step instead of a clip.

        stream = classifier.stream(fps=30, mode="stream")
        for frame in my_camera:
            prediction = stream.push(frame)  # None until the network is warmed up

    Frames are taken at the rate of the training clips. After a gap of a second, or where times run
    backwards, the network starts anew. `add` and `predict` are the two halves of `push` and may be
    called from two threads.

    Attributes:
        interval_frames: the network takes one frame of so many; 0 where it takes them by time.
        interval: seconds between two frames that the network takes, if they come at `fps`.
        warm_up: frames that the network takes before the first answer.
        starts: how often the network has started: 1, and more after gaps.
    """

    def __init__(self, classifier: Classifier, *, fps: float):
        """See `Classifier.stream`.

        Raises:
            UserError: the network has no form that takes a frame at a time.
        """
        if classifier.network.engine != "jax":
            raise UserError("live.mode=stream is computed by JAX: leave out --engine")
        self.classifier = classifier
        self.fps = fps
        self.settings, self.data = classifier.config.live, classifier.config.data
        self.interval_frames, self.interval = frame_distance(classifier, fps)
        logits = logits_of(classifier.config, len(classifier.classes))
        shape = stored_shape(self.data)
        try:
            self._network = ContinualNetwork(logits, classifier.weights, shape, dtype=np.uint8)
        except CannotStream as why:
            raise UserError(
                f"{classifier.config.model.name} cannot take a frame at a time: {why}; "
                "live.mode=clip can"
            ) from None
        self.warm_up = self._network.warm_up
        self._step = jax.jit(self._probabilities, donate_argnums=1)
        self._state = self._network.start()
        self._lock = threading.Lock()
        self._compute = threading.Lock()
        self._smooth_K: np.ndarray | None = None
        self._queue: list[np.ndarray] = []
        self.starts = 0
        self._count = 0  # frames pushed
        self._newest: float | None = None  # seconds of the last frame
        self._is_new = True  # since the last step
        self._restart()

    def push(self, frame_HWC: np.ndarray, seconds: float | None = None) -> Prediction | None:
        """Adds a frame and gives the newest label.

        Args:
            frame_HWC: uint8 RGB of any size.
            seconds: the time of the frame; by default frames come at `fps`.

        Returns:
            The prediction, or None: the network is not warmed up, or has had no step since.
        """
        return self.predict() if self.add(frame_HWC, seconds) else None

    def add(self, frame_HWC: np.ndarray, seconds: float | None = None) -> bool:
        """Adds a frame without labelling anything; returns whether `predict` has a new label."""
        fitted = fit(check_frame(frame_HWC), **fitting(self.data))
        with self._lock:
            now = self._count / self.fps if seconds is None else seconds
            self._count += 1
            last = self._newest
            if last is not None and not last <= now <= last + max(LONGEST_GAP, 2 * self.interval):
                self._restart()
            self._newest = now
            for _ in range(self._due(now)):
                self._queue.append(fitted)
                self._taken += 1
            if len(self._queue) > LONGEST_QUEUE * self._network.step_frames:
                self._restart()  # too slow for the stream
            steps = len(self._queue) // self._network.step_frames
            return steps > 0 and self._taken >= self.warm_up

    def predict(self) -> Prediction | None:
        """Takes all steps that are due, and labels the newest; None where there is no new label.

        Probabilities are smoothed over time by `live.smoothing`, and the label is "unknown" if the
        largest is below `live.threshold`. The segment of the prediction holds the times of the
        first and the last frame that the answer averages over; the network looks at frames before
        and after it as well.
        """
        with self._compute:
            with self._lock:
                size = self._network.step_frames
                whole = len(self._queue) // size * size
                frames, self._queue = self._queue[:whole], self._queue[whole:]
                starts, now, taken = self.starts, self._newest, self._taken
                origin, seen = self._origin, self._seen
                if self._is_new:
                    self._state = self._network.restarted(self._state, jnp.ones(1, bool))
                    self._smooth_K, self._is_new = None, False
            now_K = None
            for start in range(0, whole, size):
                chunk = np.stack(frames[start : start + size])[None]
                self._state, found_BK, ready_B = self._step(
                    self.classifier.weights, self._state, chunk
                )
                if ready_B[0]:
                    now_K = self._smoothed(np.asarray(found_BK)[0])
        if now_K is None or now is None or starts != self.starts:
            return None
        interval = self.interval
        if self.interval_frames and seen > 1:  # as they came
            interval = self.interval_frames * (now - origin) / (seen - 1)
        first, last = (now - frames * interval for frames in self._network.behind)
        return Prediction.of(
            self.classifier.classes,
            now_K,
            num_frames=taken,
            start=first,
            end=last,
            threshold=self.settings.threshold,
        )

    def clear(self) -> None:
        """Forgets the frames and the smoothed probabilities, as after a gap."""
        with self._lock:
            self._restart()

    def _restart(self) -> None:
        self._queue = []
        self._newest = None
        self._taken = 0  # frames since
        self._origin = 0.0  # seconds of the first frame
        self._seen = 0
        self._is_new = True
        self.starts += 1

    def _due(self, now: float) -> int:
        """How often the network takes a frame: for clips by time, the rate may be another."""
        self._seen += 1
        if self._seen == 1:
            self._origin = now
        if self.interval_frames:
            return int((self._seen - 1) % self.interval_frames == 0)
        tolerance = self.interval / 2
        return max(0, int((now - self._origin + tolerance) / self.interval) + 1 - self._taken)

    def _smoothed(self, now_K: np.ndarray) -> np.ndarray:
        if self._smooth_K is not None and self.settings.smoothing:
            now_K = self._smooth_K + (1 - self.settings.smoothing) * (now_K - self._smooth_K)
        self._smooth_K = now_K
        return now_K

    def _probabilities(self, weights: Any, state: Any, frames_BTHWC: jax.Array) -> Any:
        state, logits_BK, ready_B = self._network.step(weights, state, frames_BTHWC)
        return state, jax.nn.softmax(logits_BK), ready_B


def frame_distance(classifier: Classifier, fps: float) -> tuple[int, float]:
    """Of the frames of a clip: in frames, or 0 where clips are sampled by time; in seconds.

    Clips that are spread over a whole video have frames as far apart as in the median one of the
    training.
    """
    data = classifier.config.data
    if data.sampling == "uniform":
        seconds = classifier.config.live.window or classifier.window_seconds
        if not seconds:
            raise UserError(
                "clips are spread over whole videos, and how long these were is unknown: "
                "set live.window to seconds"
            )
        return 0, seconds / data.num_frames
    return (0, 1 / data.fps) if data.fps > 0 else (data.frame_step, data.frame_step / fps)

"""Labels and explains uploads with one classifier, within bounds; any thread may call it."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from vid3d import __version__
from vid3d.engine.batched import Batched
from vid3d.errors import LimitError, UserError
from vid3d.inference.classifier import BATCH_SIZE, Classifier, Source
from vid3d.inference.prediction import as_dict
from vid3d.inference.video import QueuedVideo, gather, label_videos
from vid3d.process import cores
from vid3d.serve.bounds import Bounds
from vid3d.serve.metrics import Metrics
from vid3d.video.records import Limits, encode_jpeg

MAX_PICTURES = 32  # of the frames that the network saw, spread evenly
MAX_EXPLAINED = 64  # clips
BATCH_SIZES = (1, 2, 4, 8)  # that JAX compiles


class Service:
    """A classifier whose files are bounded and whose clips share batches."""

    def __init__(
        self, classifier: Classifier, bounds: Bounds, metrics: Metrics, *, max_delay: float = 0.0
    ):
        """Takes a classifier that has not labelled a file yet.

        Args:
            classifier: its decoding, its network and its limits are set here.
            bounds: of a request.
            metrics: that count batches.
            max_delay: seconds that clips wait for those of other requests.

        Raises:
            UserError: the delay is negative or endless.
        """
        self.classifier, self.bounds = classifier, bounds
        classifier.limits = Limits(bounds.seconds, bounds.pixels, bounds.wait_seconds)
        data = classifier.config.data
        data.decode_timeout = min(data.decode_timeout, bounds.wait_seconds)
        classifier.network = Batched(
            metrics.measured(classifier.network), max_delay=max_delay, max_clips=BATCH_SIZE
        )

    def compile(self) -> None:
        """Does beforehand what the first requests would otherwise wait for."""
        self.classifier.compile(BATCH_SIZES, decoders=min(self.bounds.concurrent, cores()))

    def about(self) -> dict[str, Any]:
        """The fields of `answers.About`."""
        classifier = self.classifier
        return {
            "version": __version__,
            "architecture": classifier.config.model.name,
            "checkpoint": classifier.step,
            "classes": list(classifier.classes),
            "engine": classifier.network.engine,
            "precision": classifier.network.precision,
            "limits": asdict(self.bounds),
        }

    def label(self, source: Source, *, name: str, frames: bool = False) -> dict[str, Any]:
        """The fields of `answers.Labelled`.

        Args:
            source: the upload.
            name: what the answer calls it.
            frames: whether to add the frames that the network saw.

        Raises:
            LimitError: it is beyond the bounds.
            UserError: it cannot be labelled.
        """
        deadline = time.monotonic() + self.bounds.wait_seconds

        def probabilities(clips_BTHWC: np.ndarray) -> np.ndarray:
            check_time(deadline, name)
            return self.classifier.probabilities(clips_BTHWC)

        with self.classifier.queued(source, self.classifier.config.predict) as queued:
            (video,) = label_videos([queued], probabilities, batch_size=BATCH_SIZE)
            if isinstance(video, UserError):
                raise video
            answer = self.classifier.prediction_of(video)
            fields = {"predictions": [{"path": name} | as_dict(answer)], "errors": []}
            if frames:
                numbers, frames_THWC = shown(video)
                fields["frames"] = pictures(video.times_N[numbers], frames_THWC)
        return fields

    def explain(self, source: Source, *, name: str, label: str = "") -> dict[str, Any]:
        """The fields of `answers.Explained`, by Grad-CAM.

        Args:
            source: the upload.
            name: what the answer calls it.
            label: the class; "" is the answer.

        Raises:
            LimitError: the video is beyond the bounds.
            UserError: there is no such class, or the network has no map.
        """
        from vid3d.inference import heat

        explainer = self.classifier.explainer("gradcam")
        with self.classifier.queued(source, self.classifier.config.predict) as video:
            clips = len(video.plan.indices)
            if clips > MAX_EXPLAINED:
                said = f"{name}: a heat map of {clips} clips, and {MAX_EXPLAINED} are the limit"
                raise LimitError(said, "size")
            found = explainer.explain_queued(video, label=label)
            numbers, frames_THWC = shown(video)
            heat_THW = heat.heat(found)[np.searchsorted(found.times_T, video.times_N[numbers])]
            if frames_THWC.shape[-1] == 1:
                frames_THWC = frames_THWC.repeat(3, axis=-1)
            drawn = map(heat.blend, frames_THWC, heat_THW)
            return heat.as_dict(heat.Explained(name, found)) | {
                "frames": pictures(video.times_N[numbers], drawn)
            }


def check_time(deadline: float, name: str) -> None:
    """Raises a LimitError where it is past a time of `time.monotonic`."""
    if time.monotonic() > deadline:
        raise LimitError(f"{name}: labelling it takes longer than the server allows", "time")


def shown(video: QueuedVideo) -> tuple[np.ndarray, np.ndarray]:
    """At most `MAX_PICTURES` frames that the clips of a video have: numbers, uint8 [T, H, W, C]."""
    numbers = np.unique(np.concatenate(video.plan.indices))
    if len(numbers) > MAX_PICTURES:
        numbers = numbers[np.linspace(0, len(numbers) - 1, MAX_PICTURES).round().astype(int)]
    ((_, frames_THWC),) = gather(video.frames(), [numbers])
    return numbers, frames_THWC


def pictures(times: Iterable[float], frames: Iterable[np.ndarray]) -> list[dict[str, Any]]:
    """The fields of `answers.Picture` for each frame."""
    return [
        {
            "seconds": float(seconds),
            "image": f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(frame)).decode()}",
        }
        for seconds, frame in zip(times, frames, strict=True)
    ]

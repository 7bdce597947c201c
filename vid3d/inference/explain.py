"""Where and when a classifier looks in a video; `heat` draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np

from vid3d import models
from vid3d.errors import UserError, suggest
from vid3d.inference.prediction import Prediction
from vid3d.inference.video import QueuedVideo, gather
from vid3d.models import attribution
from vid3d.models.normalise import centre_crop, normalise
from vid3d.video import resize

if TYPE_CHECKING:
    from vid3d.inference.classifier import Classifier, Source


@dataclass(frozen=True)
class Explanation:
    """Where and when the network looks for one class in one video.

    Attributes:
        label: the class that is explained.
        probability: of this class, for the whole video.
        method: one of `attribution.METHODS`.
        map_THW: float32 [T, H, W] of the frames that the network saw, in the size in which it
            stores them; outside of the part that it sees (`data.size`) it is 0. Grad-CAM is 0 or
            more, integrated gradients have either sign. A frame that several clips show has their
            mean.
        times_T: seconds of these frames, float64 [T], ascending.
        prediction: of the whole video.
        size: height and width of the video's frames.
        start: seconds of its first frame in the file, of a stretch.
    """

    label: str
    probability: float
    method: str
    map_THW: np.ndarray
    times_T: np.ndarray
    prediction: Prediction
    size: tuple[int, int]
    start: float = 0.0

    def summary(self) -> str:
        """One line: the class, and the second and the place that count most."""
        moment = int(self.curve().argmax())
        x, y = self.centres()[moment]
        where = "" if np.isnan(x) else f", around {x:.0%} from the left and {y:.0%} from the top"
        return (
            f"{self.label} ({self.probability:.3f}); what speaks for it most is at "
            f"{self.times_T[moment]:.2f} s{where}"
        )

    def curve(self) -> np.ndarray:
        """The share of each frame in what speaks for the class: float64 [T], with the sum 1."""
        mass_T = np.maximum(self.map_THW, 0).sum(axis=(1, 2), dtype=np.float64)
        return mass_T / mass_T.sum() if mass_T.sum() else np.full(len(mass_T), 1 / len(mass_T))

    def centres(self) -> np.ndarray:
        """The centre of each frame's map, float64 [T, 2]: x and y from 0 to 1, NaN without one."""
        heat_THW = np.maximum(self.map_THW, 0).astype(np.float64)
        _, height, width = heat_THW.shape
        mass_T = heat_THW.sum(axis=(1, 2))
        x_T = heat_THW.sum(axis=1) @ (np.arange(width) + 0.5) / width
        y_T = heat_THW.sum(axis=2) @ (np.arange(height) + 0.5) / height
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([x_T, y_T], axis=1) / mass_T[:, None]


class Explainer:
    """Explains the answers of a classifier by one method, which is compiled once."""

    def __init__(self, classifier: Classifier, method: str = "gradcam"):
        """Compiles nothing yet.

        Raises:
            UserError: there is no such method, or Grad-CAM finds no map that tells places apart.
        """
        if method not in attribution.METHODS:
            near = suggest(method, attribution.METHODS)
            raise UserError(
                f"method={method!r} is not one of {', '.join(attribution.METHODS)}{near}"
            )
        self.classifier, self.method = classifier, method
        config = classifier.config.copy_and_resolve_references()
        config.model.remat = False
        module = models.build(config.model, len(classifier.classes))

        def map_of(weights: dict, clips_BTHWC: jax.Array, label_B: jax.Array) -> jax.Array:
            seen_BTHWC = normalise(clips_BTHWC, config.data)
            if method == "gradcam":
                return attribution.gradcam(module, weights, seen_BTHWC, label_B)
            still_BTHWC = seen_BTHWC.mean(axis=1, keepdims=True).repeat(seen_BTHWC.shape[1], axis=1)
            return attribution.integrated_gradients(
                module, weights, seen_BTHWC, label_B, still_BTHWC
            )

        self._map_of = jax.jit(map_of)

    def check_label(self, label: str) -> None:
        """Raises a UserError where a label is not one of the classes; "" stands for the answer."""
        classes = self.classifier.classes
        if label and label not in classes:
            near = suggest(label, classes)
            raise UserError(f"{label!r} is not one of the {len(classes)} classes{near}")

    def explain(self, source: Source, *, label: str = "") -> Explanation:
        """Explains one class of one video.

        Args:
            source: see `Classifier.predict`.
            label: the class; by default the one that the classifier answers.

        Raises:
            UserError: there is no such class, or the video cannot be read.
        """
        classifier = self.classifier
        self.check_label(label)
        with classifier.queued(source, classifier.config.predict) as video:
            return self.explain_queued(video, label=label)

    def explain_queued(self, video: QueuedVideo, *, label: str = "") -> Explanation:
        """Like `explain`, of a video from `Classifier.queued`."""
        classifier = self.classifier
        self.check_label(label)
        answer = classifier.predict_queued(video)
        label = label or max(answer.probabilities, key=answer.probabilities.__getitem__)
        shown, map_THW = self._map(video, classifier.classes.index(label))
        return Explanation(
            label=label,
            probability=answer.probabilities[label],
            method=self.method,
            map_THW=uncropped(map_THW, resize.stored_size(classifier.config.data)),
            times_T=video.start + video.times_N[shown],
            prediction=answer,
            size=video.size,
            start=video.start,
        )

    def _map(self, video: QueuedVideo, label: int) -> tuple[list[int], np.ndarray]:
        """The frames that the clips show, ascending, and their mean maps, float32 [T, H, W]."""
        maps: dict[int, list[np.ndarray]] = {}
        for number, clip_THWC in gather(video.frames(), video.plan.indices):
            map_THW = self._map_of(self.classifier.weights, clip_THWC[None], np.array([label]))[0]
            for frame, map_HW in zip(video.plan.indices[number].tolist(), map_THW, strict=True):
                maps.setdefault(frame, []).append(np.asarray(map_HW))
        shown = sorted(maps)
        return shown, np.stack([np.mean(maps[frame], axis=0) for frame in shown])


def uncropped(map_THW: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Puts maps of the part that the network sees back into stored frames, with 0 around it."""
    whole_THW = np.zeros((len(map_THW), *size), np.float32)
    seen_THW1 = centre_crop(whole_THW[..., None], map_THW.shape[1])  # a view
    seen_THW1[...] = map_THW[..., None]
    return whole_THW

"""Does the heat map lie on what moves, and on what the answer hangs? On the embedded data set.

    vid3d train --config=demo --workdir=runs/demo
    python experiments/explain.py --workdir=runs/demo [--videos=40]

Takes new videos of the embedded generator, which no network was trained on, and whose shape it
knows. For each method, and for the same network with its weights shuffled within each array:

- mass: the share of the map that lies on the shape, frame by frame, divided by the share of the
  pixels that the shape covers, which is what chance gives.
- deletion: the mean probability of the answer while the hottest pixels, in time and space, are
  replaced by the clip's mean over time, a tenth of all at a time; below that of a random order, the
  answer hangs on them. Insertion: the other way round, above that of a random order.

Means over the videos with a t interval of 95%.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from scipy import stats

from vid3d.datasets import synthetic
from vid3d.inference.classifier import Classifier
from vid3d.inference.explain import Explainer
from vid3d.models.attribution import METHODS

SEED = 1_000_003  # not that of any training run
SHARES = np.linspace(0, 1, 11)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=40)
    options = parser.parse_args()
    trained = Classifier.load(options.workdir)
    for name, classifier in (("trained", trained), ("shuffled", shuffled(trained))):
        for method in METHODS:
            explainer = Explainer(classifier, method)
            figures = [
                measure(explainer, frames_THWC, mask_THW, np.random.default_rng(number))
                for number, (frames_THWC, mask_THW) in enumerate(
                    videos(trained.config.data.size, options.videos)
                )
            ]
            columns = ("mass", "deletion", "random deletion", "insertion", "random insertion")
            for column, values in zip(columns, zip(*figures, strict=True), strict=True):
                print(f"{name:9} {method:21} {column:17} {with_interval(values)}")


def videos(size: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clips of ten frames, uint8 RGB, and where the shape is in each frame, bool [T, H, W]."""
    for number in range(count):
        look = synthetic.draw_look(np.random.default_rng([SEED, number]), size)
        label = synthetic.LABELS[number % len(synthetic.LABELS)]
        seed = [SEED, number, 1]
        places_N2, visits_T, _ = synthetic.draw_path(np.random.default_rng(seed), size, label, 10)
        covers = np.stack([synthetic.cover_of(look, place) > 0.5 for place in places_N2])
        yield synthetic.draw_video(np.random.default_rng(seed), look, label, 10), covers[visits_T]


def measure(
    explainer: Explainer, frames_THWC: np.ndarray, mask_THW: np.ndarray, rng: np.random.Generator
) -> tuple[float, ...]:
    """Mass, deletion, random deletion, insertion, random insertion of one clip."""
    found = explainer.explain(frames_THWC)
    heat_THW = np.maximum(found.map_THW, 0)
    mass = heat_THW[mask_THW].sum() / max(heat_THW.sum(), 1e-12) / mask_THW.mean()
    figures = [mass]
    order = np.argsort(-heat_THW, axis=None, kind="stable")
    chance = rng.permutation(heat_THW.size)
    still_THWC = np.broadcast_to(
        frames_THWC.mean(axis=0).round().astype(np.uint8), frames_THWC.shape
    )
    label = explainer.classifier.classes.index(found.label)
    for before, after in ((frames_THWC, still_THWC), (still_THWC, frames_THWC)):
        for ranks in (order, chance):
            clips = np.stack([replaced(before, after, ranks, share) for share in SHARES])
            figures.append(explainer.classifier.probabilities(clips)[:, label].mean())
    return tuple(map(float, figures))


def replaced(
    before_THWC: np.ndarray, after_THWC: np.ndarray, order: np.ndarray, share: float
) -> np.ndarray:
    """A clip in which the first of the pixels in this order are those of another clip."""
    clip_THWC = before_THWC.copy()
    chosen = order[: round(share * len(order))]
    clip_THWC.reshape(-1, 3)[chosen] = after_THWC.reshape(-1, 3)[chosen]
    return clip_THWC


def shuffled(classifier: Classifier) -> Classifier:
    """The same network with the parameters of each array in another order."""
    rng = np.random.default_rng(0)

    def shuffle(values: jax.Array) -> np.ndarray:
        return rng.permutation(np.asarray(values).ravel()).reshape(values.shape)

    return Classifier(
        jax.tree.map(shuffle, classifier.weights), classifier.config, classes=classifier.classes
    )


def with_interval(values: tuple[float, ...]) -> str:
    mean, error = np.mean(values), stats.sem(values)
    low, high = stats.t.interval(0.95, len(values) - 1, mean, error)
    return f"{mean:.3f} [{low:.3f}, {high:.3f}], {len(values)} videos"


if __name__ == "__main__":
    main()

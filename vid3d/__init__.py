"""vid3d: train, evaluate and run 3D-CNN video classifiers in JAX.

Arrays carry their shape in their name, one letter an axis:

    B batch    T frames    H height    W width    C channels    K classes    V views

so `clips_BTHWC` is a batch of clips and `logits_BK` the scores of every class for each of them. Clips are uint8 RGB
until the jitted step normalises them; parameters are float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vid3d.inference.classifier import Classifier

__version__ = "0.1.0"


def load(workdir: str, checkpoint: str = "best") -> Classifier:
    """Loads a trained classifier from a workdir: `vid3d.load("runs/x").predict("video.mp4")`.

    Args:
        workdir: a folder that `vid3d train` wrote.
        checkpoint: "best" (highest validation accuracy), "latest", or the number of a step.

    Raises:
        vid3d.config.UserError: there is no such workdir or checkpoint in it, or the system lacks a library.
    """
    from vid3d import process

    with process.naming_missing_libraries():
        from vid3d.inference.classifier import Classifier

    return Classifier.load(workdir, checkpoint=checkpoint)

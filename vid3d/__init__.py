"""vid3d: train, evaluate and run 3D-CNN video classifiers in JAX.

    config = vid3d.config.load("demo")
    vid3d.train(config, "runs/demo")
    metrics, folder = vid3d.evaluate("runs/demo")
    prediction = vid3d.load("runs/demo").predict("holiday.mp4")

`import vid3d` loads no library; each name below loads what it needs when it is first used.

Arrays carry their shape in their name, a letter per axis:

    B batch    T frames    H height    W width    C channels    K classes    V views

so `clips_BTHWC` is a batch of clips and `logits_BK` the scores of every class for each of them.
Clips are uint8 RGB until the jitted step normalises them; parameters are float32.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from vid3d import config
    from vid3d.checkpoint import Workdir
    from vid3d.errors import UserError
    from vid3d.evaluation.evaluate import evaluate
    from vid3d.inference.classifier import Classifier
    from vid3d.inference.prediction import Prediction
    from vid3d.inference.stretch import stretch
    from vid3d.training.loop import train

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Prediction",
    "UserError",
    "Workdir",
    "config",
    "evaluate",
    "load",
    "stretch",
    "train",
]

_HOMES = {
    "Classifier": "vid3d.inference.classifier",
    "Prediction": "vid3d.inference.prediction",
    "UserError": "vid3d.errors",
    "Workdir": "vid3d.checkpoint",
    "evaluate": "vid3d.evaluation.evaluate",
    "stretch": "vid3d.inference.stretch",
    "train": "vid3d.training.loop",
}


def load(
    workdir: str | Path,
    checkpoint: str = "best",
    *,
    engine: str = "jax",
    precision: str = "f32",
) -> Classifier:
    """Loads a trained classifier from a workdir: `vid3d.load("runs/x").predict("video.mp4")`.

    Args:
        workdir: a folder that `vid3d train` or `vid3d import` wrote, or `gs://BUCKET/FOLDER`.
        checkpoint: "best" (as the config's checkpoint.choose says, by default that of the highest
            validation accuracy), "latest", or the number of a step.
        engine: "jax"; "openvino", on CPUs; or "auto", the one that was faster here.
        precision: of OpenVINO: "f32", or "bf16" on processors that have it.

    Raises:
        UserError: there is no such workdir, checkpoint, engine or precision, the system lacks a
            library, or this process was forked after JAX had started.
    """
    return __getattr__("Classifier").load(workdir, checkpoint, engine=engine, precision=precision)


def __getattr__(name: str) -> Any:
    """Imports what a name of `__all__` stands for.

    Raises:
        UserError: the system lacks a library.
    """
    if name == "config":
        return importlib.import_module("vid3d.config")
    if name not in _HOMES:
        raise AttributeError(f"module 'vid3d' has no attribute {name!r}")
    from vid3d import process

    with process.naming_missing_libraries():
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

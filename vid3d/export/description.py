"""What an exported network takes and gives, for programs that have no vid3d."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vid3d import __version__
from vid3d.checkpoint.temperature import temperature_of
from vid3d.video.clips import evaluation_sampling
from vid3d.video.resize import stored_shape


def describe(
    config: ConfigDict, meta: Mapping[str, Any], *, step: int, digest: str
) -> dict[str, Any]:
    """The description that goes into the file and into export.json.

    Args:
        config: of the training run.
        meta: of the checkpoint.
        step: of the checkpoint.
        digest: of the checkpoint, see `Workdir.digest`.
    """
    data, views = config.data, config.eval.views
    return {
        "vid3d": __version__,
        "checkpoint": {"step": step, "sha256": digest},
        "architecture": config.model.name,
        "classes": list(meta["classes"]),
        "input": {
            "name": "clips",
            "dtype": "uint8",
            "axes": ["batch", "frames", "height", "width", "channels"],
            "shape": [None, *stored_shape(data)],
            "colour": "gray" if data.color == "gray" else "RGB",
            "resize": data.resize,
        },
        "output": {"name": "probabilities", "dtype": "float32", "axes": ["batch", "class"]},
        # Cropping, normalisation and the division of the logits are inside of the network.
        "inside": {
            "crop": data.size,
            "mean": list(data.mean),
            "std": list(data.std),
            "temperature": temperature_of(meta, config),
        },
        "clip": {
            "sampling": evaluation_sampling(data, views),
            "num_frames": data.num_frames,
            "frame_step": data.frame_step,
            "fps": data.fps,
            "short": data.short,
            "stored_frames": data.stored_frames,
            "views": views,
        },
        "threshold": config.predict.threshold,
        "training_videos": {
            "median_seconds": meta["window_seconds"],
            "p95_seconds": meta.get("p95_seconds", 0.0),
        },
    }

"""A network -> one .npz file with its program for CPUs, NVIDIA GPUs and TPUs, and its weights.

The program is StableHLO as jax.export serialises it; the weights are its arguments, so that it
stays small and compiles quickly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax

from vid3d.models.on_clips import Logits
from vid3d.ops import convolution

PLATFORMS = ("cpu", "cuda", "tpu")


def write(
    path: Path,
    logits: Logits,
    weights: dict[str, Any],
    clip_shape: tuple[int, ...],
    about: str,
) -> None:
    """Writes the file: `program`, `weight0`, `weight1`, ... and `about`.

    `jax.export.deserialize(bytearray(program)).call(list of weights, clips)` gives probabilities.

    Args:
        path: the file, with any ending.
        logits: function of (weights, clips).
        weights: its weights.
        clip_shape: (T, H, W, C).
        about: JSON, see `description.describe`.
    """
    leaves, tree = jax.tree.flatten(weights)
    leaves = [np.asarray(leaf) for leaf in leaves]

    def one_by_one(weights_L: list, clips_BTHWC: jax.Array) -> jax.Array:
        # The forms for CPUs need a batch of known size.
        tree_of_weights = jax.tree.unflatten(tree, weights_L)
        return lax.map(lambda clip: logits(tree_of_weights, clip[None])[0], clips_BTHWC)

    def at_once(weights_L: list, clips_BTHWC: jax.Array) -> jax.Array:
        with convolution.library_form():
            return logits(jax.tree.unflatten(tree, weights_L), clips_BTHWC)

    def network(weights_L: list, clips_BTHWC: jax.Array) -> jax.Array:
        return jax.nn.softmax(
            lax.platform_dependent(weights_L, clips_BTHWC, cpu=one_by_one, default=at_once)
        )

    (batch,) = jax.export.symbolic_shape("batch")
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    clips = jax.ShapeDtypeStruct((batch, *clip_shape), np.uint8)
    program = jax.export.export(jax.jit(network), platforms=PLATFORMS)(shapes, clips)
    arrays = {f"weight{number}": leaf for number, leaf in enumerate(leaves)}
    arrays["program"] = np.frombuffer(program.serialize(), np.uint8)
    arrays["about"] = np.frombuffer(about.encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)

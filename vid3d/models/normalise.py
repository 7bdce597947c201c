"""uint8 frames -> network input: centre crop, scaling to [0, 1], standardisation."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

Clips = TypeVar("Clips", jax.Array, np.ndarray)


def normalise(clips: jax.Array, data: ConfigDict) -> jax.Array:
    """Prepares clips for evaluation and live use: centre crop, then (x / 255 - mean) / std.

    Args:
        clips: uint8 [..., H, W, C] as stored; H and W are at least `data.size`.
        data: `config.data`.

    Returns:
        float32 [..., size, size, C].
    """
    return standardise(centre_crop(clips, data.size).astype(jnp.float32) / 255, data)


def clip_shape(data: ConfigDict) -> tuple[int, int, int, int]:
    """(T, H, W, C) of the network's input."""
    return data.num_frames, data.size, data.size, 1 if data.color == "gray" else 3


def centre_crop(clips: Clips, size: int) -> Clips:
    """The middle [..., size, size, C]; half pixels round to even, as in torchvision."""
    height, width = clips.shape[-3:-1]
    top, left = round((height - size) / 2), round((width - size) / 2)
    return clips[..., top : top + size, left : left + size, :]


def standardise(clips: jax.Array, data: ConfigDict) -> jax.Array:
    """(x - mean) / std per channel, for clips in [0, 1]."""
    return (clips - jnp.array(data.mean, jnp.float32)) / jnp.array(data.std, jnp.float32)

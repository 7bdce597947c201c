"""The whole network of a config: stored uint8 clips -> logits, without augmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vid3d import models
from vid3d.models.normalise import normalise

Logits = Callable[[dict[str, Any], jax.Array], jax.Array]


def logits_of(config: ConfigDict, num_classes: int) -> Logits:
    """A function (weights, clips_BTHWC) -> logits_BK, float32; the clips are uint8 as stored.

    Raises:
        UserError: see `models.build`.
    """
    module = models.build(config.model, num_classes)

    def logits(weights: dict[str, Any], clips_BTHWC: jax.Array) -> jax.Array:
        found = module.apply(weights, normalise(clips_BTHWC, config.data), train=False)
        return cast(jax.Array, found).astype(jnp.float32)  # not a tuple, as nothing is mutable

    return logits

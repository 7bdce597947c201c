"""What a training carries from one step to the next."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


@flax.struct.dataclass
class TrainState:
    """step: int32, steps done. params, batch_stats: float32 trees. opt_state: as optax made it."""

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    def weights(self) -> dict[str, Any]:
        """What evaluation and inference need."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def optimizer(self) -> dict[str, Any]:
        """What only a resumed training needs."""
        return {"opt_state": self.opt_state, "step": self.step}


def create(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    clip_shape: tuple[int, ...],
) -> TrainState:
    """Initialises a model for clips of shape (T, H, W, C); the same seed gives the same parameters."""
    clips = jnp.zeros((1, *clip_shape), jnp.float32)
    init = jax.jit(lambda key: model.init({"params": key}, clips, train=False))
    variables = init(jax.random.key(seed))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
    )

"""Base classes: the options of all architectures, and what the residual ones share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from vid3d.models.layers import (
    Conv3D,
    batch_norm,
    class_scores,
    drop_path,
    drop_rates,
    he_normal_fan_out,
)


class Network(nn.Module, kw_only=True):
    """`clips_BTHWC` (float32, normalised) -> `logits_BK` (float32).

    Attributes:
        num_classes: K of the logits.
        input: one of `layers.INPUTS`, see `layers.input_form`.
        dropout: dropout rate before the last layer.
        dtype: type of the computation; parameters and logits are float32.
        axis_name: mapped axis over which batch normalisation averages its statistics in training.
        remat: recompute each block in the backward pass: less memory, more time, same results.
    """

    num_classes: int
    input: str = "frames"
    dropout: float = 0.5
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None
    remat: bool = False


class ResidualNetwork(Network, kw_only=True):
    """A network of residual blocks, each with batch normalisation.

    Attributes:
        norm_momentum: share of the running statistics that each step keeps.
        stochastic_depth: drop rate of the last block; the rates grow linearly up to it.
    """

    norm_momentum: float = 0.9
    stochastic_depth: float = 0.0

    @nn.nowrap
    def conv_and_norm(
        self, *, train: bool
    ) -> tuple[Callable[..., Conv3D], Callable[..., nn.BatchNorm]]:
        """The constructors of every convolution and normalisation of the network."""
        conv = partial(
            Conv3D,
            padding="HALF",
            use_bias=False,
            dtype=self.dtype,
            kernel_init=he_normal_fan_out,
        )
        norm = batch_norm(
            train=train,
            axis_name=self.axis_name,
            dtype=self.dtype,
            momentum=self.norm_momentum,
        )
        return conv, norm

    @nn.nowrap
    def drop_paths(self, num_blocks: int, *, train: bool) -> list[Callable[[jax.Array], jax.Array]]:
        """The stochastic depth of each block, in order."""
        rates = drop_rates(self.stochastic_depth, num_blocks)
        return [partial(drop_path, rate=rate, train=train) for rate in rates]

    @nn.nowrap
    def classify(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Dropout and the last layer, float32 [..., K]; called inside a compact method."""
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return class_scores(self.num_classes)(x.astype(jnp.float32))

"""The plain 3D-CNN: layers of convolution, ReLU and max pooling, a dense layer, the classes.

The defaults give the network of the Keras tutorials on video classification: five layers of 128,
64, 32, 32 and 32 features, kernels and pooling windows of 3 in time and space, all "same"-padded, a
dense layer of 1024 units, dropout 0.25 before and 0.5 after it. Convolution in time and space
follows Ji, Xu, Yang, Yu, "3D Convolutional Neural Networks for Human Action Recognition", ICML
2010.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from vid3d.models.layers import (
    Conv3D,
    ConvPool,
    MaxPool3D,
    Triple,
    batch_norm,
    group_norm,
    he_normal,
    input_form,
)
from vid3d.models.network import Network

HEADS = ("flatten", "average", "time_average", "statistics")


class Layer(nn.Module):
    """Convolution, normalisation, ReLU, max pooling; fused if there is no normalisation."""

    features: int
    kernel: Triple
    pool: Triple
    norm: str
    train: bool
    axis_name: str | None
    norm_momentum: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        if self.norm == "none":
            return ConvPool(self.features, self.kernel, self.pool, self.dtype, name="conv")(x_BTHWC)
        conv = Conv3D(
            self.features,
            self.kernel,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=he_normal,
            name="conv",
        )
        if self.norm == "batch":
            norm: nn.BatchNorm | nn.GroupNorm = batch_norm(
                train=self.train,
                axis_name=self.axis_name,
                dtype=self.dtype,
                momentum=self.norm_momentum,
            )(name="norm")
        else:
            norm = group_norm(self.features, dtype=self.dtype, name="norm")
        return MaxPool3D(self.pool, name="pool")(nn.relu(norm(conv(x_BTHWC))))


class Conv3DNet(Network, kw_only=True):
    """`clips_BTHWC` (float32, normalised; any T, H, W) -> `logits_BK` (float32).

    Attributes:
        features: channels of each layer; each layer divides T, H, W by `pool`, rounding up.
        norm: "none", "batch" or "group", before the ReLU. "none" initialises as Keras does (Glorot
            uniform), the others with He's scheme.
        head: how feature maps become the vector that is classified. "flatten" takes the whole last
            map, "average" its mean over time and space, "time_average" its mean over time (with
            kernels and pooling windows of 1 in time, frames are then processed independently).
            "statistics" takes the mean and standard deviation over time and space of every layer's
            map, and so covers fine and coarse patterns and how evenly they are spread.
        hidden: width of the dense layer; 0 for none.
        feature_dropout: dropout rate before the dense layer.
        norm_momentum: share of the running statistics that each step keeps.
        The others: see `Network`.
    """

    features: tuple[int, ...] = (128, 64, 32, 32, 32)
    kernel: Triple = (3, 3, 3)
    pool: Triple = (3, 3, 3)
    norm: str = "none"
    head: str = "flatten"
    hidden: int = 1024
    feature_dropout: float = 0.25
    norm_momentum: float = 0.9

    @nn.compact
    def __call__(self, clips_BTHWC: jax.Array, *, train: bool) -> jax.Array:
        layer = nn.remat(Layer) if self.remat else Layer
        glorot = nn.initializers.glorot_uniform()

        x = input_form(clips_BTHWC, self.input)
        maps = []
        for number, features in enumerate(self.features, start=1):
            x = layer(
                features,
                self.kernel,
                self.pool,
                self.norm,
                train,
                self.axis_name,
                self.norm_momentum,
                self.dtype,
                name=f"layer{number}",
            )(x)
            self.sow("intermediates", f"stage{number}", x)
            maps.append(x)

        if self.head == "statistics":
            x = jnp.concatenate([mean_and_deviation(x) for x in maps], axis=-1)
        elif self.head != "flatten":
            x = x.mean(axis=(1, 2, 3) if self.head == "average" else 1)
        x = x.reshape(x.shape[0], -1)
        if self.hidden:
            x = nn.Dropout(self.feature_dropout, deterministic=not train)(x)
            x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=glorot, name="hidden")(x)
            x = nn.relu(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, kernel_init=glorot, name="classes")(x)


def mean_and_deviation(x_BTHWC: jax.Array) -> jax.Array:
    """Mean and standard deviation of every channel over time and space, float32 [B, 2C]."""
    x = x_BTHWC.astype(jnp.float32)
    variance = x.var(axis=(1, 2, 3))
    # d sqrt(x)/dx diverges at 0.
    return jnp.concatenate([x.mean(axis=(1, 2, 3)), jnp.sqrt(variance + 1e-6)], axis=-1)

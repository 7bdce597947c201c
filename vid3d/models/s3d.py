"""S3D: the Inception network with every convolution split into space and time.

Xie, Sun, Huang, Tu, Murphy, "Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs
in Video Classification", ECCV 2018. The layers are those of torchvision's s3d, whose weights can be
loaded (`vid3d.weights.published`); it is made for clips of 64 to 128 frames at 224x224. The names
of the blocks are those of Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from vid3d.errors import UserError
from vid3d.models.layers import Conv3D, MaxPool3D, batch_norm, he_normal, input_form, window_average
from vid3d.models.network import Network

# Features of the four branches: 1x1x1; 1x1x1 then 3x3x3; 1x1x1 then 3x3x3; pooling then 1x1x1.
BLOCKS = {
    "mixed_3b": (64, (96, 128), (16, 32), 32),
    "mixed_3c": (128, (128, 192), (32, 96), 64),
    "mixed_4b": (192, (96, 208), (16, 48), 64),
    "mixed_4c": (160, (112, 224), (24, 64), 64),
    "mixed_4d": (128, (128, 256), (24, 64), 64),
    "mixed_4e": (112, (144, 288), (32, 64), 64),
    "mixed_4f": (256, (160, 320), (32, 128), 128),
    "mixed_5b": (256, (160, 320), (32, 128), 128),
    "mixed_5c": (384, (192, 384), (48, 128), 128),
}


class S3D(Network, kw_only=True):
    """`clips_BTHWC` (float32, normalised; at least 5 frames of 17x17) -> `logits_BK` (float32).

    Attributes:
        norm_momentum: share of the running statistics that each step keeps.
        The others: see `Network`.
    """

    dropout: float = 0.2
    norm_momentum: float = 0.999

    @nn.compact
    def __call__(self, clips_BTHWC: jax.Array, *, train: bool) -> jax.Array:
        conv = partial(
            Conv3D, padding="HALF", use_bias=False, dtype=self.dtype, kernel_init=he_normal
        )
        norm = batch_norm(
            train=train,
            axis_name=self.axis_name,
            dtype=self.dtype,
            momentum=self.norm_momentum,
            epsilon=1e-3,
        )
        unit = partial(Unit, conv=conv, norm=norm)
        block = nn.remat(Mixed) if self.remat else Mixed

        x = input_form(clips_BTHWC, self.input)
        if x.shape[1] < 5 or min(x.shape[2:4]) < 17:
            frames, height, width = x.shape[1:4]
            raise UserError(
                f"s3d halves clips four times and sees {frames} frames of {height}x{width}: it "
                "needs at least 5 frames (config.data.num_frames) of 17x17 (config.data.size)"
            )
        x = unit(64, (1, 7, 7), (1, 2, 2), name="conv1_spatial")(x)
        x = unit(64, (7, 1, 1), (2, 1, 1), name="conv1_temporal")(x)
        self.sow("intermediates", "stem", x)
        x = MaxPool3D((1, 3, 3), (1, 2, 2), "HALF", name="pool1")(x)
        x = unit(64, (1, 1, 1), name="conv2_reduce")(x)
        x = unit(192, (1, 3, 3), name="conv2_spatial")(x)
        x = unit(192, (3, 1, 1), name="conv2_temporal")(x)
        self.sow("intermediates", "stage1", x)
        x = MaxPool3D((1, 3, 3), (1, 2, 2), "HALF", name="pool2")(x)
        for name in ("mixed_3b", "mixed_3c"):
            x = block(*BLOCKS[name], unit, name=name)(x)
        self.sow("intermediates", "stage2", x)
        x = MaxPool3D((3, 3, 3), (2, 2, 2), "HALF", name="pool3")(x)
        for name in ("mixed_4b", "mixed_4c", "mixed_4d", "mixed_4e", "mixed_4f"):
            x = block(*BLOCKS[name], unit, name=name)(x)
        self.sow("intermediates", "stage3", x)
        x = MaxPool3D((2, 2, 2), (2, 2, 2), "VALID", name="pool4")(x)
        for name in ("mixed_5b", "mixed_5c"):
            x = block(*BLOCKS[name], unit, name=name)(x)
        self.sow("intermediates", "stage4", x)

        x = window_average(x, window=(2, 7, 7))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, kernel_init=he_normal, name="classes")(x).mean((1, 2, 3))


class Unit(nn.Module):
    """Convolution, normalisation, ReLU."""

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int] = (1, 1, 1)
    conv: Callable[..., nn.Module] = Conv3D
    norm: Callable[..., nn.Module] = nn.BatchNorm

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        x = self.conv(self.features, self.kernel, self.strides, name="conv")(x_BTHWC)
        return nn.relu(self.norm(name="norm")(x))


class Mixed(nn.Module):
    """An Inception block: four branches side by side in the channels."""

    branch0: int
    branch1: tuple[int, int]
    branch2: tuple[int, int]
    branch3: int
    unit: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        branches = [self.unit(self.branch0, (1, 1, 1), name="branch0")(x_BTHWC)]
        for name, (reduced, features) in (("branch1", self.branch1), ("branch2", self.branch2)):
            x = self.unit(reduced, (1, 1, 1), name=f"{name}_reduce")(x_BTHWC)
            x = self.unit(features, (1, 3, 3), name=f"{name}_spatial")(x)
            branches.append(self.unit(features, (3, 1, 1), name=f"{name}_temporal")(x))
        x = MaxPool3D((3, 3, 3), (1, 1, 1), "HALF", name="branch3_pool")(x_BTHWC)
        branches.append(self.unit(self.branch3, (1, 1, 1), name="branch3")(x))
        return jnp.concatenate(branches, axis=-1)

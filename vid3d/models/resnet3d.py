"""Residual networks in space and time: R3D, MC3 and R(2+1)D, with 18 or 34 layers.

Tran, Wang, Torresani, Ray, LeCun, Paluri, "A Closer Look at Spatiotemporal Convolutions for Action
Recognition", CVPR 2018. The layers, and the names r3d_18, mc3_18 and r2plus1d_18, are those of
torchvision, whose weights can be loaded (`vid3d.weights.published`); they were trained on clips of
16 frames at 112x112.

    r3d      every convolution is 3x3x3
    mc3      3x3x3 in the stem and the first stage, 1x3x3 afterwards; never strided in time
    r2plus1d every convolution is 1x3x3, normalisation, ReLU, 3x1x1, with as many parameters
             as 3x3x3
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from vid3d.models.layers import input_form
from vid3d.models.network import ResidualNetwork

FULL, FLAT, FACTORED = "3x3x3", "1x3x3", "1x3x3 + 3x1x1"

# (kind of convolution, number of blocks) of the four stages.
ARCHITECTURES = {
    "r3d_18": ((FULL, 2), (FULL, 2), (FULL, 2), (FULL, 2)),
    "r3d_34": ((FULL, 3), (FULL, 4), (FULL, 6), (FULL, 3)),
    "mc3_18": ((FULL, 2), (FLAT, 2), (FLAT, 2), (FLAT, 2)),
    "r2plus1d_18": ((FACTORED, 2), (FACTORED, 2), (FACTORED, 2), (FACTORED, 2)),
    "r2plus1d_34": ((FACTORED, 3), (FACTORED, 4), (FACTORED, 6), (FACTORED, 3)),
}


class ResNet3D(ResidualNetwork, kw_only=True):
    """`clips_BTHWC` (float32, normalised; any T, H, W) -> `logits_BK` (float32).

    Attributes:
        stages: one value of `ARCHITECTURES`.
        The others: see `ResidualNetwork`.
    """

    stages: tuple[tuple[str, int], ...]
    dropout: float = 0.0

    @nn.compact
    def __call__(self, clips_BTHWC: jax.Array, *, train: bool) -> jax.Array:
        conv, norm = self.conv_and_norm(train=train)
        block = nn.remat(Block) if self.remat else Block

        x = input_form(clips_BTHWC, self.input)
        if self.stages[0][0] == FACTORED:
            x = conv(45, (1, 7, 7), (1, 2, 2), name="stem_spatial")(x)
            x = nn.relu(norm(name="stem_spatial_norm")(x))
            x = conv(64, (3, 1, 1), name="stem_temporal")(x)
        else:
            x = conv(64, (3, 7, 7), (1, 2, 2), name="stem_conv")(x)
        x = nn.relu(norm(name="stem_norm")(x))
        self.sow("intermediates", "stem", x)

        drops = iter(self.drop_paths(sum(depth for _, depth in self.stages), train=train))
        for stage, (kind, depth) in enumerate(self.stages, start=1):
            features = 32 * 2**stage  # 64, 128, 256, 512
            for number in range(1, depth + 1):
                stride = 2 if stage > 1 and number == 1 else 1
                name = f"stage{stage}_block{number}"
                x = block(features, kind, stride, conv, norm, next(drops), name=name)(x)
            self.sow("intermediates", f"stage{stage}", x)

        return self.classify(x.mean(axis=(1, 2, 3), dtype=jnp.float32), train=train)


class Block(nn.Module):
    """Two convolutions and a shortcut, which is a convolution where the shape changes."""

    features: int
    kind: str
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    drop: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        channels = x_BTHWC.shape[-1]
        # The width that gives a factored convolution as many parameters as a full one. As in the
        # published weights, both convolutions of a block compute it from the block's input.
        middle = channels * self.features * 27 // (channels * 9 + 3 * self.features)
        time_stride = 1 if self.kind == FLAT else self.stride

        def convolve(x: jax.Array, *, stride: int, name: str) -> jax.Array:
            if self.kind == FULL:
                return self.conv(self.features, (3, 3, 3), (stride,) * 3, name=name)(x)
            if self.kind == FLAT:
                return self.conv(self.features, (1, 3, 3), (1, stride, stride), name=name)(x)
            x = self.conv(middle, (1, 3, 3), (1, stride, stride), name=f"{name}_spatial")(x)
            x = nn.relu(self.norm(name=f"{name}_spatial_norm")(x))
            return self.conv(self.features, (3, 1, 1), (stride, 1, 1), name=f"{name}_temporal")(x)

        y = nn.relu(self.norm(name="norm1")(convolve(x_BTHWC, stride=self.stride, name="conv1")))
        y = self.norm(name="norm2")(convolve(y, stride=1, name="conv2"))
        if self.stride > 1 or channels != self.features:
            strides = (time_stride, self.stride, self.stride)
            x_BTHWC = self.conv(self.features, (1, 1, 1), strides, name="shortcut")(x_BTHWC)
            x_BTHWC = self.norm(name="shortcut_norm")(x_BTHWC)
        return nn.relu(x_BTHWC + self.drop(y))

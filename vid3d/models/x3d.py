"""X3D: a small 2D network expanded along time, size, width and depth; depthwise convolutions.

Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020. The layers
are those of pytorchvideo's x3d_xs, x3d_s and x3d_m, whose weights can be loaded
(`vid3d.weights.published`). The three are one network, trained on different clips: 4 frames at
160x160 (the training crop), 13 at 160x160 and 16 at 224x224.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import linen as nn

from vid3d.models.layers import input_form, window_average
from vid3d.models.network import ResidualNetwork

# Window of the last pooling: the size of the map for the clips of training.
ARCHITECTURES = {"x3d_xs": (4, 5, 5), "x3d_s": (13, 5, 5), "x3d_m": (16, 7, 7)}

# (width, depth) of the four stages.
STAGES = ((24, 3), (48, 5), (96, 11), (192, 7))


class X3D(ResidualNetwork, kw_only=True):
    """`clips_BTHWC` (float32, normalised; any T, H, W) -> `logits_BK` (float32).

    There are no strides in time. Clips larger than those of training are classified window by
    window, and the logits are averaged.

    Attributes:
        window: one value of `ARCHITECTURES`.
        The others: see `ResidualNetwork`.
    """

    window: tuple[int, int, int]

    @nn.compact
    def __call__(self, clips_BTHWC: jax.Array, *, train: bool) -> jax.Array:
        conv, norm = self.conv_and_norm(train=train)
        block = nn.remat(Block) if self.remat else Block

        x = input_form(clips_BTHWC, self.input)
        x = conv(24, (1, 3, 3), (1, 2, 2), name="stem_spatial")(x)
        x = conv(24, (5, 1, 1), groups=24, name="stem_temporal")(x)
        x = nn.relu(norm(name="stem_norm")(x))
        self.sow("intermediates", "stem", x)

        drops = iter(self.drop_paths(sum(depth for _, depth in STAGES), train=train))
        for stage, (features, depth) in enumerate(STAGES, start=1):
            for number in range(1, depth + 1):
                x = block(
                    features,
                    stride=2 if number == 1 else 1,
                    gated=number % 2 == 1,
                    conv=conv,
                    norm=norm,
                    drop=next(drops),
                    name=f"stage{stage}_block{number}",
                )(x)
            self.sow("intermediates", f"stage{stage}", x)

        x = nn.relu(norm(name="head_norm")(conv(432, (1, 1, 1), name="head_expand")(x)))
        x = window_average(x, window=self.window)
        x = nn.relu(conv(2048, (1, 1, 1), name="head_hidden")(x))
        return self.classify(x, train=train).mean((1, 2, 3))


class Block(nn.Module):
    """1x1x1 to 2.25 times the width, depthwise 3x3x3, a gate in every second block, 1x1x1 back."""

    features: int
    stride: int
    gated: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    drop: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        channels = x_BTHWC.shape[-1]
        inner = int(2.25 * self.features)
        strides = (1, self.stride, self.stride)

        y = nn.relu(self.norm(name="norm_a")(self.conv(inner, (1, 1, 1), name="conv_a")(x_BTHWC)))
        y = self.conv(inner, (3, 3, 3), strides, groups=inner, name="conv_b")(y)
        y = self.norm(name="norm_b")(y)
        if self.gated:
            y = Gate(name="gate")(y)
        y = self.conv(self.features, (1, 1, 1), name="conv_c")(nn.swish(y))
        y = self.norm(scale_init=nn.initializers.zeros, name="norm_c")(y)

        if self.stride > 1 or channels != self.features:
            x_BTHWC = self.conv(self.features, (1, 1, 1), strides, name="shortcut")(x_BTHWC)
            if channels != self.features:
                x_BTHWC = self.norm(name="shortcut_norm")(x_BTHWC)
        return nn.relu(x_BTHWC + self.drop(y))


class Gate(nn.Module):
    """Squeeze and excitation (Hu, Shen, Sun, CVPR 2018): scales channels by global context."""

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        channels = x_BTHWC.shape[-1]
        squeezed = round_width(channels / 16)
        y = x_BTHWC.mean(axis=(1, 2, 3), keepdims=True)
        y = nn.relu(nn.Dense(squeezed, dtype=x_BTHWC.dtype, name="squeeze")(y))
        return x_BTHWC * nn.sigmoid(nn.Dense(channels, dtype=x_BTHWC.dtype, name="excite")(y))


def round_width(width: float) -> int:
    """The nearest multiple of 8, but at least 8 and at least 0.9 of the width."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8

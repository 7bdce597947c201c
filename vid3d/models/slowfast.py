"""Slow and SlowFast: a residual network on few frames, and beside it a thin one on many.

Feichtenhofer, Fan, Malik, He, "SlowFast Networks for Video Recognition", ICCV 2019, table 1. Names,
layers and the choice of the slow frames are those of PySlowFast and pytorchvideo, whose weights can
be loaded (`vid3d.weights.published`).

    slow_r50           the slow pathway alone; clips of 8 frames, every 8th of the video
    slowfast_r50       4x16: clips of 32 frames, every 2nd of the video; the slow pathway sees 4
    slowfast_r50_8x8   the same, but the slow pathway sees 8
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vid3d.errors import UserError
from vid3d.models.layers import MaxPool3D, input_form, window_average
from vid3d.models.network import ResidualNetwork

DEPTHS = (3, 4, 6, 3)  # blocks of the four stages of ResNet-50


@dataclass(frozen=True)
class Fast:
    """The fast pathway: 1/8 of the width of the slow one."""

    ratio: int  # frames of the fast pathway per frame of the slow one
    fusion_kernel: int  # temporal kernel size of the convolutions from the fast to the slow pathway


ARCHITECTURES = {
    "slow_r50": None,
    "slowfast_r50": Fast(ratio=8, fusion_kernel=5),
    "slowfast_r50_8x8": Fast(ratio=4, fusion_kernel=7),
}


class SlowFast(ResidualNetwork, kw_only=True):
    """`clips_BTHWC` (float32, normalised; T a multiple of the ratio) -> `logits_BK` (float32).

    The stages are sown as `stem`, `stage1`, ... for the slow pathway, before the fast one is joined
    to it, and as `fast_stem`, `fast_stage1`, ... for the fast one.

    Attributes:
        fast: one value of `ARCHITECTURES`; None is the slow pathway alone.
        The others: see `ResidualNetwork`.
    """

    fast: Fast | None

    @nn.compact
    def __call__(self, clips_BTHWC: jax.Array, *, train: bool) -> jax.Array:
        conv, norm = self.conv_and_norm(train=train)
        block = nn.remat(Block) if self.remat else Block

        def stem(x: jax.Array, features: int, frames: int, *, name: str) -> jax.Array:
            x = conv(features, (frames, 7, 7), (1, 2, 2), name=f"{name}_conv")(x)
            x = nn.relu(norm(name=f"{name}_norm")(x))
            return MaxPool3D((1, 3, 3), (1, 2, 2), "HALF", name=f"{name}_pool")(x)

        drops = self.drop_paths(sum(DEPTHS), train=train)

        def stage(x: jax.Array, width: int, frames: int, number: int, *, name: str) -> jax.Array:
            for block_number in range(1, DEPTHS[number - 1] + 1):
                stride = 2 if number > 1 and block_number == 1 else 1
                drop = drops[sum(DEPTHS[: number - 1]) + block_number - 1]
                block_name = f"{name}_block{block_number}"
                x = block(width, frames, stride, conv, norm, drop, name=block_name)(x)
            return x

        def fuse(slow: jax.Array, fast: jax.Array, pathway: Fast, *, name: str) -> jax.Array:
            kernel, strides = (pathway.fusion_kernel, 1, 1), (pathway.ratio, 1, 1)
            x = conv(2 * fast.shape[-1], kernel, strides, name=f"{name}_conv")(fast)
            return jnp.concatenate([slow, nn.relu(norm(name=f"{name}_norm")(x))], axis=-1)

        clips_BTHWC = input_form(clips_BTHWC, self.input)
        slow = clips_BTHWC if self.fast is None else slow_frames(clips_BTHWC, self.fast.ratio)
        slow = stem(slow, 64, 1, name="stem")
        self.sow("intermediates", "stem", slow)
        if self.fast:
            fast = stem(clips_BTHWC, 8, 5, name="fast_stem")
            self.sow("intermediates", "fast_stem", fast)
            slow = fuse(slow, fast, self.fast, name="stem_fusion")

        for number in (1, 2, 3, 4):
            # 64, 128, 256, 512 inside the blocks, four times as many outside.
            width = 32 * 2**number
            slow = stage(slow, width, 3 if number > 2 else 1, number, name=f"stage{number}")
            self.sow("intermediates", f"stage{number}", slow)
            if self.fast:
                fast = stage(fast, width // 8, 3, number, name=f"fast_stage{number}")
                self.sow("intermediates", f"fast_stage{number}", fast)
                if number < 4:
                    slow = fuse(slow, fast, self.fast, name=f"stage{number}_fusion")

        if self.fast:
            pathways = [window_average(x, window=(x.shape[1], 7, 7)) for x in (slow, fast)]
            x = jnp.concatenate(pathways, axis=-1)
        else:
            x = window_average(slow, window=(8, 7, 7))
        return self.classify(x, train=train).mean((1, 2, 3))


class Block(nn.Module):
    """Bottleneck: `frames`x1x1, 1x3x3, 1x1x1 to four times the width, and a shortcut."""

    width: int
    frames: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    drop: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        strides = (1, self.stride, self.stride)
        y = self.conv(self.width, (self.frames, 1, 1), name="conv_a")(x_BTHWC)
        y = nn.relu(self.norm(name="norm_a")(y))
        y = self.conv(self.width, (1, 3, 3), strides, name="conv_b")(y)
        y = nn.relu(self.norm(name="norm_b")(y))
        y = self.conv(4 * self.width, (1, 1, 1), name="conv_c")(y)
        y = self.norm(scale_init=nn.initializers.zeros, name="norm_c")(y)
        if self.stride > 1 or x_BTHWC.shape[-1] != 4 * self.width:
            x_BTHWC = self.conv(4 * self.width, (1, 1, 1), strides, name="shortcut")(x_BTHWC)
            x_BTHWC = self.norm(name="shortcut_norm")(x_BTHWC)
        return nn.relu(x_BTHWC + self.drop(y))


def slow_frames(clips_BTHWC: jax.Array, ratio: int) -> jax.Array:
    """One of `ratio` frames, spaced evenly from first to last as in the published weights.

    Raises:
        UserError: the number of frames is not a multiple of the ratio.
    """
    frames = clips_BTHWC.shape[1]
    if frames % ratio:
        raise UserError(
            f"the slow pathway takes one of {ratio} frames and the clips have {frames}: "
            f"config.data.num_frames has to be a multiple of {ratio} (one more with differences as "
            "input)"
        )
    return clips_BTHWC[:, np.linspace(0, frames - 1, frames // ratio).astype(int)]

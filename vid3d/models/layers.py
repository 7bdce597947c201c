"""Blocks that several architectures share: convolution, pooling, normalisation, forms of the input.

Every block takes and returns `BTHWC` arrays. Parameters are float32; `dtype` is that of the computation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from vid3d.errors import UserError
from vid3d.ops import convolution

Triple = tuple[int, int, int]
Padding = str | Sequence[tuple[int, int]]

NORMS = ("none", "batch", "group")
INPUTS = ("frames", "difference", "both", "speed", "log_speed")
FAINT_EDGE = (
    0.06  # change from pixel to pixel, of clips in [0, 1], below which an edge tells no speed
)
SLOW = 0.1  # pixels a frame: "log_speed" is linear below it

he_normal = nn.initializers.he_normal()
he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv3D(nn.Module):
    """A 3D convolution with its parameters: `kernel` (T, H, W, in / groups, out) and `bias` (out).

    Attributes:
        features: channels of the output.
        kernel: its extent in (T, H, W).
        strides: in (T, H, W).
        padding: "SAME" or "VALID" as in XLA; "HALF" is half of the kernel on every side, whatever the strides, as
            networks written in PyTorch have it; or (before, after) for each of T, H, W.
        groups: the channels are split into so many groups that do not see each other.
        use_bias: adds one number a channel.
        kernel_init: Glorot uniform is the default of Keras.
    """

    features: int
    kernel: Triple = (3, 3, 3)
    strides: Triple = (1, 1, 1)
    padding: Padding = "SAME"
    groups: int = 1
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        kernel, bias = conv_parameters(self, x_BTHWC.shape[-1] // self.groups)
        y_BTHWC = convolution.conv3d(
            x_BTHWC.astype(self.dtype),
            kernel,
            strides=self.strides,
            padding=half_padding(self.kernel) if self.padding == "HALF" else self.padding,
            feature_group_count=self.groups,
        )
        return y_BTHWC if bias is None else y_BTHWC + bias


class ConvPool(nn.Module):
    """Convolution, bias, ReLU and max pooling in one: the full-size map between them is not kept.

    The parameters are those of `Conv3D`; both paddings are "SAME" and the pooling windows do not overlap.
    """

    features: int
    kernel: Triple = (3, 3, 3)
    pool: Triple = (3, 3, 3)
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
    use_bias: bool = True

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        kernel, bias = conv_parameters(self, x_BTHWC.shape[-1])
        return convolution.conv3d_max_pool(
            x_BTHWC.astype(self.dtype), kernel, bias, window=self.pool, activation=nn.relu
        )


def conv_parameters(module: Conv3D | ConvPool, channels: int) -> tuple[jax.Array, jax.Array | None]:
    """Kernel and bias of a convolution, in the type it computes in."""
    shape = (*module.kernel, channels, module.features)
    kernel = module.param("kernel", module.kernel_init, shape, jnp.float32).astype(module.dtype)
    if not module.use_bias:
        return kernel, None
    bias = module.param("bias", nn.initializers.zeros, (module.features,), jnp.float32)
    return kernel, bias.astype(module.dtype)


def half_padding(window: Triple) -> tuple[tuple[int, int], ...]:
    """The explicit form of "HALF"."""
    return tuple((extent // 2, extent // 2) for extent in window)


class MaxPool3D(nn.Module):
    """Max pooling; a module without parameters, so that `summary` shows it.

    Attributes:
        window: extent in (T, H, W).
        strides: in (T, H, W); None is the window.
        padding: as of `Conv3D`, filled with minus infinity.
    """

    window: Triple
    strides: Triple | None = None
    padding: Padding = "SAME"

    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        return convolution.max_pool3d(
            x_BTHWC,
            window=self.window,
            strides=self.strides,
            padding=half_padding(self.window) if self.padding == "HALF" else self.padding,
        )


def batch_norm(
    *,
    train: bool,
    axis_name: str | None,
    dtype: jnp.dtype,
    momentum: float,
    epsilon: float = 1e-5,
) -> Callable[..., nn.BatchNorm]:
    """Batch normalisation (Ioffe, Szegedy, 2015) as a constructor: `norm(name=...)(x)`.

    Training takes mean and variance over the batch, time and space, in float32, and over the devices of
    `axis_name` if one is given. Running statistics move by `1 - momentum` a step (0.9 here is 0.1 in PyTorch;
    the 0.99 of Keras is still far from the data after a short run) and keep the biased variance.
    """
    return partial(
        nn.BatchNorm,
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        dtype=dtype,
        axis_name=axis_name if train else None,
    )


def group_norm(features: int, *, dtype: jnp.dtype, name: str | None = None) -> nn.GroupNorm:
    """Group normalisation (Wu, He, 2018) in groups of 16 channels, or the largest size that divides them."""
    return nn.GroupNorm(
        num_groups=None, group_size=math.gcd(features, 16), epsilon=1e-5, dtype=dtype, name=name
    )


def window_average(x_BTHWC: jax.Array, *, window: Triple) -> jax.Array:
    """The mean of every window of a map that moves by one, in float32; `BTHWC`.

    The window is cut to the map where the map is smaller, so that small clips average over all of it; on larger ones
    a mean over the windows counts the middle more often, as in the published networks.
    """
    extents = tuple(min(pair) for pair in zip(window, x_BTHWC.shape[1:4], strict=True))
    x_BTHWC = x_BTHWC.astype(jnp.float32)
    if extents == x_BTHWC.shape[1:4]:
        return x_BTHWC.mean(axis=(1, 2, 3), keepdims=True)
    return nn.avg_pool(x_BTHWC, extents, strides=(1, 1, 1))


def drop_path(y_BTHWC: jax.Array, *, rate: float, train: bool) -> jax.Array:
    """Stochastic depth (Huang et al., ECCV 2016): in training, the branch of a clip is left out with chance `rate`.

    What stays is scaled by 1 / (1 - rate), so that evaluation needs no factor. Called inside a compact module.
    """
    if not rate:
        return y_BTHWC
    axes = tuple(range(1, y_BTHWC.ndim))
    return nn.Dropout(rate, broadcast_dims=axes, deterministic=not train)(y_BTHWC)


def drop_rates(last: float, blocks: int) -> list[float]:
    """The chance to be skipped of each block: it grows in even steps up to that of the last one."""
    return [last * number / blocks for number in range(1, blocks + 1)]


def class_scores(num_classes: int) -> nn.Dense:
    """The last layer of the residual networks, in float32 whatever the network computes in."""
    return nn.Dense(num_classes, kernel_init=nn.initializers.normal(0.01), name="classes")


def input_form(clips_BTHWC: jax.Array, form: str) -> jax.Array:
    """The clips as the network sees them.

    "frames" leaves them. "difference" is the absolute difference of neighbouring frames: what does not move is
    black, and there is one frame less. "both" has the later frame and the difference side by side in the channels.
    "speed" has the speed and the acceleration of edges side by side, see `edge_speed`, and two frames less.
    "log_speed" is log(1 + speed / SLOW) of both: twice as fast is one step, for a small motion as for a large one.

    Raises:
        UserError: a difference of a single frame, or an acceleration of two.
    """
    if form == "frames":
        return clips_BTHWC
    fewest = 3 if form in ("speed", "log_speed") else 2
    if clips_BTHWC.shape[1] < fewest:
        raise UserError(f"config.model.input={form!r} needs data.num_frames of at least {fewest}")
    if form == "speed":
        return edge_speed(clips_BTHWC)
    if form == "log_speed":
        return jnp.log1p(edge_speed(clips_BTHWC) / SLOW)
    earlier, later = clips_BTHWC[:, :-1], clips_BTHWC[:, 1:]
    difference = jnp.abs(later - earlier)
    return difference if form == "difference" else jnp.concatenate([later, difference], axis=-1)


def edge_speed(clips_BTHWC: jax.Array) -> jax.Array:
    """Speed and acceleration of the edges in every frame but the first and the last: [B, T - 2, H, W, 2C].

    An edge that moves by v pixels a frame changes a pixel by v times its own steepness: the change divided by the
    gradient in space is the speed along the gradient, whatever the contrast of the camera (normal flow; Horn,
    Schunck, "Determining Optical Flow", 1981). The change of the change gives the acceleration in the same way.
    `FAINT_EDGE` keeps noise on flat ground from being divided by nothing.
    """
    before, now, after = clips_BTHWC[:, :-2], clips_BTHWC[:, 1:-1], clips_BTHWC[:, 2:]
    x = jnp.pad(now, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
    down = (x[:, :, 2:, 1:-1] - x[:, :, :-2, 1:-1]) / 2
    right = (x[:, :, 1:-1, 2:] - x[:, :, 1:-1, :-2]) / 2
    steepness = jnp.sqrt(down**2 + right**2 + FAINT_EDGE**2)
    speed, acceleration = after - now, after - 2 * now + before
    return jnp.abs(jnp.concatenate([speed, acceleration], axis=-1)) / jnp.tile(
        steepness, (1, 1, 1, 1, 2)
    )


HEAD = "classes"

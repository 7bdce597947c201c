"""Building blocks of several architectures: convolution, pooling, normalisation, input forms.

Every block takes and returns `BTHWC` arrays. Parameters are float32; `dtype` is the type of the
computation.
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
FAINT_EDGE = 0.06  # gradient per pixel, of clips in [0, 1], below which edges show no speed
SLOW = 0.1  # pixels per frame; "log_speed" is about linear below it

he_normal = nn.initializers.he_normal()
he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv3D(nn.Module):
    """A 3D convolution with its parameters: `kernel` (T, H, W, in / groups, out) and `bias` (out).

    Attributes:
        features: channels of the output.
        kernel: kernel size in (T, H, W).
        strides: in (T, H, W).
        padding: "SAME" or "VALID" as in XLA; "HALF" pads each side with half of the kernel,
            whatever the strides, as is usual in PyTorch; or (before, after) for each of T, H, W.
        groups: number of independent groups that the channels are split into.
        use_bias: adds a bias per output channel.
        kernel_init: Glorot uniform by default, as in Keras.
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
    """Convolution, bias, ReLU and max pooling, fused: the full-size map is never stored.

    The parameters are those of `Conv3D`; both paddings are "SAME" and the pooling windows do not
    overlap.
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
    """Kernel and bias of a convolution, in the type of its computation."""
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
    """Max pooling; a module, although it has no parameters, so that `summary` lists it.

    Attributes:
        window: size in (T, H, W).
        strides: in (T, H, W); None means the window size.
        padding: as in `Conv3D`, filled with minus infinity.
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

    Training takes mean and variance over the batch, time and space, in float32, and over the
    devices of `axis_name` if given. Running statistics move by `1 - momentum` per step (0.9 here is
    0.1 in PyTorch; Keras's 0.99 is still far from the data after a short run) and store the biased
    variance.
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
    """Group normalisation (Wu, He, 2018); group size gcd(`features`, 16)."""
    return nn.GroupNorm(
        num_groups=None, group_size=math.gcd(features, 16), epsilon=1e-5, dtype=dtype, name=name
    )


def window_average(x_BTHWC: jax.Array, *, window: Triple) -> jax.Array:
    """Average pooling with stride 1 and no padding, in float32; `BTHWC`.

    The window is clipped to the map, so that small clips are averaged as a whole. On larger maps,
    averaging over the windows weights the middle more, as in the published networks.
    """
    extents = tuple(min(pair) for pair in zip(window, x_BTHWC.shape[1:4], strict=True))
    x_BTHWC = x_BTHWC.astype(jnp.float32)
    if extents == x_BTHWC.shape[1:4]:
        return x_BTHWC.mean(axis=(1, 2, 3), keepdims=True)
    return nn.avg_pool(x_BTHWC, extents, strides=(1, 1, 1))


def drop_path(y_BTHWC: jax.Array, *, rate: float, train: bool) -> jax.Array:
    """Stochastic depth (Huang et al., ECCV 2016): training drops a clip's branch at `rate`.

    Kept branches are scaled by 1 / (1 - rate), so that evaluation needs no factor. Call it inside a
    compact method.
    """
    if not rate:
        return y_BTHWC
    axes = tuple(range(1, y_BTHWC.ndim))
    return nn.Dropout(rate, broadcast_dims=axes, deterministic=not train)(y_BTHWC)


def drop_rates(last: float, blocks: int) -> list[float]:
    """The drop rate of each block, growing linearly up to `last`."""
    return [last * number / blocks for number in range(1, blocks + 1)]


def class_scores(num_classes: int) -> nn.Dense:
    """The last layer of the residual networks; float32 whatever the network's type."""
    return nn.Dense(num_classes, kernel_init=nn.initializers.normal(0.01), name="classes")


def input_form(clips_BTHWC: jax.Array, form: str) -> jax.Array:
    """Turns clips into the network's input.

    "frames" leaves them as they are. "difference" is the absolute difference of neighbouring
    frames: whatever does not move is black, and there is one frame fewer. "both" stacks the later
    frame and the difference along the channels. "speed" stacks the speed and the acceleration of
    edges, see `edge_speed`, and has two frames fewer. "log_speed" is log(1 + speed / SLOW) of both:
    doubling a speed adds about the same amount to small and large motions.

    Raises:
        UserError: too few frames for a difference (2) or an acceleration (3).
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
    """Speed and acceleration of edges in all frames but the outer two: [B, T - 2, H, W, 2C].

    An edge that moves by v pixels per frame changes a pixel by v times its gradient in space. The
    change divided by that gradient is the speed along the gradient, independent of contrast (normal
    flow; Horn, Schunck, "Determining Optical Flow", 1981). The second difference gives the
    acceleration in the same way. `FAINT_EDGE` keeps noise in flat regions from being divided by
    almost zero.
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

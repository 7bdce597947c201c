"""3D convolution and max pooling, as functions of arrays that are fast on each platform.

On GPU and TPU, XLA's own convolution is fast and is used. On the CPU its 3D convolution is five to
twenty times slower than its 2D convolution, and so are its gradients and that of max pooling;
there, the functions below compute the same values with other algorithms. A traced program contains
both (`lax.platform_dependent`), and compilation picks the one for its platform.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from vid3d.ops import folded, narrow, pooling, wide
from vid3d.ops.pooling import Axis, Pads, Triple

Padding = str | Sequence[tuple[int, int]]

reference_max_pool3d = pooling.reference_max_pool3d

_library_only: ContextVar[bool] = ContextVar("library_only", default=False)


@contextlib.contextmanager
def library_form() -> Iterator[None]:
    """Traces everything in the block as XLA's own operations, e.g. to infer shapes.

    They trace several times faster than the CPU algorithms. A jitted function that is first traced
    in the block keeps them afterwards.
    """
    token = _library_only.set(True)
    try:
        yield
    finally:
        _library_only.reset(token)


def conv3d(
    x_BTHWC: jax.Array,
    kernel_THWIO: jax.Array,
    *,
    strides: Triple = (1, 1, 1),
    padding: Padding = "SAME",
    feature_group_count: int = 1,
) -> jax.Array:
    """3D convolution (cross-correlation).

    y[t, h, w] = sum over a, b, c of x[st t + a, sh h + b, sw w + c] kernel[a, b, c], with strides
    (st, sh, sw).

    Args:
        x_BTHWC: clips, any float type.
        kernel_THWIO: taps in time, height, width; input channels of one group; output channels.
        strides: in T, H, W.
        padding: "SAME", "VALID", or (before, after) for each of T, H, W.
        feature_group_count: number of independent groups that the channels are split into.

    Returns:
        The output, in the type of `x_BTHWC`.
    """
    pads = explicit_padding(x_BTHWC.shape, kernel_THWIO.shape[:3], strides, padding)
    cpu = partial(
        _conv3d_cpu,
        strides=triple(strides),
        padding=pads,
        feature_group_count=feature_group_count,
    )
    default = partial(
        reference_conv3d,
        strides=triple(strides),
        padding=pads,
        feature_group_count=feature_group_count,
    )
    return _by_platform(x_BTHWC, kernel_THWIO, cpu=_in_float32(cpu), default=default)


def max_pool3d(
    x_BTHWC: jax.Array,
    *,
    window: Triple = (3, 3, 3),
    strides: Triple | None = None,
    padding: Padding = "SAME",
) -> jax.Array:
    """Max pooling; padding never wins, and of equal values the first gets the gradient.

    Args:
        x_BTHWC: clips or feature maps.
        window: size in T, H, W.
        strides: in T, H, W; None means `window`.
        padding: "SAME", "VALID", or (before, after) for each of T, H, W.
    """
    window, strides = triple(window), triple(window if strides is None else strides)
    pads = explicit_padding(x_BTHWC.shape, window, strides, padding)
    return _by_platform(
        x_BTHWC,
        cpu=partial(pooling.separable_max_pool3d, window=window, strides=strides, padding=pads),
        default=partial(reference_max_pool3d, window=window, strides=strides, padding=pads),
    )


def conv3d_max_pool(
    x_BTHWC: jax.Array,
    kernel_THWIO: jax.Array,
    bias_O: jax.Array | None,
    *,
    window: Triple = (3, 3, 3),
    padding: Padding = "SAME",
    pool_padding: Padding = "SAME",
    activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
) -> jax.Array:
    """activation(max_pool(convolution) + bias), with windows that do not overlap.

    Bias and activation are applied after pooling, to fewer values: for a non-decreasing activation,
    max(activation(y + bias)) = activation(max(y) + bias).

    Args:
        x_BTHWC: clips or feature maps, any float type.
        kernel_THWIO: taps in time, height, width, input and output channels. The strides are 1.
        bias_O: one value per output channel, or None.
        window: size and strides of the pooling windows in T, H, W.
        padding: of the convolution: "SAME", "VALID", or (before, after) for each of T, H, W.
        pool_padding: of the pooling, likewise.
        activation: a non-decreasing function.
    """
    ones = (1, 1, 1)
    pads = explicit_padding(x_BTHWC.shape, kernel_THWIO.shape[:3], ones, padding)
    conv_shape = [
        n + sum(p) - k + 1
        for n, p, k in zip(x_BTHWC.shape[1:4], pads, kernel_THWIO.shape, strict=False)
    ]
    pool_pads = explicit_padding((1, *conv_shape, 1), window, window, pool_padding)
    time, height, width = map(
        Axis, x_BTHWC.shape[1:4], kernel_THWIO.shape[:3], window, pads, pool_pads
    )
    axes = time, height, width
    y = _by_platform(
        x_BTHWC,
        kernel_THWIO,
        cpu=_in_float32(partial(cpu_form(x_BTHWC.shape, kernel_THWIO.shape, window), axes=axes)),
        default=partial(reference_conv3d_max_pool, axes=axes),
    )
    return activation(y if bias_O is None else y + bias_O)


def cpu_form(
    shape: Sequence[int], kernel_shape: Sequence[int], window: Triple
) -> Callable[..., jax.Array]:
    """The algorithm for convolution and pooling on a CPU; the thresholds are measured."""
    taps, *kernel, channels, features = kernel_shape
    if max(kernel) <= 3 and max(window) <= 3 and max(window[1:]) > 1:
        if taps * channels <= 12:
            return lambda x, kernel, axes: narrow.conv_max_pool(x, kernel, axes)
        if min(channels, features) >= 16 and min(shape[2:4]) >= 12:
            return lambda x, kernel, axes: wide.conv_max_pool(x, kernel, axes)
    return _conv3d_then_max_pool_cpu


def reference_conv3d(
    x_BTHWC: jax.Array,
    kernel_THWIO: jax.Array,
    *,
    strides: Triple,
    padding: Padding,
    feature_group_count: int,
) -> jax.Array:
    """The convolution as XLA's own operation, for GPU and TPU."""
    return lax.conv_general_dilated(
        x_BTHWC,
        kernel_THWIO,
        strides,
        padding,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        feature_group_count=feature_group_count,
    )


def reference_conv3d_max_pool(
    x_BTHWC: jax.Array, kernel_THWIO: jax.Array, *, axes: tuple[Axis, Axis, Axis]
) -> jax.Array:
    """Convolution and max pooling, before bias and activation, as XLA's own operations."""
    y = reference_conv3d(
        x_BTHWC,
        kernel_THWIO,
        strides=(1, 1, 1),
        padding=tuple(axis.conv_pads for axis in axes),
        feature_group_count=1,
    )
    window = triple(axis.window for axis in axes)
    pool_pads = tuple(axis.pool_pads for axis in axes)
    return reference_max_pool3d(y, window=window, strides=window, padding=pool_pads)


def _conv3d_cpu(x, kernel, *, strides, padding, feature_group_count):
    *_, channels, features = kernel.shape
    square = kernel.shape[1:3] == (3, 3) and strides == (1, 1, 1) and feature_group_count == 1
    if square and min(channels, features) >= 16 and min(x.shape[2:4]) >= 7:
        return wide.conv3d(x, kernel, padding)
    return folded.conv3d(
        x, kernel, strides=strides, padding=padding, feature_group_count=feature_group_count
    )


def _conv3d_then_max_pool_cpu(x, kernel, axes):
    pads = tuple(axis.conv_pads for axis in axes)
    window = triple(axis.window for axis in axes)
    y = _conv3d_cpu(x, kernel, strides=(1, 1, 1), padding=pads, feature_group_count=1)
    pool_pads = tuple(axis.pool_pads for axis in axes)
    return pooling.separable_max_pool3d(y, window=window, strides=window, padding=pool_pads)


def triple(values: Iterable[int]) -> Triple:
    """Three integers, for T, H, W, as a tuple."""
    time, height, width = values
    return time, height, width


def explicit_padding(
    shape: Sequence[int], window: Sequence[int], strides: Sequence[int], padding: Padding
) -> Pads:
    """(before, after) for each of T, H, W."""
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(shape[1:4], window, strides, padding)
    return tuple((int(before), int(after)) for before, after in padding)


def _by_platform(*arrays, cpu, default):
    """`cpu` on CPUs, `default` elsewhere and in `library_form`; only `cpu` if there is no other."""
    if _library_only.get():
        return default(*arrays)
    if jax.default_backend() == "cpu":
        return cpu(*arrays)
    return lax.platform_dependent(*arrays, cpu=cpu, default=default)


def _in_float32(function):
    """Computes in float32 and returns the type of `x`: half precision is slower on a CPU."""

    def run(x, kernel):
        return function(x.astype(jnp.float32), kernel.astype(jnp.float32)).astype(x.dtype)

    return run

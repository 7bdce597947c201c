"""3D convolution as matrix products over a few frames at a time; any kernel and stride.

With x'[t] = (x[s t], x[s t + 1], ..., x[s t + k - 1]) stacked along the channels, a 3D convolution
with k taps and stride s in time is a 2D convolution of the frames x'. The patches of a few frames
are written as rows of a matrix that stays in the cache, and y = patches @ kernel. The gradient of
the kernel is patches^T @ dy; that of the input is again a convolution, of dy with the flipped
kernel.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from vid3d.ops.pooling import Pads, Triple, pad

PATCHES = 2_000_000  # values in the patches of a group of frames


def conv3d(
    x: jax.Array, kernel: jax.Array, *, strides: Triple, padding: Pads, feature_group_count: int
) -> jax.Array:
    """3D convolution of float32 clips, (B, T, H, W, C) and (T, H, W, C / groups, O)."""
    groups = feature_group_count
    if groups == 1:
        return _frames_conv(x, kernel, tuple(strides), padding)
    features = kernel.shape[-1]
    if groups == x.shape[-1] == features:
        return _depthwise_conv(x, kernel[:, :, :, 0], tuple(strides), padding)
    x_GBTHWC = jnp.moveaxis(x.reshape(*x.shape[:4], groups, -1), 4, 0)
    kernel_G = jnp.moveaxis(kernel.reshape(*kernel.shape[:4], groups, -1), 4, 0)
    y_GBTHWO = lax.map(
        lambda one: _frames_conv(*one, tuple(strides), padding), (x_GBTHWC, kernel_G)
    )
    y = jnp.moveaxis(y_GBTHWO, 0, 4)
    return y.reshape(*y.shape[:4], features)


def _with_gradients(convolution, input_gradient, kernel_gradient):
    """A convolution whose backward pass is two functions of (x, kernel, strides, padding, dy)."""

    def forward(x, kernel, strides, padding):
        return convolution(x, kernel, strides, padding), (x, kernel)

    def backward(strides, padding, residuals, dy):
        args = (*residuals, strides, padding, dy)
        return input_gradient(*args), kernel_gradient(*args)

    differentiable = jax.custom_vjp(convolution, nondiff_argnums=(2, 3))
    differentiable.defvjp(forward, backward)
    return differentiable


def _sum_over_taps(x, kernel_THWC, strides, padding):
    """Depthwise: the sum over taps of the shifted input times one weight per channel."""
    x = pad(x, padding)
    counts = [
        (n - k) // s + 1 for n, k, s in zip(x.shape[1:4], kernel_THWC.shape, strides, strict=False)
    ]
    ends = [(n - 1) * s + 1 for n, s in zip(counts, strides, strict=True)]
    y = 0
    for a in range(kernel_THWC.shape[0]):
        for b in range(kernel_THWC.shape[1]):
            for c in range(kernel_THWC.shape[2]):
                start = (0, a, b, c, 0)
                stop = (x.shape[0], a + ends[0], b + ends[1], c + ends[2], x.shape[4])
                y = y + lax.slice(x, start, stop, (1, *strides, 1)) * kernel_THWC[a, b, c]
    return y


def _depthwise_input_gradient(x, kernel_THWC, strides, padding, dy):
    """The convolution of dy, dilated by the strides, with the flipped kernel."""
    spread = [(0, 0, 0)]
    for n, count, k, s, (before, _) in zip(
        x.shape[1:4], dy.shape[1:4], kernel_THWC.shape, strides, padding, strict=False
    ):
        spread.append((k - 1 - before, n + before - (count - 1) * s - 1, s - 1))
    dy = lax.pad(dy, jnp.zeros((), dy.dtype), [*spread, (0, 0, 0)])
    return _sum_over_taps(dy, lax.rev(kernel_THWC, (0, 1, 2)), (1, 1, 1), ((0, 0),) * 3)


def _depthwise_kernel_gradient(x, kernel_THWC, strides, padding, dy):
    """Row by row of dy, so that the sums, per tap, column and channel, stay in the cache."""
    x = pad(x, padding)
    taps, height, width, channels = kernel_THWC.shape
    clips, frames, rows, columns, _ = dy.shape
    last = (columns - 1) * strides[2] + 1

    def add_row(sums, number):
        clip, frame, row = number // (frames * rows), number // rows % frames, number % rows
        start = (clip, frame * strides[0], row * strides[1], 0, 0)
        seen = lax.dynamic_slice(x, start, (1, taps, height, x.shape[3], channels))[0]
        dy_row = lax.dynamic_slice(dy, (clip, frame, row, 0, 0), (1, 1, 1, columns, channels))[0]
        return tuple(
            total + seen[:, :, c : c + last : strides[2]] * dy_row for c, total in enumerate(sums)
        ), None

    zeros = (jnp.zeros((taps, height, columns, channels), dy.dtype),) * width
    sums, _ = lax.scan(add_row, zeros, jnp.arange(clips * frames * rows))
    return jnp.stack([total.sum(axis=2) for total in sums], axis=2)


_depthwise_conv = _with_gradients(
    _sum_over_taps, _depthwise_input_gradient, _depthwise_kernel_gradient
)


def _patches_times_kernel(x, kernel, strides, padding):
    """Patches times kernel, one group of frames at a time."""
    frames, counts = _folded_frames(x, kernel.shape, strides, padding)
    flat = jnp.moveaxis(kernel, 0, 2).reshape(-1, kernel.shape[-1])
    groups = frames.reshape(-1, _group(frames, kernel, counts), *frames.shape[1:])
    y = lax.map(lambda some: _patches(some, kernel.shape, strides, counts) @ flat, groups)
    return y.reshape(-1, *counts, kernel.shape[-1])


def _folded_frames(x, kernel_shape, strides, padding):
    """Padded frames with their successors as channels, (B T', H, W, taps C), and output sizes."""
    x = pad(x, padding)
    counts = [
        (n - k) // s + 1 for n, k, s in zip(x.shape[1:4], kernel_shape, strides, strict=False)
    ]
    last = (counts[0] - 1) * strides[0] + 1
    frames = jnp.concatenate(
        [x[:, a : a + last : strides[0]] for a in range(kernel_shape[0])], axis=-1
    )
    return frames.reshape(-1, *frames.shape[2:]), counts


def input_gradient(x, kernel, strides, padding, dy):
    """The gradient of the input: the convolution of dy with the flipped kernel.

    With strides, the input's blocks of that size become channels first.
    """
    if strides == (1, 1, 1):
        kernel, padding = flipped(kernel, padding)
        return _frames_conv(dy, kernel, strides, padding)
    rounded = [-k % s for k, s in zip(kernel.shape, strides, strict=False)]
    kernel = _blocks(pad(kernel[None], [(0, r) for r in rounded]), strides)[0]

    def blocked(x):
        sizes = [
            s * (n + k - 1) for s, n, k in zip(strides, dy.shape[1:], kernel.shape, strict=False)
        ]
        pads = [
            (before, size - n - before)
            for size, n, (before, _) in zip(sizes, x.shape[1:], padding, strict=False)
        ]
        return _frames_conv(_blocks(pad(x, pads), strides), kernel, (1, 1, 1), ((0, 0),) * 3)

    return jax.vjp(blocked, x)[1](dy)[0]


def flipped(kernel_THWIO: jax.Array, padding: Pads) -> tuple[jax.Array, Pads]:
    """Kernel and padding of the convolution that takes dy to the gradient of the input."""
    pads = tuple(
        (taps - 1 - before, taps - 1 - after)
        for taps, (before, after) in zip(kernel_THWIO.shape, padding, strict=False)
    )
    return lax.rev(kernel_THWIO, (0, 1, 2)).swapaxes(3, 4), pads


def _kernel_gradient(x, kernel, strides, padding, dy):
    """patches^T @ dy, summed over groups of frames."""
    taps, height, width, _, features = kernel.shape
    frames, counts = _folded_frames(x, kernel.shape, strides, padding)
    group = _group(frames, kernel, counts)

    def add_group(total, some):
        frames, dy = some
        return total + _patches(frames, kernel.shape, strides, counts).T @ dy, None

    groups = (
        frames.reshape(-1, group, *frames.shape[1:]),
        dy.reshape(len(frames) // group, -1, features),
    )
    total, _ = lax.scan(add_group, jnp.zeros((kernel.size // features, features)), groups)
    return jnp.moveaxis(total.reshape(height, width, taps, -1, features), 2, 0)


_frames_conv = _with_gradients(_patches_times_kernel, input_gradient, _kernel_gradient)


def _patches(frames, kernel_shape, strides, counts):
    """A row per output, with the inputs under its kernel."""
    _, height, width, *_ = kernel_shape
    rows, columns = ((n - 1) * s + 1 for n, s in zip(counts[1:], strides[1:], strict=True))
    parts = [
        frames[:, b : b + rows : strides[1], c : c + columns : strides[2]]
        for b in range(height)
        for c in range(width)
    ]
    return jnp.concatenate(parts, axis=-1).reshape(-1, len(parts) * frames.shape[-1])


def _group(frames, kernel, counts):
    """The number of frames at a time whose patches stay in the cache; it divides all frames."""
    size = math.prod(counts[1:]) * kernel.size // kernel.shape[-1]
    limit = min(len(frames), max(1, PATCHES // size))
    return max(n for n in range(1, limit + 1) if len(frames) % n == 0)


def _blocks(x, strides):
    """Space to depth: blocks of `strides` in T, H, W become channels; x is (N, T, H, W, C, ...)."""
    n, t, h, w, c, *rest = x.shape
    st, sh, sw = strides
    x = x.reshape(n, t // st, st, h // sh, sh, w // sw, sw, c, *rest)
    x = jnp.moveaxis(x, (2, 4, 6), (4, 5, 6))
    return x.reshape(n, t // st, h // sh, w // sw, -1, *rest)

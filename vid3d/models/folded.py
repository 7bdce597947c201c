"""3D convolution by way of 2D: the taps in time are folded into the channels of frames.

With x'[t] = (x[s t], x[s t + 1], ..., x[s t + k - 1]) side by side in the channels, a 3D convolution with k taps and
stride s in time is a 2D convolution of the frames x'. The gradient of the input is again a convolution, with the
flipped kernel; that of the kernel is a product of matrices, patches^T dy.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from vid3d.models.pooling import Pads, Triple, pad


def conv3d(
    x: jax.Array, kernel: jax.Array, *, strides: Triple, padding: Pads, feature_group_count: int
) -> jax.Array:
    """3D convolution of float32 clips, (B, T, H, W, C) and (T, H, W, C / groups, O)."""
    groups = feature_group_count
    if groups == 1:
        return _frames_conv(x, kernel, tuple(strides), padding)
    features = kernel.shape[-1]
    if groups == x.shape[-1] == features:
        return _depthwise_conv(x, kernel[:, :, :, 0], strides, padding)
    x_GBTHWC = jnp.moveaxis(x.reshape(*x.shape[:4], groups, -1), 4, 0)
    kernel_G = jnp.moveaxis(kernel.reshape(*kernel.shape[:4], groups, -1), 4, 0)
    y_GBTHWO = lax.map(
        lambda one: _frames_conv(*one, tuple(strides), padding), (x_GBTHWC, kernel_G)
    )
    y = jnp.moveaxis(y_GBTHWO, 0, 4)
    return y.reshape(*y.shape[:4], features)


def _depthwise_conv(x, kernel_THWC, strides, padding):
    """A channel for itself: the sum over the taps of the shifted input times a number a channel."""
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


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _frames_conv(x, kernel, strides, padding):
    """Convolution by frames, the taps in time as channels."""
    frames, counts = _folded_frames(x, kernel.shape, strides, padding)
    *_, features = kernel.shape
    flat = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], -1, features)
    y = lax.conv_general_dilated(
        frames, flat, strides[1:], "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y.reshape(-1, *counts, features)


def _frames_conv_forward(x, kernel, strides, padding):
    return _frames_conv(x, kernel, strides, padding), (x, kernel)


def _frames_conv_backward(strides, padding, residuals, dy):
    x, kernel = residuals
    return (
        input_gradient(x, kernel, strides, padding, dy),
        _kernel_gradient(x, kernel, strides, padding, dy),
    )


_frames_conv.defvjp(_frames_conv_forward, _frames_conv_backward)


def _folded_frames(x, kernel_shape, strides, padding):
    """Padded frames with their successors as channels, (B T', H, W, taps C), and the shape of the output."""
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
    """The convolution of dy with the flipped kernel; with strides, of the input's blocks of `strides` as channels."""
    if strides == (1, 1, 1):
        flipped = jnp.flip(kernel, (0, 1, 2)).swapaxes(3, 4)
        pads = tuple(
            (k - 1 - before, k - 1 - after)
            for k, (before, after) in zip(kernel.shape, padding, strict=False)
        )
        return _frames_conv(dy, flipped, strides, pads)
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


def _kernel_gradient(x, kernel, strides, padding, dy):
    """Patches^T dy, some frames at a time so that the patches stay in the cache."""
    taps, height, width, _, features = kernel.shape
    frames, counts = _folded_frames(x, kernel.shape, strides, padding)
    dy = dy.reshape(-1, *dy.shape[2:])
    group = _largest_divisor(len(frames), max(1, 4096 // math.prod(counts[1:])))

    def one_group(chunk):
        frames, dy = chunk
        rows, columns = ((n - 1) * s + 1 for n, s in zip(counts[1:], strides[1:], strict=True))
        patches = jnp.concatenate(
            [
                frames[:, b : b + rows : strides[1], c : c + columns : strides[2]]
                for b in range(height)
                for c in range(width)
            ],
            axis=-1,
        )
        return jnp.einsum("nhwk,nhwo->ko", patches, dy)

    chunks = [a.reshape(-1, group, *a.shape[1:]) for a in (frames, dy)]
    total, _ = lax.scan(
        lambda total, chunk: (total + one_group(chunk), None),
        one_group([a[0] for a in chunks]),
        [a[1:] for a in chunks],
    )
    return jnp.moveaxis(total.reshape(height, width, taps, -1, features), 2, 0)


def _blocks(x, strides):
    """Space to depth: blocks of `strides` in T, H, W become channels; any array of (N, T, H, W, C, ...)."""
    n, t, h, w, c, *rest = x.shape
    st, sh, sw = strides
    x = x.reshape(n, t // st, st, h // sh, sh, w // sw, sw, c, *rest)
    x = jnp.moveaxis(x, (2, 4, 6), (4, 5, 6))
    return x.reshape(n, t // st, h // sh, w // sw, -1, *rest)


def _largest_divisor(number, limit):
    return max(n for n in range(1, min(number, limit) + 1) if number % n == 0)

"""Max pooling that stores the winner of every window, because XLA's gradient is slow on CPUs.

XLA's gradient of max pooling searches every window again (select-and-scatter). Here the forward
pass stores the index of the winner, one byte per output, and the backward pass is a comparison: an
input receives the gradient of the windows that it won. Of equal values the first in the order t, h,
w wins, as in XLA. A NaN is the maximum of its window (with XLA's pooling only on GPU and TPU: on
the CPU it drops NaN).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Triple = tuple[int, int, int]
Pads = tuple[tuple[int, int], ...]


class Axis(NamedTuple):
    """One axis of a convolution followed by pooling with windows that do not overlap."""

    size: int
    kernel: int
    window: int
    conv_pads: tuple[int, int]
    pool_pads: tuple[int, int]

    @property
    def conv_size(self) -> int:
        return self.size + sum(self.conv_pads) - self.kernel + 1

    @property
    def cells(self) -> int:
        """The number of pooling windows."""
        return (self.conv_size + sum(self.pool_pads) - self.window) // self.window + 1

    @property
    def input_pads(self) -> tuple[int, int]:
        """Padding of the input (negative crops) that yields exactly the windows' outputs."""
        before = self.conv_pads[0] + self.pool_pads[0]
        return before, self.cells * self.window + self.kernel - 1 - self.size - before

    @property
    def inside(self) -> np.ndarray:
        """Which outputs (cell, offset in its window) exist; the others are pooling padding."""
        output = np.arange(self.cells * self.window) - self.pool_pads[0]
        return ((output >= 0) & (output < self.conv_size)).reshape(self.cells, self.window)

    @property
    def mask(self) -> np.ndarray:
        """What to add to an output (cell, offset) so that padding never wins: 0 or -inf."""
        return np.where(self.inside, np.float32(0), np.float32(-np.inf))

    @property
    def masks(self) -> list[np.ndarray | None]:
        """The mask of each offset in a window, (cells,); None where every output exists."""
        return [mask if mask.any() else None for mask in self.mask.T]

    def in_windows(self, outputs: jax.Array, fill: float) -> jax.Array:
        """Splits outputs along the first axis into (cells, window, ...), padded with `fill`."""
        before = self.pool_pads[0]
        after = self.cells * self.window - before - self.conv_size
        config = [(before, after, 0)] + [(0, 0, 0)] * (outputs.ndim - 1)
        outputs = lax.pad(outputs, jnp.array(fill, outputs.dtype), config)
        return outputs.reshape(self.cells, self.window, *outputs.shape[1:])


class Rows(NamedTuple):
    """Blocks of rows of a clip's pooling windows, whose intermediate values stay in the cache.

    The blocks of a clip have the same size; the surplus of the last one is cropped.
    """

    height: Axis
    cells: int  # rows of windows per block
    blocks: int  # per clip

    @classmethod
    def of(cls, height: Axis, limit: float) -> Rows:
        """Blocks of at most `limit` rows of windows, and of at least one."""
        count = -(-height.cells // max(int(limit), 1))
        return cls(height, -(-height.cells // count), count)

    @property
    def axis(self) -> Axis:
        """The height of one block, padding included."""
        size = self.cells * self.height.window + self.height.kernel - 1
        return Axis(size, self.height.kernel, self.height.window, (0, 0), (0, 0))

    def map(
        self, function: Callable[[jax.Array, list[jax.Array | None]], Any], x_BTHWC: jax.Array
    ) -> Any:
        """Calls `function(block [T, H, W, C], its row masks)` per block and joins the results.

        The masks are as in `Axis.masks`. `function` returns arrays (T', cells, W', O), which become
        (B, T', rows of windows, W', O).
        """
        before, after = self.height.input_pads
        beyond = self.blocks * self.cells - self.height.cells
        x = pad(x_BTHWC, [(0, 0), (before, after + beyond * self.height.window)])
        shape = (1, x.shape[1], self.axis.size, *x.shape[3:])
        masks = [
            None if mask is None else jnp.pad(mask, (0, beyond)).reshape(self.blocks, self.cells)
            for mask in self.height.masks
        ]

        def one(number):
            clip, block = number // self.blocks, number % self.blocks
            start = (clip, 0, block * self.cells * self.height.window, 0, 0)
            row_masks = [None if mask is None else mask[block] for mask in masks]
            return function(lax.dynamic_slice(x, start, shape)[0], row_masks)

        y = lax.map(one, jnp.arange(len(x) * self.blocks))
        return jax.tree.map(self._join, y)

    def _join(self, y_NTHWO: jax.Array) -> jax.Array:
        y = y_NTHWO.reshape(-1, self.blocks, *y_NTHWO.shape[1:]).swapaxes(1, 2)
        y = y.reshape(*y.shape[:2], -1, *y.shape[4:])
        return y[:, :, : self.height.cells]


def lowest(dtype: jnp.dtype) -> np.ndarray:
    """The value of padding, for floats: never larger than any other."""
    return np.array(-np.inf, dtype)


def reference_max_pool3d(
    x_BTHWC: jax.Array, *, window: Triple, strides: Triple, padding: Pads
) -> jax.Array:
    """Max pooling as XLA's own operation, for GPU and TPU."""
    return lax.reduce_window(
        x_BTHWC,
        lowest(x_BTHWC.dtype),
        lax.max,
        (1, *window, 1),
        (1, *strides, 1),
        ((0, 0), *padding, (0, 0)),
    )


def separable_max_pool3d(
    x_BTHWC: jax.Array, *, window: Triple, strides: Triple, padding: Pads
) -> jax.Array:
    """Max pooling along one axis after the other: first w, then h, then t.

    The first winner along t, then h, then w, is the first of the box in the order t, h, w.
    """
    for axis in (3, 2, 1):
        extent, stride, pads = window[axis - 1], strides[axis - 1], padding[axis - 1]
        if (extent, stride, pads) != (1, 1, (0, 0)):
            x_BTHWC = _max_along(x_BTHWC, axis, extent, stride, pads)
    return x_BTHWC


def first_maximum(parts: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The elementwise maximum of several arrays and the number of the first that attains it."""
    dtype = jnp.int8 if len(parts) < 128 else jnp.int32
    best, winner = parts[0], lax.full_like(parts[0], 0, dtype)
    for number, part in enumerate(parts[1:], start=1):
        winner = lax.select(lax.gt(part, best), lax.full_like(winner, number), winner)
        best = lax.max(best, part)
    return best, winner


def split_winner(winner: jax.Array, axes: tuple[Axis, Axis, Axis]) -> tuple[jax.Array, ...]:
    """Offsets (t, h, w) in the window, from the number of the winner."""
    _, height, width = axes
    rest, column = _divide(winner, width.window)
    frame, row = _divide(rest, height.window)
    return frame, row, column


def _divide(number, divisor):
    divisor = lax.full_like(number, divisor)
    return lax.div(number, divisor), lax.rem(number, divisor)


def pad(x: jax.Array, pads: Sequence[tuple[int, int]]) -> jax.Array:
    """Pads T, H, W of an array (B, T, H, W, ...) with zeros; negative numbers crop."""
    config = [(0, 0, 0)] * x.ndim
    for axis, (before, after) in enumerate(pads, start=1):
        config[axis] = (before, after, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def masked(y: jax.Array, mask: jax.Array | np.ndarray | None, *, axis: int) -> jax.Array:
    """Adds a mask along one axis; None leaves `y` as it is."""
    return y if mask is None else lax.add(y, lax.broadcast_in_dim(mask, y.shape, (axis,)))


def pick(number: jax.Array, options: Sequence[jax.Array]) -> jax.Array:
    """options[number], elementwise; the options are broadcast against it."""
    *others, chosen = options
    for n, option in reversed(list(enumerate(others))):
        chosen = jnp.where(lax.eq(number, lax.full_like(number, n)), option, chosen)
    return chosen


def unstack(x: jax.Array, axis: int) -> list[jax.Array]:
    """The slices along an axis."""
    return [lax.index_in_dim(x, n, axis, keepdims=False) for n in range(x.shape[axis])]


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_along(
    x: jax.Array, axis: int, extent: int, stride: int, pads: tuple[int, int]
) -> jax.Array:
    best, *others = _window_parts(x, axis, extent, stride, pads)
    for part in others:
        best = jnp.maximum(best, part)
    return best


def _max_along_forward(x, axis, extent, stride, pads):
    best, winner = first_maximum(_window_parts(x, axis, extent, stride, pads))
    return best, (winner, jnp.zeros((x.shape[axis], 0)))


def _max_along_backward(axis, extent, stride, pads, residuals, dy):
    winner, like = residuals
    size, zero = like.shape[0], jnp.zeros((), dy.dtype)
    if stride == extent:
        shape = [1] * (dy.ndim + 1)
        shape[axis + 1] = extent
        number = jnp.arange(extent, dtype=winner.dtype).reshape(shape)
        won = jnp.expand_dims(winner, axis + 1) == number
        dx = jnp.where(won, jnp.expand_dims(dy, axis + 1), zero)
        dx = dx.reshape(*dy.shape[:axis], dy.shape[axis] * extent, *dy.shape[axis + 1 :])
        return (_pad(dx, axis, -pads[0], size - (dx.shape[axis] - pads[0]), zero),)
    dx = zero
    for number in range(extent):
        won = jnp.where(winner == number, dy, zero)
        before = number - pads[0]
        after = size - before - ((dy.shape[axis] - 1) * stride + 1)
        dx = dx + _pad(won, axis, before, after, zero, interior=stride - 1)
    return (dx,)


_max_along.defvjp(_max_along_forward, _max_along_backward)


def _window_parts(x, axis, extent, stride, pads):
    """One array per offset in the window: its element of every window along an axis."""
    x = _pad(x, axis, *pads, lowest(x.dtype))
    count = (x.shape[axis] - extent) // stride + 1
    last = (count - 1) * stride + 1
    return [lax.slice_in_dim(x, n, n + last, stride, axis) for n in range(extent)]


def _pad(x, axis, before, after, value, *, interior=0):
    """Pads along one axis; a negative number of elements crops."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (before, after, interior)
    return lax.pad(x, value, config)

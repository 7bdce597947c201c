"""Convolution fused with max pooling for few input channels, as in the first layer.

The forward pass is Winograd's algorithm (see `winograd.py`) with sums in place of matrix products:
the 25 values of a tile are scalars, their weights are vectors over as many output channels as fit a
register, and the multiplications, the transform and the running maximum are one loop over tiles, in
registers. Neither the full map nor the 25 intermediate values are ever written to memory.

The gradient of the kernel is sparse: each output has one winner, so it is the sum over outputs of
the output's gradient times the input patch of the winner, which takes 1/27 of the dense form's
multiplications for windows of 27. The patches are gathered from the padded clip.
"""

from __future__ import annotations

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vid3d.ops import folded
from vid3d.ops.pooling import Axis, Rows, masked, pad, split_winner
from vid3d.ops.winograd import add_up, combine, input_transform, tile_transforms

# In XLA_FLAGS: vectors of 16 floats; `compilation` sets it.
WIDE = "--xla_cpu_prefer_vector_width=512"
TILES = 1500  # per block of rows, whose running maximum stays in the cache
UNROLL = 8  # outputs whose patches are added per step of the loop


def lanes() -> int:
    """Output channels per register of the compiled program."""
    return 16 if WIDE in os.environ.get("XLA_FLAGS", "") else 8


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_max_pool(
    x_BTHWC: jax.Array, kernel_THWIO: jax.Array, axes: tuple[Axis, Axis, Axis]
) -> jax.Array:
    """Convolution and max pooling (without overlap) of float32 clips with few channels.

    Kernel and window have at most 3 rows and columns.
    """
    return _forward(x_BTHWC, kernel_THWIO, axes, winners=False)


def _conv_max_pool_forward(x_BTHWC, kernel_THWIO, axes):
    pairs = _forward(x_BTHWC, kernel_THWIO, axes, winners=True)
    return lax.real(pairs), (x_BTHWC, kernel_THWIO, lax.imag(pairs).astype(jnp.int8))


def _conv_max_pool_backward(axes, residuals, dy_BTHWO):
    x_BTHWC, kernel_THWIO, winner_BTHWO = residuals
    return (
        _input_gradient(x_BTHWC, kernel_THWIO, winner_BTHWO, dy_BTHWO, axes),
        _kernel_gradient(x_BTHWC, kernel_THWIO.shape, winner_BTHWO, dy_BTHWO, axes),
    )


conv_max_pool.defvjp(_conv_max_pool_forward, _conv_max_pool_backward)


def _forward(x_BTHWC, kernel_THWIO, axes, *, winners):
    """The pooled map; with `winners`, complex numbers of (value, winner).

    For two arrays, the compiler would run the loop twice.
    """
    time, height, width = axes
    rows, columns = tile_transforms(axes)
    *_, channels, features = kernel_THWIO.shape
    count, register = len(rows.g) * len(columns.g), lanes()
    u = jnp.einsum("pj,qk,ijkco->icpqo", rows.g, columns.g, kernel_THWIO)
    u = jnp.pad(u, ((0, 0),) * 4 + ((0, -features % register),))
    u_GANL = jnp.moveaxis(u.reshape(time.kernel, channels * count, -1, register), 2, 0)
    blocks = Rows.of(height, TILES / width.cells)
    y = blocks.map(
        lambda x, row_masks: _forward_block(
            x, row_masks, u_GANL, (time, blocks.axis, width), winners=winners
        ),
        x_BTHWC,
    )
    return y[..., :features]


def _forward_block(x_THWC, row_masks, u_GANL, axes, *, winners):
    """`_forward` for one block of rows, whose masks in height are passed separately."""
    time, height, width = axes
    rows, columns = tile_transforms(axes)
    channels, count = x_THWC.shape[-1], len(rows.g) * len(columns.g)
    tiles = height.cells * width.cells
    shape = (len(u_GANL), tiles, u_GANL.shape[-1])

    x = pad(x_THWC[None], [time.conv_pads, height.input_pads, width.input_pads])[0]
    v = jnp.stack(input_transform(x, 1, height.cells, height.window, rows.b_t), axis=-1)
    v = jnp.stack(input_transform(v, 2, width.cells, width.window, columns.b_t), axis=-1)
    v_TMN = v.reshape(len(v), tiles, channels * count)

    def per_tile(mask, axis):
        if mask is None:
            return None
        return lax.broadcast_in_dim(mask, (height.cells, width.cells), (axis,)).reshape(tiles)

    row_masks = [per_tile(mask, 0) for mask in row_masks]
    column_masks = [per_tile(mask, 1) for mask in width.masks]

    def add_frame(number, offset, best):
        """Updates the running maximum with the tiles of one output frame."""
        v = [lax.dynamic_index_in_dim(v_TMN, number + a, 0, False) for a in range(time.kernel)]

        def multiply(point):
            """One of the 25 values, for all tiles: the sum over taps in time and channels."""
            products = []
            for a, c in np.ndindex(time.kernel, channels):
                n = c * count + point
                number = lax.slice_in_dim(v[a], n, n + 1, axis=1)
                vector = lax.index_in_dim(lax.index_in_dim(u_GANL, a, 1, False), n, 1, False)
                products.append(
                    lax.mul(
                        lax.broadcast_in_dim(number, shape, (1, 2)),
                        lax.broadcast_in_dim(vector, shape, (0, 2)),
                    )
                )
            return add_up(products)

        tile = np.arange(count).reshape(len(rows.g), len(columns.g)).tolist()
        tile = [combine(columns.a_t, [multiply(n) for n in row]) for row in tile]
        tile = [combine(rows.a_t, column) for column in zip(*tile, strict=True)]
        if winners:
            best, winner = lax.real(best), lax.imag(best)
        for j, k in np.ndindex(height.window, width.window):
            y = masked(masked(tile[k][j], row_masks[j], axis=1), column_masks[k], axis=1)
            if winners:
                this = (offset * height.window + j) * width.window + k
                this = lax.broadcast(this.astype(jnp.float32), shape)
                winner = lax.select(lax.gt(y, best), this, winner)
            best = lax.max(best, y)
        return lax.complex(best, winner) if winners else best

    def one_window(cell):
        start = cell * time.window - time.pool_pads[0]
        best = jnp.full(shape, -jnp.inf)
        best = lax.fori_loop(
            jnp.maximum(start, 0),
            jnp.minimum(start + time.window, time.conv_size),
            lambda t, best: add_frame(t, t - start, best),
            lax.complex(best, jnp.zeros_like(best)) if winners else best,
        )
        return jnp.moveaxis(best, 0, 1).reshape(height.cells, width.cells, -1)

    return lax.map(one_window, jnp.arange(time.cells))


def _kernel_gradient(x_BTHWC, kernel_shape, winner_BTHWO, dy_BTHWO, axes):
    """The sum over outputs of dy times the winner's patch."""
    *taps, channels, features = kernel_shape
    # A row of a patch is a run of values, rounded up to whole registers; the surplus is dropped at
    # the end.
    size = taps[2] * channels
    run = -(-size // lanes()) * lanes()
    # Addressed by one index into the flat clip: writing three per patch takes longer than the sums.
    x = pad(x_BTHWC, [axis.input_pads for axis in axes])
    strides = np.cumprod([channels, *x.shape[3:1:-1]])[::-1].astype(np.int32)
    x_BN = jnp.pad(x.reshape(len(x), -1), ((0, 0), (0, run)))

    cells = [axis.cells for axis in axes]
    outputs = int(np.prod(cells))
    windows = np.indices(cells, np.int32).reshape(3, outputs, 1)
    rows = np.indices(taps[:2], np.int32).reshape(2, -1)
    row_R = strides[:2] @ rows
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(2,), collapsed_slice_dims=(), start_index_map=(0,)
    )

    def one_clip(clip):
        x_N, winner, dy = clip
        offsets = split_winner(winner.reshape(outputs, features).astype(jnp.int32), axes)
        start = add_up(
            stride * (axis.window * window + offset)
            for stride, axis, window, offset in zip(strides, axes, windows, offsets, strict=True)
        )
        start, dy = (
            jnp.pad(a, ((0, -outputs % UNROLL), (0, 0)))
            for a in (start, dy.reshape(outputs, features))
        )

        def add(total, some):
            for start, dy in zip(*some, strict=True):
                patch = lax.gather(
                    x_N,
                    (start[:, None] + row_R)[:, :, None],
                    numbers,
                    (run,),
                    mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
                )
                total = total + patch * dy[:, None, None]
            return total, None

        some = [a.reshape(-1, UNROLL, features) for a in (start, dy)]
        return lax.scan(add, jnp.zeros((features, len(row_R), run)), some)[0]

    total = lax.map(one_clip, (x_BN, winner_BTHWO, dy_BTHWO)).sum(0)
    total = total[..., :size].reshape(features, *taps, channels)
    return jnp.moveaxis(total, 0, -1)


def _input_gradient(x_BTHWC, kernel_THWIO, winner_BTHWO, dy_BTHWO, axes):
    """Writes dy at the winners of a full-size map, then the convolution's gradient; rarely used."""
    shape = [axis.window for axis in axes]
    offset = np.arange(np.prod(shape), dtype=np.int8)
    offset = offset.reshape(shape[0], 1, shape[1], 1, shape[2], 1)

    def spread(a):
        return jnp.expand_dims(a, (2, 4, 6))

    dy = jnp.where(spread(winner_BTHWO) == offset, spread(dy_BTHWO), 0)
    dy = dy.reshape(len(dy), *[axis.cells * axis.window for axis in axes], -1)
    dy = pad(
        dy,
        [
            (-axis.pool_pads[0], axis.conv_size + axis.pool_pads[0] - axis.cells * axis.window)
            for axis in axes
        ],
    )
    pads = tuple(axis.conv_pads for axis in axes)
    return folded.input_gradient(x_BTHWC, kernel_THWIO, (1, 1, 1), pads, dy)

"""Convolution for many channels, alone or fused with max pooling, as matrix products over tiles.

The algorithm is that of `winograd.py`. With pooling, the taps in time are columns of the products
and the maximum is taken over the tile, so that the map before pooling is never written; without
pooling they are rows. Both process a block of rows of tiles, or of frames, at a time.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vid3d.ops.folded import flipped
from vid3d.ops.pooling import (
    Axis,
    Pads,
    Rows,
    first_maximum,
    masked,
    pad,
    pick,
    split_winner,
    unstack,
)
from vid3d.ops.winograd import add_up, combine, input_transform, tile_transforms

BLOCK = 1_000_000  # values in the products of a block of rows or frames, which stay in the cache


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_max_pool(
    x_BTHWC: jax.Array, kernel_THWIO: jax.Array, axes: tuple[Axis, Axis, Axis]
) -> jax.Array:
    """Convolution and max pooling (without overlap) of float32 clips with many channels.

    Kernel and window have at most 3 rows and columns; the winners are stored for the backward pass.
    """
    return _forward(x_BTHWC, kernel_THWIO, axes)[0]


def _conv_max_pool_forward(x_BTHWC, kernel_THWIO, axes):
    y_BTHWO, winner_BTHWO = _forward(x_BTHWC, kernel_THWIO, axes)
    return y_BTHWO, (x_BTHWC, kernel_THWIO, winner_BTHWO)


def _conv_max_pool_backward(axes, residuals, dy_BTHWO):
    x_BTHWC, kernel_THWIO, winner_BTHWO = residuals
    u_PCO, pull_kernel = jax.vjp(lambda kernel: _kernel_transform(kernel, axes), kernel_THWIO)

    def one_clip(clip):
        x_THWC, winner_THWO, dy_THWO = clip
        v_PMC, pull_input = jax.vjp(lambda x: _clip_transform(x, axes), x_THWC)
        dm_PMO = _gradient_transform(dy_THWO, winner_THWO, axes)
        dv_PMC = jnp.einsum("pmo,pco->pmc", dm_PMO, u_PCO)
        du_PCO = jnp.einsum("pmc,pmo->pco", v_PMC, dm_PMO)
        return pull_input(dv_PMC)[0], du_PCO

    def add_clip(du_PCO, clip):
        dx_THWC, du = one_clip(clip)
        return du_PCO + du, dx_THWC

    clips = (x_BTHWC, winner_BTHWO, dy_BTHWO)
    du_PCO, dx_BTHWC = lax.scan(add_clip, jnp.zeros_like(u_PCO), clips)
    return dx_BTHWC, pull_kernel(du_PCO)[0]


conv_max_pool.defvjp(_conv_max_pool_forward, _conv_max_pool_backward)


def _kernel_transform(kernel_THWIO, axes):
    """U = G g G^T: (P, C, taps in time x O), where P is the number of points."""
    rows, columns = tile_transforms(axes)
    u = jnp.stack(combine(rows.g, unstack(kernel_THWIO, 1)))
    u = jnp.stack(combine(columns.g, unstack(u, 2)), axis=1)
    u = u.swapaxes(2, 3)
    return u.reshape(u.shape[0] * u.shape[1], u.shape[2], -1)


def _clip_transform(x_THWC, axes):
    """V = B^T x B: (P, M, C), where M is the number of tiles of all frames."""
    _, height, width = axes
    rows, columns = tile_transforms(axes)
    x = pad(x_THWC[None], [(0, 0), height.input_pads, width.input_pads])[0]
    v = jnp.stack(input_transform(x, 1, height.cells, height.window, rows.b_t))
    v = jnp.stack(input_transform(v, 3, width.cells, width.window, columns.b_t), axis=1)
    return v.reshape(v.shape[0] * v.shape[1], -1, v.shape[-1])


def _forward(x_BTHWC, kernel_THWIO, axes):
    """The pooled maps and the winners, (offset in time, row, column) as one number."""
    time, height, width = axes
    *_, channels, features = kernel_THWIO.shape
    points = math.prod(len(t.g) for t in tile_transforms(axes))
    row = points * time.size * width.cells * (channels + time.kernel * features)
    blocks = Rows.of(height, BLOCK / row)
    u_PCO = _kernel_transform(kernel_THWIO, axes)
    return blocks.map(
        lambda x, masks: _forward_block(x, masks, u_PCO, (time, blocks.axis, width)), x_BTHWC
    )


def _forward_block(x_THWC, row_masks, u_PCO, axes):
    """`_forward` for one block of rows, whose masks in height are passed separately."""
    time, height, width = axes
    rows, columns = tile_transforms(axes)
    m = jnp.einsum("pmc,pco->pmo", _clip_transform(x_THWC, axes), u_PCO)
    m = m.reshape(-1, time.size, height.cells, width.cells, time.kernel, m.shape[-1] // time.kernel)
    # Output frame t is the sum over the taps a of input frame t + a - padding.
    config = [(0, 0, 0)] * m.ndim
    config[1] = (*time.conv_pads, 0)
    m = lax.pad(m, jnp.zeros((), m.dtype), config)
    m = add_up(
        lax.index_in_dim(lax.slice_in_dim(m, a, a + time.conv_size, axis=1), a, 4, False)
        for a in range(time.kernel)
    )
    m = m.reshape(len(rows.g), len(columns.g), *m.shape[1:])
    tile = [combine(rows.a_t, unstack(column, 0)) for column in unstack(m, 1)]
    tile = [combine(columns.a_t, row) for row in zip(*tile, strict=True)]
    best, winner = first_maximum(
        [
            masked(masked(y, mask_R, axis=1), mask_W, axis=2)
            for row, mask_R in zip(tile, row_masks, strict=True)
            for y, mask_W in zip(row, width.masks, strict=True)
        ]
    )
    y, frame = first_maximum(unstack(time.in_windows(best, -np.inf), 1))
    winner = pick(frame, unstack(time.in_windows(winner, 0), 1))
    return y, frame * (height.window * width.window) + winner


def _gradient_transform(dy_THWO, winner_THWO, axes):
    """dM = A dY A^T per tap in time, (P, M, taps x O), from the pooled gradient and winners."""
    time, *_ = axes
    rows, columns = tile_transforms(axes)
    # Input frame t feeds output frame t + padding - a through tap a.
    output = np.arange(time.size)[:, None] + time.conv_pads[0] - np.arange(time.kernel)
    cell, offset = np.divmod(output + time.pool_pads[0], time.window)
    exists = (output >= 0) & (output < time.conv_size) & (cell < time.cells)
    cell, offset = np.where(exists, cell, 0), np.where(exists, offset, -1)
    offset = offset.astype(np.int8)[:, None, None, :, None]
    dy, winner = (jnp.moveaxis(a[cell], 1, 3) for a in (dy_THWO, winner_THWO))
    frame, row, column = split_winner(winner, axes)

    def weights(number, matrix):
        """Column `number` of A^T, elementwise."""
        return pick(number, [y.reshape(-1, 1, 1, 1, 1, 1) for y in matrix])

    by_row = jnp.where(frame == offset, dy, 0) * weights(row, rows.a_t)
    dm = by_row[:, None] * weights(column, columns.a_t)
    return dm.reshape(len(rows.g) * len(columns.g), -1, time.kernel * dy.shape[-1])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv3d(x_BTHWC: jax.Array, kernel_THWIO: jax.Array, padding: Pads) -> jax.Array:
    """Convolution of float32 clips with many channels, stride 1 and kernels of 3x3 in space.

    Processes a block of frames at a time; the taps in time are rows of the matrix products.
    """
    axes, transforms, frames, blocks = _plan(x_BTHWC.shape, kernel_THWIO.shape, padding)
    u_PKO = _stacked_kernel_transform(kernel_THWIO, axes)

    def one_block(x_THWC):
        m = jnp.einsum("pmk,pko->pmo", _stacked_transform(x_THWC, axes, frames), u_PKO)
        m = m.reshape(*(len(t.g) for t in transforms), frames, axes[1].cells, axes[2].cells, -1)
        tile = jnp.stack(combine(transforms[0].a_t, unstack(m, 0)), axis=3)
        tile = jnp.stack(combine(transforms[1].a_t, unstack(tile, 0)), axis=4)
        shape = (axis.cells * axis.window for axis in axes[1:])
        return tile.reshape(frames, *shape, -1)

    y = lax.map(
        lambda n: one_block(_block(x_BTHWC, n, axes, frames, blocks)), _every(x_BTHWC, blocks)
    )
    y = y.reshape(len(x_BTHWC), -1, *y.shape[2:])
    return y[:, : axes[0].conv_size, : axes[1].conv_size, : axes[2].conv_size]


def _conv3d_forward(x_BTHWC, kernel_THWIO, padding):
    return conv3d(x_BTHWC, kernel_THWIO, padding), (x_BTHWC, kernel_THWIO)


def _conv3d_backward(padding, residuals, dy_BTHWO):
    x_BTHWC, kernel_THWIO = residuals
    axes, transforms, frames, blocks = _plan(x_BTHWC.shape, kernel_THWIO.shape, padding)
    u_PKO, pull_kernel = jax.vjp(lambda k: _stacked_kernel_transform(k, axes), kernel_THWIO)
    dy = pad(
        dy_BTHWO,
        [
            (0, n - m)
            for n, m in zip(
                (frames * blocks, *(a.cells * a.window for a in axes[1:])),
                dy_BTHWO.shape[1:],
                strict=False,
            )
        ],
    )
    dy = dy.reshape(
        -1, frames, axes[1].cells, axes[1].window, axes[2].cells, axes[2].window, dy.shape[-1]
    )

    def add_block(du_PKO, block):
        n, dy = block
        v = _stacked_transform(_block(x_BTHWC, n, axes, frames, blocks), axes, frames)
        dm = jnp.stack(combine(transforms[0].a_t.T, unstack(dy, 2)))
        dm = jnp.stack(combine(transforms[1].a_t.T, unstack(dm, 4)), axis=1)
        dm = dm.reshape(len(v), -1, dm.shape[-1])
        return du_PKO + jnp.einsum("pmk,pmo->pko", v, dm), None

    du_PKO, _ = lax.scan(add_block, jnp.zeros_like(u_PKO), (_every(x_BTHWC, blocks), dy))
    dx_BTHWC = conv3d(dy_BTHWO, *flipped(kernel_THWIO, padding))
    return dx_BTHWC, pull_kernel(du_PKO)[0]


conv3d.defvjp(_conv3d_forward, _conv3d_backward)


def _plan(shape, kernel_shape, padding):
    """Axes with tiles of 3x3 outputs, their transforms, frames per block, blocks per clip."""
    axes = []
    for size, taps, pads, window in zip(shape[1:], kernel_shape, padding, (1, 3, 3), strict=False):
        outputs = size + sum(pads) - taps + 1
        axes.append(Axis(size, taps, window, pads, (0, -outputs % window)))
    transforms = tile_transforms(axes)
    frame = math.prod(len(t.g) for t in transforms) * axes[1].cells * axes[2].cells
    frame *= kernel_shape[0] * shape[-1]
    blocks = min(axes[0].conv_size, -(-axes[0].conv_size * frame // BLOCK))
    return axes, transforms, -(-axes[0].conv_size // blocks), blocks


def _every(x_BTHWC, blocks):
    return jnp.arange(len(x_BTHWC) * blocks)


def _block(x_BTHWC, n, axes, frames, blocks):
    """Block n of the input: its frames and those under their taps, padded in time."""
    before, after = axes[0].conv_pads
    after += frames * blocks - axes[0].conv_size
    x = pad(x_BTHWC, [(before, after)])
    start = (n // blocks, n % blocks * frames, 0, 0, 0)
    return lax.dynamic_slice(x, start, (1, frames + axes[0].kernel - 1, *x.shape[2:]))[0]


def _stacked_transform(x_THWC, axes, frames):
    """V with the taps in time as channels: (P, M, taps x C)."""
    v = _clip_transform(x_THWC, axes)
    v = v.reshape(len(v), len(x_THWC), -1, v.shape[-1])
    taps = range(axes[0].kernel)
    v = jnp.concatenate([lax.slice_in_dim(v, a, a + frames, axis=1) for a in taps], axis=-1)
    return v.reshape(len(v), -1, v.shape[-1])


def _stacked_kernel_transform(kernel_THWIO, axes):
    """U with the taps in time as rows: (P, taps x C, O)."""
    *_, channels, features = kernel_THWIO.shape
    u = _kernel_transform(kernel_THWIO, axes).reshape(-1, channels, axes[0].kernel, features)
    return u.swapaxes(1, 2).reshape(len(u), -1, features)

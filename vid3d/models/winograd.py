"""Convolution and max pooling in one, with Winograd's minimal filtering.

One dimension first. m neighbouring outputs of a convolution with r taps, y_j = sum_a x_(j+a) g_a, are coefficients of a
product of polynomials, and n = m + r - 1 values determine it. Evaluated at n - 1 numbers and at infinity this is
F(m, r) of Winograd, as Lavin and Gray ("Fast algorithms for convolutional neural networks", CVPR 2016) use it:

    y = A^T [(G g) * (B^T x)],    g: r taps,  x: n inputs,  y: m outputs,  n multiplications instead of m r.

F(3, 3) takes the points 0, 1, -1, 2 and infinity. In height and width the transforms are applied one after the
other: 25 multiplications instead of 81. Time is left alone: clips have few frames, and its windows would be mostly
padding. A tile of m x m outputs is a pooling window, so the maximum is taken over the tile and the map before pooling,
the largest array of a network, is never written.

With C input and O output channels every one of the 25 multiplications is a product of matrices over all tiles
(`conv_max_pool`, for wide layers; the taps in time are columns of the same products). Where there are few
input channels the products are too thin for that, see `narrow.py`.

The transforms are linear, so the gradients run through their transposes: with dY the gradient at the winners and dM = A
dY A^T, the input's is B (dM U^T) B^T and the kernel's G^T (V^T dM) G, where U = G g G^T and V = B^T x B. Rounding is a
few times that of the direct form (relative error about 2e-6 in float32), and an infinite input gives NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vid3d.models.pooling import Axis, first_maximum, pad, pick

POINTS = (0.0, 1.0, -1.0, 2.0)


class Transform(NamedTuple):
    """The matrices of F(m, r), in float32."""

    a_t: np.ndarray  # m x n
    g: np.ndarray  # n x r
    b_t: np.ndarray  # n x n


@lru_cache
def transform(outputs: int, taps: int) -> Transform:
    """F(outputs, taps) by Lagrange interpolation at the first points and infinity (Toom and Cook)."""
    points = np.array(POINTS[: outputs + taps - 2])
    count = len(points) + 1
    a = np.zeros((count, outputs))
    g = np.zeros((count, taps))
    b_t = np.zeros((count, count))
    for n, point in enumerate(points):
        others = np.delete(points, n)
        a[n] = point ** np.arange(outputs)
        g[n] = point ** np.arange(taps) / np.prod(point - others)
        b_t[n, :-1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b_t[-1] = np.poly(points)[::-1]
    return Transform(*(matrix.astype(np.float32) for matrix in (a.T, g, b_t)))


def combine(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """Matrix times a list of arrays, as sums: its entries are few and small."""
    return [
        sum(part if c == 1 else c * part for c, part in zip(row, parts, strict=True) if c)
        for row in matrix
    ]


def input_transform(x: jax.Array, axis: int, cells: int, window: int, b_t: np.ndarray) -> list:
    """B^T along an axis: the inputs of each tile, n neighbours at a distance of `window`, to n values."""
    last = (cells - 1) * window + 1
    parts = [lax.slice_in_dim(x, n, n + last, window, axis) for n in range(len(b_t))]
    return combine(b_t, parts)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_max_pool(
    x_BTHWC: jax.Array, kernel_THWIO: jax.Array, axes: tuple[Axis, Axis, Axis]
) -> jax.Array:
    """Convolution and max pooling (windows side by side) of float32 clips with many channels, clip by clip.

    Kernel and window have at most 3 rows and columns; the map of winners goes with the output to the gradient.
    """
    u_PCO = _kernel_transform(kernel_THWIO, axes)
    return lax.map(lambda x_THWC: _forward(x_THWC, u_PCO, axes)[0], x_BTHWC)


def _conv_max_pool_forward(x_BTHWC, kernel_THWIO, axes):
    u_PCO = _kernel_transform(kernel_THWIO, axes)
    y_BTHWO, winner_BTHWO = lax.map(lambda x_THWC: _forward(x_THWC, u_PCO, axes), x_BTHWC)
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

    dx_BTHWC, du_BPCO = lax.map(one_clip, (x_BTHWC, winner_BTHWO, dy_BTHWO))
    return dx_BTHWC, pull_kernel(du_BPCO.sum(0))[0]


conv_max_pool.defvjp(_conv_max_pool_forward, _conv_max_pool_backward)


def _transforms(axes):
    return [transform(axis.window, axis.kernel) for axis in axes[1:]]


def _kernel_transform(kernel_THWIO, axes):
    """U = G g G^T: (P, C, taps in time x O), P points."""
    rows, columns = _transforms(axes)
    u = jnp.einsum("pj,qk,ijkco->pqcio", rows.g, columns.g, kernel_THWIO)
    return u.reshape(-1, u.shape[2], u.shape[3] * u.shape[4])


def _clip_transform(x_THWC, axes):
    """V = B^T x B: (P, M, C), M the tiles of all frames."""
    _, height, width = axes
    rows, columns = _transforms(axes)
    x = pad(x_THWC[None], [(0, 0), height.input_pads, width.input_pads])[0]
    v = jnp.stack(input_transform(x, 1, height.cells, height.window, rows.b_t))
    v = jnp.stack(input_transform(v, 3, width.cells, width.window, columns.b_t), axis=1)
    return v.reshape(v.shape[0] * v.shape[1], -1, v.shape[-1])


def _forward(x_THWC, u_PCO, axes):
    """The pooled map of a clip, and the winners: (offset in time, row, column) of a window in one number."""
    time, height, width = axes
    rows, columns = _transforms(axes)
    m = jnp.einsum("pmc,pco->pmo", _clip_transform(x_THWC, axes), u_PCO)
    m = m.reshape(-1, time.size, height.cells, width.cells, time.kernel, m.shape[-1] // time.kernel)
    # Output frame t is the sum over the taps a of input frame t + a - padding.
    config = [(0, 0, 0)] * m.ndim
    config[1] = (*time.conv_pads, 0)
    m = lax.pad(m, jnp.zeros((), m.dtype), config)
    m = sum(m[:, a : a + time.conv_size, :, :, a] for a in range(time.kernel))
    tile = [
        combine(rows.a_t, row) for row in m.reshape(-1, len(columns.g), *m.shape[1:]).swapaxes(0, 1)
    ]
    tile = [combine(columns.a_t, row) for row in zip(*tile, strict=True)]
    best, winner = first_maximum(
        [
            jnp.where((inside_h[:, None] & inside_w)[..., None], y, -jnp.inf)
            for row, inside_h in zip(tile, height.inside.T, strict=True)
            for y, inside_w in zip(row, width.inside.T, strict=True)
        ]
    )
    best, winner = (time.in_windows(a, fill) for a, fill in ((best, -np.inf), (winner, 0)))
    y, frame = first_maximum([best[:, n] for n in range(time.window)])
    winner = pick(frame, [winner[:, n] for n in range(time.window)])
    return y, frame * (height.window * width.window) + winner


def _gradient_transform(dy_THWO, winner_THWO, axes):
    """dM = A dY A^T for every tap in time: (P, M, taps x O), from the pooled gradient and the winners."""
    time, height, width = axes
    rows, columns = _transforms(axes)
    frame, row, column = split_winner(winner_THWO, axes)
    by_row = [dy_THWO * pick(row, weights) for weights in rows.a_t.T]
    dm = jnp.stack([dy * pick(column, weights) for dy in by_row for weights in columns.a_t.T])
    dm = jnp.stack([jnp.where(frame == n, dm, 0) for n in range(time.window)], axis=2)
    dm = dm.reshape(len(dm), -1, *dm.shape[3:])
    # Input frame t feeds output frame t + padding - a through tap a.
    taps = []
    for a in range(time.kernel):
        start = time.conv_pads[0] + time.pool_pads[0] - a
        config = [(0, 0, 0)] * dm.ndim
        config[1] = (-start, start + time.size - dm.shape[1], 0)
        taps.append(lax.pad(dm, jnp.zeros((), dm.dtype), config))
    return jnp.stack(taps, axis=-2).reshape(len(dm), -1, time.kernel * dm.shape[-1])


def split_winner(winner: jax.Array, axes: tuple[Axis, Axis, Axis]) -> tuple[jax.Array, ...]:
    """Offsets (t, h, w) in the window, from their common number."""
    _, height, width = axes
    tile = height.window * width.window
    return winner // tile, winner % tile // width.window, winner % width.window

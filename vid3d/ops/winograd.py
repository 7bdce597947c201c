"""Winograd's minimal filtering: the transforms behind the convolutions of `wide` and `narrow`.

In one dimension, m neighbouring outputs of a convolution with r taps, y_j = sum_a x_(j+a) g_a, are
coefficients of a product of polynomials, which n = m + r - 1 values determine. Evaluated at n - 1
points and at infinity, this is Winograd's F(m, r), as Lavin and Gray ("Fast algorithms for
convolutional neural networks", CVPR 2016) use it:

    y = A^T [(G g) * (B^T x)],    g: r taps,  x: n inputs,  y: m outputs

with n multiplications instead of m r.

F(3, 3) takes the points 0, 1, -1, 2 and infinity. The transforms of height and width are applied
one after the other: 25 multiplications instead of 81. Time is not transformed: clips have few
frames, and its tiles would be mostly padding. A tile of m x m outputs is a pooling window, so the
maximum is taken over the tile, and the map before pooling, the largest array of a network, is never
written.

With C input and O output channels, each of the 25 multiplications is a matrix product over all
tiles. With few input channels the matrices are too thin for that, see `narrow.py`.

The transforms are linear, so the gradients use their transposes: with dY the gradient at the
winners and dM = A dY A^T, the input's is B (dM U^T) B^T and the kernel's G^T (V^T dM) G, where U =
G g G^T and V = B^T x B. Rounding errors are a few times those of the direct form (relative error
about 2e-6 in float32), and an infinite input gives NaN.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np
from jax import lax

from vid3d.ops.pooling import Axis

POINTS = (0.0, 1.0, -1.0, 2.0)


class Transform(NamedTuple):
    """The matrices of F(m, r), in float32."""

    a_t: np.ndarray  # m x n
    g: np.ndarray  # n x r
    b_t: np.ndarray  # n x n


@lru_cache
def transform(outputs: int, taps: int) -> Transform:
    """F(outputs, taps) by Lagrange interpolation at `POINTS` and infinity (Toom-Cook)."""
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
    b_t[-1] = np.atleast_1d(np.poly(points))[::-1]
    return Transform(*(matrix.astype(np.float32) for matrix in (a.T, g, b_t)))


def combine(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """Matrix times a list of arrays, written as sums: the matrix is small."""
    return [
        add_up(
            part if c == 1 else lax.mul(part, lax.full_like(part, c))
            for c, part in zip(row, parts, strict=True)
            if c
        )
        for row in matrix
    ]


def add_up(parts: Iterable[jax.Array]) -> jax.Array:
    """The sum of arrays of the same shape."""
    return functools.reduce(lax.add, parts)


def input_transform(x: jax.Array, axis: int, cells: int, window: int, b_t: np.ndarray) -> list:
    """Applies B^T along an axis: the n inputs of each tile, `window` apart, become n values."""
    last = (cells - 1) * window + 1
    parts = [lax.slice_in_dim(x, n, n + last, window, axis) for n in range(len(b_t))]
    return combine(b_t, parts)


def tile_transforms(axes: tuple[Axis, Axis, Axis]) -> list[Transform]:
    """The transforms of height and width."""
    return [transform(axis.window, axis.kernel) for axis in axes[1:]]

"""Winograd's minimal filtering: the transforms that `wide` and `narrow` compute convolutions with.

One dimension first. m neighbouring outputs of a convolution with r taps, y_j = sum_a x_(j+a) g_a, are coefficients of a
product of polynomials, and n = m + r - 1 values determine it. Evaluated at n - 1 numbers and at infinity this is
F(m, r) of Winograd, as Lavin and Gray ("Fast algorithms for convolutional neural networks", CVPR 2016) use it:

    y = A^T [(G g) * (B^T x)],    g: r taps,  x: n inputs,  y: m outputs,  n multiplications instead of m r.

F(3, 3) takes the points 0, 1, -1, 2 and infinity. In height and width the transforms are applied one after the
other: 25 multiplications instead of 81. Time is left alone: clips have few frames, and its windows would be mostly
padding. A tile of m x m outputs is a pooling window, so the maximum is taken over the tile and the map before pooling,
the largest array of a network, is never written.

With C input and O output channels every one of the 25 multiplications is a product of matrices over all tiles. Where
there are few input channels the products are too thin for that, see `narrow.py`.

The transforms are linear, so the gradients run through their transposes: with dY the gradient at the winners and dM = A
dY A^T, the input's is B (dM U^T) B^T and the kernel's G^T (V^T dM) G, where U = G g G^T and V = B^T x B. Rounding is a
few times that of the direct form (relative error about 2e-6 in float32), and an infinite input gives NaN.
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
    b_t[-1] = np.atleast_1d(np.poly(points))[::-1]
    return Transform(*(matrix.astype(np.float32) for matrix in (a.T, g, b_t)))


def combine(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """Matrix times a list of arrays, as sums: its entries are few and small."""
    return [
        add_up(
            part if c == 1 else lax.mul(part, lax.full_like(part, c))
            for c, part in zip(row, parts, strict=True)
            if c
        )
        for row in matrix
    ]


def add_up(parts: Iterable[jax.Array]) -> jax.Array:
    """The sum of arrays of one shape."""
    return functools.reduce(lax.add, parts)


def input_transform(x: jax.Array, axis: int, cells: int, window: int, b_t: np.ndarray) -> list:
    """B^T along an axis: the inputs of each tile, n neighbours at a distance of `window`, to n values."""
    last = (cells - 1) * window + 1
    parts = [lax.slice_in_dim(x, n, n + last, window, axis) for n in range(len(b_t))]
    return combine(b_t, parts)


def tile_transforms(axes: tuple[Axis, Axis, Axis]) -> list[Transform]:
    """Those of height and width."""
    return [transform(axis.window, axis.kernel) for axis in axes[1:]]

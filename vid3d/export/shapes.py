"""Rules for operations that move elements: shapes, slices, margins, joins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vid3d.export.graph import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    Array,
    Node,
    integers,
    physical,
    physical_axis,
)
from vid3d.export.operation import Operation, Unsupported, operand, to_array


def broadcast_in_dim(operation: Operation) -> Array:
    array, shape = to_array(operation.values[0]), operation.output.shape
    if array.shape == shape:
        return array
    stored = [1] * len(shape)
    for axis, size in zip(operation.options["broadcast_dimensions"], array.stored, strict=True):
        stored[axis] = size
    return Array(_reshaped(array.node, array.stored, stored), shape, tuple(stored))


def reshape(operation: Operation) -> Array:
    array, shape = operation.array(), operation.output.shape
    return Array(_reshaped(array.node, array.shape, shape), shape, shape)


def _reshaped(node: Node, before: Sequence, after: Sequence) -> Node:
    """A Reshape, with the transpositions that the order of the graph needs."""

    def in_either_order(sizes: Sequence) -> bool:
        return all(size == 1 for size in sizes[1:4]) or sizes[4] == 1

    if len(before) == 5 and not in_either_order(before):
        node = Node("Transpose", [node], {"perm": CHANNELS_LAST})
    is_stored = len(after) == 5 and in_either_order(after)
    sizes = [size if isinstance(size, int) else -1 for size in after]
    node = Node("Reshape", [node, integers(physical(sizes) if is_stored else sizes)])
    if len(after) == 5 and not is_stored:
        node = Node("Transpose", [node], {"perm": CHANNELS_FIRST})
    return node


def transpose(operation: Operation) -> Array:
    array, order = operation.array(), operation.options["permutation"]
    node = array.node
    if len(order) == 5:  # from the graph's order to JAX's, and back
        order = [CHANNELS_LAST[order[axis]] for axis in CHANNELS_FIRST]
    return operation.result("Transpose", [node], perm=order)


def slicing(operation: Operation) -> Array:
    options, array = operation.options, operation.array()
    rank = len(array.shape)
    steps = options["strides"] or [1] * rank
    starts, ends = options["start_indices"], options["limit_indices"]
    whole = [(0, size, 1) for size in array.shape]
    axes = [n for n, cut in enumerate(zip(starts, ends, steps, strict=True)) if cut != whole[n]]
    return _slice(operation, array, axes, starts, ends, steps)


def _slice(
    operation: Operation, array: Array, axes: list[int], starts: Any, ends: Any, steps: Any
) -> Array:
    if not axes:
        return array
    rank = len(array.shape)
    picked = [integers([values[axis] for axis in axes]) for values in (starts, ends, steps)]
    places = integers([physical_axis(axis, rank) for axis in axes])
    return operation.result("Slice", [array.node, picked[0], picked[1], places, picked[2]])


def gather(operation: Operation) -> Array:
    """A box at a known place, as of `x[:, 1:3]`, or known places along one axis."""
    array, places = operation.array(), operation.values[1]
    numbers, sizes = operation.options["dimension_numbers"], operation.options["slice_sizes"]
    axes, rank = list(numbers.start_index_map), len(array.shape)
    if not isinstance(places, np.ndarray):
        raise Unsupported("places that are computed")
    rest = [n for n in range(rank) if n not in axes and sizes[n] != array.shape[n]]
    if places.ndim == 1 and not numbers.collapsed_slice_dims and not rest:
        starts = dict(zip(axes, places.tolist(), strict=True))
        ends = {axis: start + sizes[axis] for axis, start in starts.items()}
        return _slice(operation, array, axes, starts, ends, dict.fromkeys(axes, 1))
    if tuple(numbers.collapsed_slice_dims) != tuple(axes) or len(axes) != 1 or rest:
        raise Unsupported("places along several axes")
    axis = physical_axis(axes[0], rank)
    return operation.result("Gather", [array.node, places.reshape(-1).astype(np.int64)], axis=axis)


def pad(operation: Operation) -> Array:
    margins = operation.options["padding_config"]
    if any(inner for _, _, inner in margins) or min(n for row in margins for n in row) < 0:
        raise Unsupported("gaps between elements, or a negative margin")
    margins = physical(margins)
    sizes = integers([before for before, *_ in margins] + [after for _, after, _ in margins])
    return operation.result("Pad", [operation.array().node, sizes, operand(operation.values[1])])


def concatenate(operation: Operation) -> Array:
    there = [n for n, value in enumerate(operation.values) if value is not None]
    nodes = [operation.array(number).node for number in there]
    if len(nodes) == 1:
        return operation.array(there[0])
    axis = physical_axis(operation.options["dimension"], len(operation.output.shape))
    return operation.result("Concat", list(nodes), axis=axis)


def tile(operation: Operation) -> Array:
    repeats = integers(physical(operation.options["reps"]))
    return operation.result("Tile", [operation.array().node, repeats])


RULES: dict[str, Callable[[Operation], Array]] = {
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), reshape),
    "broadcast_in_dim": broadcast_in_dim,
    "concatenate": concatenate,
    "gather": gather,
    "pad": pad,
    "slice": slicing,
    "tile": tile,
    "transpose": transpose,
}

"""Rules for convolutions, dense layers, pooling and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vid3d.export.graph import Array, Node, physical, physical_axis
from vid3d.export.operation import Operation, Unsupported

REDUCTIONS = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}


def convolution(operation: Operation) -> Array:
    options, kernel = operation.options, operation.values[1]
    numbers, pads = options["dimension_numbers"], options["padding"]
    ours = (numbers.lhs_spec[:2], numbers.rhs_spec[:2]) == ((0, 4), (4, 3))
    if not isinstance(kernel, np.ndarray) or len(numbers.lhs_spec) != 5 or not ours:
        raise Unsupported("other axes, or a kernel that is computed")
    if {*options["lhs_dilation"]} != {1} or options["batch_group_count"] != 1:
        raise Unsupported("a transposed convolution")
    kernel = np.transpose(kernel, numbers.rhs_spec)
    return operation.result(
        "Conv",
        [operation.array().node, kernel, np.zeros(len(kernel))],
        strides=options["window_strides"],
        pads=[before for before, _ in pads] + [after for _, after in pads],
        group=options["feature_group_count"],
        dilations=options["rhs_dilation"],
    )


def dot_general(operation: Operation) -> Array:
    """A dense layer; on clips it is a convolution of 1x1x1."""
    (contracted, batched), kernel = operation.options["dimension_numbers"], operation.values[1]
    array = operation.array()
    rank = len(array.shape)
    is_dense = tuple(map(tuple, contracted)) == ((rank - 1,), (0,)) and not any(batched)
    if not is_dense or not isinstance(kernel, np.ndarray) or kernel.ndim != 2:
        raise Unsupported("a product other than of an array with a matrix of weights")
    if rank != 5:
        return operation.result("MatMul", [array.node, kernel])
    kernel = kernel.T[:, :, None, None, None]
    return operation.result("Conv", [array.node, kernel, np.zeros(len(kernel))])


def reduction(operation: Operation) -> Array:
    """Sums as means times their number, see `_undone`; the other reductions as they are."""
    array, axes = operation.array(), operation.options["axes"]
    rank = len(array.shape)
    op = REDUCTIONS.get(operation.name, "ReduceMean")
    places = [physical_axis(axis, rank) for axis in axes]
    node = Node(op, [array.node], {"axes": places, "keepdims": 0})
    left = [axis for axis in physical(range(rank)) if axis not in axes]
    if left != sorted(left):
        node = Node("Transpose", [node], {"perm": [left.index(axis) for axis in sorted(left)]})
    if operation.name == "reduce_sum":
        count = math.prod(array.shape[axis] for axis in axes)
        if not isinstance(count, int):
            raise Unsupported("a sum over the batch")
        node = Node("Mul", [node, np.array(count, operation.output.dtype)])
    return Array(node, operation.output.shape, operation.output.shape)


def pooling(operation: Operation) -> Array:
    """Maxima, or sums as means times their number, over windows in time and space."""
    options, rank = operation.options, len(operation.output.shape)
    sizes, pads = options["window_dimensions"], options["padding"]
    dilated = {*options["base_dilation"], *options["window_dilation"]} != {1}
    if rank != 5 or sizes[0] != 1 or sizes[4] != 1 or dilated:
        raise Unsupported("a window other than in time and space")
    window = {
        "kernel_shape": sizes[1:4],
        "strides": options["window_strides"][1:4],
        "pads": [before for before, _ in pads[1:4]] + [after for _, after in pads[1:4]],
    }
    if operation.name == "reduce_window_max":
        return operation.result("MaxPool", [operation.array().node], **window)
    mean = Node("AveragePool", [operation.array().node], {"count_include_pad": 1, **window})
    return operation.result("Mul", [mean, np.array(math.prod(sizes), operation.output.dtype)])


RULES: dict[str, Callable[[Operation], Array]] = {
    **dict.fromkeys(("reduce_sum", *REDUCTIONS), reduction),
    **dict.fromkeys(("reduce_window_max", "reduce_window_sum"), pooling),
    "conv_general_dilated": convolution,
    "dot_general": dot_general,
}

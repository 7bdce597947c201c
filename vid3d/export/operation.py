"""One operation of JAX while it is written in ONNX: what its rule needs to know."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vid3d.export.graph import Array, Node, constant, integers, physical, without_repeats
from vid3d.models.tracing import Variable


class Unsupported(Exception):
    """An operation, or this form of it, that has no rule; the text says what about it."""


class Operation(NamedTuple):
    """An equation whose inputs are written.

    Attributes:
        name: of JAX's operation.
        values: the inputs: arrays, constants, and None for an empty one.
        output: shape and type of the result.
        options: JAX's parameters of the operation.
    """

    name: str
    values: list[Array | np.ndarray | None]
    output: Variable
    options: dict[str, Any]

    def array(self, number: int = 0) -> Array:
        """An input in all its size."""
        return _stretched(to_array(self.values[number]))

    def result(self, op: str, inputs: list[Node | np.ndarray], **attributes: Any) -> Array:
        """The array of a new node, in all its size."""
        return Array(Node(op, inputs, attributes), self.output.shape, self.output.shape)


def to_array(value: Array | np.ndarray | None) -> Array:
    """A value as an array; a constant gets a node of its own."""
    if isinstance(value, np.ndarray):
        return Array(Node("Identity", [constant(value)]), value.shape, without_repeats(value).shape)
    if value is None:
        raise Unsupported("an empty array")
    return value


def _stretched(array: Array) -> Array:
    if array.stored == array.shape:
        return array
    # 1 leaves a size as it is, also that of the batch.
    sizes = [size if isinstance(size, int) else 1 for size in physical(array.shape)]
    return Array(Node("Expand", [array.node, integers(sizes)]), array.shape, array.shape)


def operand(value: Array | np.ndarray | None) -> Node | np.ndarray:
    """A value as an input of a node that stretches its inputs itself."""
    return constant(value) if isinstance(value, np.ndarray) else to_array(value).node

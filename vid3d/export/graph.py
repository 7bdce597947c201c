"""An ONNX graph while it is written: nodes that point at their inputs, and arrays that they give.

An array of rank 5 is B T H W C to JAX and stored as B C T H W, so that convolutions and pooling are
ONNX's own. Nodes can be changed until the end: what follows a convolution and only scales or shifts
its channels goes into its kernel and bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 17
IR_VERSION = 9
CHANNELS_FIRST = (0, 4, 1, 2, 3)  # B T H W C -> B C T H W
CHANNELS_LAST = (0, 2, 3, 4, 1)  # and back


@dataclass(eq=False)
class Node:
    """An operation of ONNX with one output, or ("Input") the clips.

    Attributes:
        op: its name in ONNX.
        inputs: other nodes, and constants.
        attributes: of the operation.
        is_shared: whether several others take its output, so that it has to stay as it is.
    """

    op: str
    inputs: list[Node | np.ndarray]
    attributes: dict[str, Any] = field(default_factory=dict)
    is_shared: bool = False


@dataclass(frozen=True, eq=False)
class Array:
    """What a node gives, as JAX sees it.

    Attributes:
        node: that gives it.
        shape: in JAX's order of axes.
        stored: its sizes in the graph, in JAX's order; 1 where it is the same along an axis.
    """

    node: Node
    shape: tuple
    stored: tuple


def physical(sizes: Sequence) -> tuple:
    """The sizes, or anything else per axis of JAX's, in the order of the graph."""
    return tuple(sizes[axis] for axis in CHANNELS_FIRST) if len(sizes) == 5 else tuple(sizes)


def physical_axis(axis: int, rank: int) -> int:
    """Where an axis of JAX's is in the graph."""
    return CHANNELS_FIRST.index(axis) if rank == 5 else axis


def without_repeats(array: np.ndarray) -> np.ndarray:
    """A constant with the axes that `np.broadcast_to` has stretched at size 1 again."""
    return array[tuple(slice(0, 1) if not stride else slice(None) for stride in array.strides)]


def constant(array: np.ndarray) -> np.ndarray:
    """A constant in the order of the graph, without repeats."""
    array = without_repeats(array)
    return np.transpose(array, CHANNELS_FIRST) if array.ndim == 5 else array


def integers(values: Sequence[int]) -> np.ndarray:
    """Sizes, axes or places, as ONNX takes them."""
    return np.array(values, np.int64)


def to_model(
    result: Node,
    *,
    clip_shape: Sequence[int],
    dtype: np.dtype,
    num_classes: int,
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """The nodes that a result depends on as a model: `clips` in, `probabilities` out."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[int, onnx.TensorProto] = {}
    names: dict[int, str] = {}

    def name_of(value: Node | np.ndarray) -> str:
        if isinstance(value, Node):
            return names[id(value)]
        if id(value) not in constants:
            name = f"constant{len(constants)}"
            dtype = np.float32 if value.dtype == np.float64 else value.dtype  # of a bias
            whole = np.ascontiguousarray(value, dtype)
            constants[id(value)] = numpy_helper.from_array(whole, name)
        return constants[id(value)].name

    for node in _in_order(result):
        if node.op == "Input":
            names[id(node)] = "clips"
            continue
        name = "probabilities" if node is result else f"{node.op.lower()}{len(nodes)}"
        inputs = [name_of(value) for value in node.inputs]
        nodes.append(helper.make_node(node.op, inputs, [name], name=name, **node.attributes))
        names[id(node)] = name
    clips = helper.make_tensor_value_info(
        "clips", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["batch", *clip_shape]
    )
    probabilities = helper.make_tensor_value_info(
        "probabilities", onnx.TensorProto.FLOAT, ["batch", num_classes]
    )
    graph = helper.make_graph(nodes, "vid3d", [clips], [probabilities], list(constants.values()))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vid3d",
    )
    helper.set_model_props(model, dict(metadata))
    return model


def _in_order(result: Node) -> list[Node]:
    """The nodes behind a result, each after its inputs; networks are too deep for a recursion."""
    order: list[Node] = []
    seen: set[int] = set()
    waiting: list[tuple[Node, bool]] = [(result, False)]
    while waiting:
        node, inputs_done = waiting.pop()
        if inputs_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((node, True))
            waiting += [
                (value, False) for value in reversed(node.inputs) if isinstance(value, Node)
            ]
    return order

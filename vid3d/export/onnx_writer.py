"""A network -> an ONNX model, from JAX's own trace of it.

What is known without the clips is computed while the model is written, so that batch normalisation
becomes a factor and a shift per channel. `rules.py` has a function for each operation of JAX.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import onnx

from vid3d.errors import UserError
from vid3d.export import elementwise, graph, layers, shapes
from vid3d.export.graph import Array, Node
from vid3d.export.operation import Operation, Unsupported, to_array
from vid3d.models.tracing import Equation, Trace, is_empty, trace

RULES = elementwise.RULES | shapes.RULES | layers.RULES
# In NumPy, as JAX would start and compile a program for each.
FOLDED: dict[str, Callable] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
}


def to_onnx(
    logits: Callable,
    clip_shape: Sequence[int],
    *,
    dtype: np.dtype | type = np.uint8,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Writes a function of clips as an ONNX model that gives probabilities.

    Args:
        logits: clips [B, *clip_shape] -> logits [B, K], with its weights inside.
        clip_shape: (T, H, W, C).
        dtype: of the clips.
        metadata: texts by name, kept in the model.

    Returns:
        A model (opset 17) with the input `clips` and the output `probabilities` [B, K], for any B.

    Raises:
        UserError: the function has an operation without a rule; it is named.
    """
    (batch,) = jax.export.symbolic_shape("batch")
    traced = trace(logits, jax.ShapeDtypeStruct((batch, *clip_shape), dtype))
    result = _to_nodes(traced)
    return graph.to_model(
        Node("Softmax", [result.node], {"axis": -1}),
        clip_shape=clip_shape,
        dtype=np.dtype(dtype),
        num_classes=result.shape[-1],
        metadata=metadata or {},
    )


def _to_nodes(traced: Trace) -> Array:
    """The array of the result; its node leads to all others."""
    users = Counter(id(value) for equation in traced.equations for value in equation.inputs)
    users[id(traced.result)] += 1
    clips = Node("Transpose", [Node("Input", [])], {"perm": graph.CHANNELS_FIRST})
    (start,) = traced.inputs
    known: dict[int, Array | np.ndarray | None] = {
        id(start): Array(clips, start.shape, start.shape)
    }
    for equation in traced.equations:
        values = [
            value if isinstance(value, np.ndarray) else known.get(id(value))
            for value in equation.inputs
        ]
        written = _convert(equation, values)
        if isinstance(written, Array):
            written.node.is_shared |= users[id(equation.outputs[0])] > 1
        known[id(equation.outputs[0])] = written
    result = traced.result
    return to_array(result if isinstance(result, np.ndarray) else known[id(result)])


def _convert(
    equation: Equation, values: list[Array | np.ndarray | None]
) -> Array | np.ndarray | None:
    """An equation as an array of the graph, as a constant, or as None where it is empty."""
    (output, *others) = equation.outputs
    if is_empty(output):
        return None
    constants = [value for value in values if isinstance(value, np.ndarray)]
    if len(constants) == len(values) and all(isinstance(size, int) for size in output.shape):
        return _fold(equation, constants)
    rule = RULES.get(equation.name)
    try:
        if rule is None or others:
            raise Unsupported
        return rule(Operation(equation.name, values, output, equation.options))
    except Unsupported as why:
        shape = [size if isinstance(size, int) else "batch" for size in output.shape]
        raise UserError(
            f"the network's operation {equation.name} with the result {shape} has no form in ONNX "
            f"here{f' ({why})' if str(why) else ''}: express it with other operations, or take "
            "--format=stablehlo, which knows all of JAX's"
        ) from None


def _fold(equation: Equation, values: list[np.ndarray]) -> np.ndarray:
    """The result of an operation on constants."""
    output, options = equation.outputs[0], equation.options
    if equation.name == "broadcast_in_dim":
        value = graph.without_repeats(values[0])
        sizes = [1] * len(output.shape)
        for axis, size in zip(options["broadcast_dimensions"], value.shape, strict=True):
            sizes[axis] = size
        return np.broadcast_to(value.reshape(sizes), output.shape)  # takes no memory
    if equation.name in ("reshape", "squeeze"):
        return values[0].reshape(output.shape)
    if equation.name == "convert_element_type":
        return values[0].astype(output.dtype)
    if equation.name in FOLDED:
        return np.asarray(FOLDED[equation.name](*values), output.dtype)
    with jax.ensure_compile_time_eval():
        return np.asarray(equation.primitive.bind(*map(jnp.asarray, values), **options))

"""Rules for operations on each element, and what of them goes into the convolution before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import helper

from vid3d.export.graph import Array, Node, without_repeats
from vid3d.export.operation import Operation, operand, to_array

ELEMENTWISE = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "ceil": "Ceil",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}


def elementwise(operation: Operation) -> Array:
    """Operations on each element; inputs are stretched by ONNX itself."""
    if (folded := _into_convolution(operation)) or (folded := _undone(operation)):
        return folded
    return _elementwise(ELEMENTWISE[operation.name], operation)


def _elementwise(op: str, operation: Operation, *more: np.ndarray) -> Array:
    shape = operation.output.shape
    stored = [
        without_repeats(value).shape if isinstance(value, np.ndarray) else to_array(value).stored
        for value in operation.values
    ]
    sizes = zip(*(one for one in stored if len(one) == len(shape)), strict=True)
    node = Node(op, [*map(operand, operation.values), *more])
    return Array(node, shape, tuple(next((n for n in axis if n != 1), 1) for axis in sizes))


def _into_convolution(operation: Operation) -> Array | None:
    """Puts a factor or a shift per channel into the convolution before it, if it is there alone."""
    name, constants = operation.name, [isinstance(v, np.ndarray) for v in operation.values]
    if name not in ("add", "sub", "mul", "div") or sum(constants) != 1:
        return None
    if name in ("sub", "div") and not constants[1]:
        return None
    array, value = (operation.values[constants.index(flag)] for flag in (False, True))
    assert isinstance(array, Array) and isinstance(value, np.ndarray)
    number = without_repeats(value).astype(np.float64)
    is_per_channel = number.size == 1 or number.shape == (1, 1, 1, 1, array.shape[-1])
    if array.node.op != "Conv" or array.node.is_shared or not is_per_channel:
        return None
    kernel, bias = map(np.asarray, array.node.inputs[1:])
    number = np.broadcast_to(number.reshape(-1), bias.shape)
    if name in ("mul", "div"):
        factor = 1 / number if name == "div" else number
        kernel, bias = (kernel * factor.reshape(-1, 1, 1, 1, 1)).astype(kernel.dtype), bias * factor
    else:
        bias = bias + (number if name == "add" else -number)
    array.node.inputs[1:] = [kernel, bias]
    return array


def _undone(operation: Operation) -> Array | None:
    """x where x * n is divided by n: the sum that JAX makes of a mean."""
    array, divisor = operation.values[0], operation.values[-1]
    if operation.name != "div" or not isinstance(array, Array) or array.node.op != "Mul":
        return None
    inner, factor = array.node.inputs
    if not isinstance(divisor, np.ndarray) or not isinstance(factor, np.ndarray):
        return None
    is_same = divisor.size == factor.size == 1 and divisor.item() == factor.item()
    return Array(inner, array.shape, array.stored) if is_same and isinstance(inner, Node) else None


def maximum(operation: Operation) -> Array:
    """max(x, 0) is ReLU."""
    zero = [isinstance(v, np.ndarray) and not without_repeats(v).any() for v in operation.values]
    if sum(zero) != 1:
        return _elementwise("Max", operation)
    array = to_array(operation.values[zero.index(False)])
    return Array(Node("Relu", [array.node]), array.shape, array.stored)


def unary(*ops: str) -> Callable[[Operation], Array]:
    """A rule for a chain of operations on one array."""

    def rule(operation: Operation) -> Array:
        array = to_array(operation.values[0])
        node = array.node
        for op in ops:
            node = Node(op, [node])
        return Array(node, array.shape, array.stored)

    return rule


def integer_pow(operation: Operation) -> Array:
    return _elementwise("Pow", operation, np.array(operation.options["y"], operation.output.dtype))


def square(operation: Operation) -> Array:
    array = to_array(operation.values[0])
    return Array(Node("Mul", [array.node] * 2), array.shape, array.stored)


def log1p(operation: Operation) -> Array:
    array = to_array(operation.values[0])
    more = Node("Add", [array.node, np.array(1, operation.output.dtype)])
    return Array(Node("Log", [more]), array.shape, array.stored)


def convert_element_type(operation: Operation) -> Array:
    array = to_array(operation.values[0])
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(operation.output.dtype))
    return Array(Node("Cast", [array.node], {"to": kind}), array.shape, array.stored)


def select_n(operation: Operation) -> Array:
    which, no, yes = map(operand, operation.values)
    return operation.result("Where", [which, yes, no])


RULES: dict[str, Callable[[Operation], Array]] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    "convert_element_type": convert_element_type,
    "integer_pow": integer_pow,
    "log1p": log1p,
    "max": maximum,
    "rsqrt": unary("Sqrt", "Reciprocal"),
    "select_n": select_n,
    "square": square,
}

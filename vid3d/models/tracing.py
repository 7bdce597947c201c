"""A JAX function as a flat list of equations: what JAX nests (jit, relu, remat) is written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

SAME = ("copy", "copy_p", "optimization_barrier", "stop_gradient")  # to a prediction
NESTED = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # the parameters that hold an inner function


@dataclass(eq=False)
class Variable:
    """A value that is known only when the function runs.

    Attributes:
        shape: the first size may be a symbol, the batch.
        dtype: of its elements.
    """

    shape: tuple
    dtype: np.dtype


Value = Variable | np.ndarray


class Equation(NamedTuple):
    """One operation of JAX.

    Attributes:
        primitive: JAX's operation.
        inputs: variables and constants.
        outputs: what it defines.
        options: the parameters of the operation.
        module: the path of the flax module that it belongs to, "" outside of all.
    """

    primitive: core.Primitive
    inputs: list[Value]
    outputs: list[Variable]
    options: dict[str, Any]
    module: str

    @property
    def name(self) -> str:
        return self.primitive.name

    def bind(self, arrays: Sequence[jax.Array], **changed: Any) -> jax.Array:
        """Does the operation on other arrays, with some options changed; gives its first result."""
        result = self.primitive.bind(*arrays, **(self.options | changed))
        return result[0] if self.primitive.multiple_results else result


class Trace(NamedTuple):
    """A function of arrays.

    Attributes:
        inputs: its arguments, flat.
        equations: those that the result depends on, in order.
        result: what the function returns.
    """

    inputs: list[Variable]
    equations: list[Equation]
    result: Value


def trace(function: Callable, *arguments: Any) -> Trace:
    """Traces a function that returns one array.

    Args:
        function: of trees of arrays.
        arguments: trees of `jax.ShapeDtypeStruct`, or arrays; sizes may be symbols.

    Raises:
        jax.errors.JAXTypeError and others: what JAX cannot trace.
    """
    # A new function: JAX would keep the trace for other callers, also of `library_form`.
    closed = jax.make_jaxpr(lambda *trees: function(*trees))(*arguments)
    inputs = [Variable(x.shape, np.dtype(x.dtype)) for x in jax.tree.leaves(arguments)]
    equations: list[Equation] = []
    (result,) = _flatten(closed.jaxpr, closed.consts, inputs, equations, "")
    return Trace(inputs, _needed(equations, result), result)


def is_empty(variable: Variable) -> bool:
    """Whether it has no elements; jnp.pad makes such pieces, which are then joined to others."""
    return any(size == 0 for size in variable.shape if isinstance(size, int))


def shape_of(atom: core.Var | core.Literal) -> Variable:
    """A new variable like one of JAX's."""
    aval: Any = atom.aval  # of an array, as all are here
    return Variable(aval.shape, aval.dtype)


def _flatten(
    jaxpr: core.Jaxpr,
    constants: Sequence,
    arguments: Sequence[Value],
    equations: list[Equation],
    outer: str,
) -> list[Value]:
    """Appends the equations of a jaxpr within a module, and returns its results."""
    values: dict[core.Var, Value] = dict(
        zip(jaxpr.constvars, map(np.asarray, constants), strict=True)
    )
    values |= dict(zip(jaxpr.invars, arguments, strict=True))

    def value(atom: core.Var | core.Literal) -> Value:
        if isinstance(atom, core.Literal):
            return np.asarray(atom.val, shape_of(atom).dtype)
        return values[atom]

    for one in jaxpr.eqns:
        inputs = [value(atom) for atom in one.invars]
        module = "/".join(filter(None, [outer, str(one.source_info.name_stack)]))
        inner = next((one.params[key] for key in NESTED if key in one.params), None)
        results: list[Value]
        if inner is not None:
            closed = hasattr(inner, "consts")
            body, bound = (inner.jaxpr, inner.consts) if closed else (inner, ())
            results = _flatten(body, bound, inputs, equations, module)
        elif one.primitive.name in SAME:
            results = inputs
        else:
            outputs = [shape_of(atom) for atom in one.outvars]
            equations.append(Equation(one.primitive, inputs, outputs, one.params, module))
            results = list(outputs)
        values |= dict(zip(one.outvars, results, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _needed(equations: list[Equation], result: Value) -> list[Equation]:
    """The equations that the result depends on; empty arrays depend on nothing."""
    wanted, kept = {id(result)}, []
    for equation in reversed(equations):
        if any(id(output) in wanted for output in equation.outputs):
            kept.append(equation)
            if not is_empty(equation.outputs[0]):
                wanted |= {id(value) for value in equation.inputs}
    return kept[::-1]

"""The receptive field of every output of a network, computed from its jaxpr.

It is the extent of the input that a value depends on, in frames and pixels, including padding.
Group normalisation and gates depend on the whole clip, but equally at every position: they are
ignored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from jax.core import ShapedArray
from jax.extend import core

ALL = math.inf  # a receptive field that covers the whole clip, whatever its size


@dataclass(frozen=True)
class Axis:
    """Along one axis, output i depends on `size` inputs from `start + i * jump` on."""

    start: float = 0
    jump: float = 1
    size: float = 1

    def window(self, *, extent: int, stride: int, before: int) -> Axis:
        """The field after a window of `extent` and `stride`, with `before` values of padding."""
        return Axis(
            self.start - before * self.jump,
            self.jump * stride,
            self.size + (extent - 1) * self.jump,
        )


def whole(size: float) -> float:
    """Rounds up to whole frames or pixels: frames picked unevenly are fractions of a step apart."""
    return size if size == ALL else math.ceil(size)


Field = tuple[Axis, Axis, Axis]  # T, H, W
WHOLE: Field = (Axis(size=ALL),) * 3


def join(fields: Sequence[Field]) -> Field:
    """The smallest field that contains all the given ones."""
    axes = []
    for parts in zip(*fields, strict=True):
        start = min(part.start for part in parts)
        end = max(part.start + part.size for part in parts)
        axes.append(Axis(start, max(part.jump for part in parts), end - start))
    time, height, width = axes
    return time, height, width


def receptive_fields(jaxpr: core.Jaxpr, num_variables: int) -> list[Field | None]:
    """The receptive field of every output of a jaxpr in its last input, the clips.

    None stands for a value that does not depend on them. Convolutions, pooling and slices are
    followed along T, H, W of `BTHWC` arrays; other operations keep the field if they keep that
    shape, and otherwise depend on the whole clip.
    """
    parameters: list[Field | None] = [None] * num_variables
    return walk(jaxpr, [*parameters, (Axis(), Axis(), Axis())])


def walk(jaxpr: core.Jaxpr, inputs: Sequence[Field | None]) -> list[Field | None]:
    known: dict[Any, Field | None] = dict(zip(jaxpr.invars, inputs, strict=True))

    def field_of(atom: Any) -> Field | None:
        return None if isinstance(atom, core.Literal) else known.get(atom)

    for equation in jaxpr.eqns:
        fields = [field_of(atom) for atom in equation.invars]
        inner = next(
            (equation.params[k] for k in ("jaxpr", "call_jaxpr") if k in equation.params), None
        )
        if inner is not None:
            results = walk(getattr(inner, "jaxpr", inner), fields)
        else:
            results = [step(equation, fields)] * len(equation.outvars)
        known.update(zip(equation.outvars, results, strict=True))
    return [field_of(atom) for atom in jaxpr.outvars]


def step(equation: core.JaxprEqn, fields: Sequence[Field | None]) -> Field | None:
    """The field of the output of one operation, given those of its inputs."""
    after = shape_of(equation.outvars[0])
    sources = [
        (field, shape_of(atom))
        for atom, field in zip(equation.invars, fields, strict=True)
        # One value for all positions is a gate.
        if field is not None
        and not (len(after) == 5 and shape_of(atom)[1:4] == (1, 1, 1) != after[1:4])
    ]
    if not sources:
        return None
    field = join([field for field, _ in sources])
    before = sources[0][1]
    parameters = equation.params
    name = equation.primitive.name
    if name == "conv_general_dilated":
        extents = shape_of(equation.invars[1])[:3]  # the kernel is THWIO
        strides, padding = parameters["window_strides"], parameters["padding"]
    elif name.startswith("reduce_window"):
        extents = parameters["window_dimensions"][1:4]
        strides, padding = parameters["window_strides"][1:4], parameters["padding"][1:4]
    elif name == "slice" and len(before) == 5:
        extents, strides = (1, 1, 1), (parameters["strides"] or (1,) * 5)[1:4]
        padding = [(-start, 0) for start in parameters["start_indices"][1:4]]
    elif name == "gather" and len(before) == len(after) == 5 and before[2:4] == after[2:4]:
        time = field[0]  # picks some of the frames, about evenly spaced
        jump = time.jump * (before[1] - 1) / max(1, after[1] - 1)
        return (replace(time, jump=jump), *field[1:])
    elif len(before) == len(after) == 5 and before[1:4] == after[1:4]:
        return field
    else:
        return WHOLE
    time, height, width = (
        axis.window(extent=extent, stride=stride, before=low)
        for axis, extent, stride, (low, _) in zip(field, extents, strides, padding, strict=True)
    )
    return time, height, width


def shape_of(atom: core.Var | core.Literal) -> tuple[int, ...]:
    """The shape of an input or output of an operation; in networks all are arrays."""
    assert isinstance(atom.aval, ShapedArray)
    return atom.aval.shape

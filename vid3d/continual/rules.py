"""One rule for each operation of JAX that keeps the axis of time, or is a window along it.

An operation without a rule gets whole clips, as it may do anything along time. That is right, and
costs memory; a convolution after it would cost as much as in the clip network, and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp

from vid3d.continual import windows
from vid3d.continual.values import (
    CannotStream,
    Clip,
    Constant,
    Frames,
    Memory,
    Value,
)
from vid3d.models.tracing import Equation

ELEMENTWISE = frozenset(
    {
        "abs",
        "add",
        "and",
        "cbrt",
        "ceil",
        "clamp",
        "convert_element_type",
        "cos",
        "div",
        "eq",
        "erf",
        "erf_inv",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "ge",
        "gt",
        "integer_pow",
        "is_finite",
        "le",
        "log",
        "log1p",
        "logistic",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "nextafter",
        "not",
        "or",
        "pow",
        "reduce_precision",
        "rem",
        "round",
        "rsqrt",
        "select_n",
        "sign",
        "sin",
        "sqrt",
        "square",
        "sub",
        "tan",
        "tanh",
        "xor",
    }
)
# Each with the value that changes nothing.
REDUCTIONS: dict[str, tuple[Callable[..., jax.Array], float]] = {
    "reduce_sum": (jnp.sum, 0.0),
    "reduce_max": (jnp.max, -jnp.inf),
    "reduce_min": (jnp.min, jnp.inf),
}

Rule = Callable[[Equation, list[Value], Memory], Value | None]


def apply(equation: Equation, values: list[Value], memory: Memory) -> Value:
    """The result of an equation for the newest frames.

    Raises:
        CannotStream: it has none.
        NeedsMoreFrames: not for so few frames per step.
    """
    if len(equation.outputs) > 1:
        raise CannotStream(f"{place(equation)} has several results")
    if equation.name == "broadcast_in_dim":
        return broadcast_in_dim(equation, values[0])
    if equation.name in ELEMENTWISE:
        return elementwise(equation, values, memory)
    if any(isinstance(value, Frames) for value in values):
        rule = RULES.get(equation.name)
        if rule and (result := rule(equation, values, memory)) is not None:
            return result
    return whole(equation, values, memory)


def place(equation: Equation) -> str:
    """An operation and its module, for messages."""
    return f"{equation.name} in {equation.module}" if equation.module else equation.name


def whole(equation: Equation, values: list[Value], memory: Memory) -> Clip | Constant:
    """The operation as in the clip network, on the clip that ends with the newest frames."""
    why = place(equation)
    clips = [memory.clip(x, why) if isinstance(x, Frames) else x for x in values]
    known = [x for x in clips if isinstance(x, Clip)]
    if known and equation.name == "conv_general_dilated" and max(windows.kernel_size(equation)) > 1:
        raise CannotStream(
            f"{place(equation)} follows {known[0].why}, which needs all frames of a clip"
        )
    arrays = [
        jnp.broadcast_to(x.array, variable.shape)
        for x, variable in zip(clips, equation.inputs, strict=True)
    ]
    result = equation.bind(arrays)
    if not known:
        return Constant(result)
    return replace(joined(known), array=result)


def joined(clips: Sequence[Clip]) -> Clip:
    """What several clips are together in time; the array is that of the latest."""
    latest = max(clips, key=lambda x: x.full)
    return replace(latest, first=max(x.first for x in clips))


def elementwise(equation: Equation, values: list[Value], memory: Memory) -> Value:
    """Operations on each element; what is constant along time meets any number of frames."""
    frames = [x for x in values if isinstance(x, Frames)]
    if frames:
        axis, length = frames[0].axis, frames[0].length
        rank = len(equation.outputs[0].shape)
        others = [x for x in values if not isinstance(x, Frames)]
        timeless = all(x.array.ndim < rank or x.array.shape[axis] == 1 for x in others)
        gated = equation.name == "mul" or not any(isinstance(x, Clip) for x in others)
        if (not timeless and length > 1) or not gated:
            return whole(equation, values, memory)
    values = memory.aligned(values)
    arrays = [x.array for x in values]
    shape = jnp.broadcast_shapes(*(x.shape for x in arrays))
    array = equation.bind([jnp.broadcast_to(x, shape) if x.ndim else x for x in arrays])
    first = max((x.first for x in values if not isinstance(x, Constant)), default=0)
    for x in values:
        if isinstance(x, Frames):
            return replace(x, array=array, first=first)
    clips = [x for x in values if isinstance(x, Clip)]
    return replace(joined(clips), array=array) if clips else Constant(array)


def broadcast_in_dim(equation: Equation, x: Value) -> Value:
    """What has no axis of time gets new axes of size 1, stretched where it meets another array."""
    places, shape = equation.options["broadcast_dimensions"], equation.outputs[0].shape
    sizes = [1] * len(shape)
    for axis, size in zip(places, x.array.shape, strict=True):
        sizes[axis] = size
    array = x.array.reshape(sizes)
    if not isinstance(x, Frames):
        return replace(x, array=array)
    axis = places[x.axis]
    stretched = [x.count if here == axis else size for here, size in enumerate(shape)]
    return replace(x, array=jnp.broadcast_to(array, stretched), axis=axis)


def reduction(equation: Equation, values: list[Value], memory: Memory) -> Value:
    """Over time last, so that what is kept of the past is small, and of what is real so far."""
    (x,) = values
    assert isinstance(x, Frames)
    (reduce, empty), axes = REDUCTIONS[equation.name], equation.options["axes"]
    in_space = tuple(axis for axis in axes if axis != x.axis)
    if x.axis not in axes:
        axis = x.axis - sum(other < x.axis for other in axes)
        return replace(x, array=reduce(x.array, axis=in_space), axis=axis)
    kept = replace(x, array=reduce(x.array, axis=in_space, keepdims=True))
    clip = memory.clip(kept, place(equation))
    real_BT = memory.real(x)
    is_real = jnp.expand_dims(real_BT, [a for a in range(1, clip.array.ndim) if a != x.axis])
    array = reduce(jnp.where(is_real, clip.array, empty), axis=x.axis, keepdims=True)
    if equation.name == "reduce_sum":  # whose mean is taken over as many as a clip has
        share = x.length / real_BT.sum(axis=1)
        array = (array * share.reshape(-1, *[1] * (array.ndim - 1))).astype(clip.array.dtype)
    array = array.reshape(equation.outputs[0].shape)
    return replace(clip, array=array, first=x.first)


def dot_general(equation: Equation, values: list[Value], memory: Memory) -> Value | None:
    """A dense layer on each position."""
    x, kernel = values
    (contracted, _), (batched, _) = equation.options["dimension_numbers"]
    if not isinstance(x, Frames) or not isinstance(kernel, Constant):
        return None
    if batched or x.axis in contracted:
        return None
    weights = jnp.broadcast_to(kernel.array, equation.inputs[1].shape)
    axis = x.axis - sum(other < x.axis for other in contracted)
    return replace(x, array=equation.bind([x.array, weights]), axis=axis)


def concatenate(equation: Equation, values: list[Value], memory: Memory) -> Value | None:
    values = [x for x in values if x.array.size]  # jnp.pad joins empty pieces
    if len(values) == 1:
        return values[0]
    frames = [x for x in values if isinstance(x, Frames)]
    if len(frames) < len(values) or equation.options["dimension"] == frames[0].axis:
        return None
    aligned = memory.aligned(values)
    arrays = [x.array for x in aligned]
    (first, *_) = [x for x in aligned if isinstance(x, Frames)]
    return replace(first, array=equation.bind(arrays), first=max(x.first for x in frames))


def reshape(equation: Equation, values: list[Value], memory: Memory) -> Value | None:
    """Axes may be joined and split on either side of time."""
    (x,) = values
    assert isinstance(x, Frames)
    before, after = equation.inputs[0].shape, equation.outputs[0].shape
    ahead = math.prod(before[: x.axis])
    for axis, size in list(enumerate(after))[1:]:  # the first is the batch
        if size == x.length and math.prod(after[:axis]) == ahead:
            sizes = [*after]
            sizes[axis] = x.count
            return replace(x, array=x.array.reshape(sizes), axis=axis)
    return None


def squeeze(equation: Equation, values: list[Value], memory: Memory) -> Value | None:
    (x,) = values
    assert isinstance(x, Frames)
    axes = equation.options["dimensions"]
    if x.axis in axes:
        return None
    axis = x.axis - sum(other < x.axis for other in axes)
    return replace(x, array=jnp.squeeze(x.array, axes), axis=axis)


def tile(equation: Equation, values: list[Value], memory: Memory) -> Value | None:
    (x,) = values
    assert isinstance(x, Frames)
    if equation.options["reps"][x.axis] != 1:
        return None
    return replace(x, array=equation.bind([x.array]))


def transpose(equation: Equation, values: list[Value], memory: Memory) -> Value:
    (x,) = values
    assert isinstance(x, Frames)
    order = equation.options["permutation"]
    return replace(x, array=jnp.transpose(x.array, order), axis=order.index(x.axis))


RULES: dict[str, Rule] = {
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(("reduce_window_max", "reduce_window_sum"), windows.reduce_window),
    "concatenate": concatenate,
    "conv_general_dilated": windows.conv_general_dilated,
    "dot_general": dot_general,
    "pad": windows.pad,
    "reshape": reshape,
    "slice": windows.slice_,
    "squeeze": squeeze,
    "tile": tile,
    "transpose": transpose,
}

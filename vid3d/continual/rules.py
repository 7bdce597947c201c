"""One rule for each operation of JAX that keeps the axis of time, or is a window along it.

An operation without a rule gets whole clips, as it may do anything along time. That is right, and
costs memory; a convolution after it would cost as much as in the clip network, and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vid3d.continual.values import (
    CannotStream,
    Clip,
    Constant,
    Frames,
    Memory,
    NeedsMoreFrames,
    Value,
)
from vid3d.models.tracing import Equation
from vid3d.ops import convolution

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


def bind(equation: Equation, arrays: Sequence[jax.Array], **changed: Any) -> jax.Array:
    """The operation itself, with other options."""
    result = equation.primitive.bind(*arrays, **(equation.options | changed))
    return result[0] if equation.primitive.multiple_results else result


def whole(equation: Equation, values: list[Value], memory: Memory) -> Clip | Constant:
    """The operation as in the clip network, on the clip that ends with the newest frames."""
    why = place(equation)
    clips = [memory.clip(x, why) if isinstance(x, Frames) else x for x in values]
    known = [x for x in clips if isinstance(x, Clip)]
    if known and equation.name == "conv_general_dilated" and max(kernel_size(equation)) > 1:
        raise CannotStream(
            f"{place(equation)} follows {known[0].why}, which needs all frames of a clip"
        )
    arrays = [
        jnp.broadcast_to(x.array, variable.shape)
        for x, variable in zip(clips, equation.inputs, strict=True)
    ]
    result = bind(equation, arrays)
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
    array = bind(equation, [jnp.broadcast_to(x, shape) if x.ndim else x for x in arrays])
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


def window(
    x: Frames, memory: Memory, *, extent: int, stride: int, before: int
) -> tuple[jax.Array, Frames]:
    """The frames under the windows of this step, and what these results are in time.

    Output j is that of the frames `stride * j - before` to `stride * j - before + extent - 1`, as
    in the clip network; the frames beyond a clip's ends, which are 0 there, are real here.
    """
    if x.count % stride:
        raise NeedsMoreFrames(stride // math.gcd(stride, x.count))
    behind = x.lag + extent - before - stride
    lag = math.ceil(behind / stride)
    past = extent - stride + stride * lag - behind
    seen = memory.extended(x, past)
    start = max(0, -past)
    seen = lax.slice_in_dim(seen, start, start + x.count - stride + extent, axis=x.axis)
    first = x.first + max(0, math.ceil(past / x.count))
    return seen, replace(x, lag=lag, first=first)


def kernel_size(equation: Equation) -> tuple[int, ...]:
    """Of a convolution, per axis of space and time."""
    spec = equation.options["dimension_numbers"].rhs_spec
    return tuple(equation.inputs[1].shape[axis] for axis in spec[2:])


def conv_general_dilated(equation: Equation, values: list[Value], memory: Memory) -> Value | None:
    x, kernel = values
    options = equation.options
    numbers = options["dimension_numbers"]
    if not isinstance(x, Frames) or not isinstance(kernel, Constant) or x.axis != 1:
        return None
    dilated = {*options["lhs_dilation"], *options["rhs_dilation"], options["batch_group_count"]}
    if (numbers.lhs_spec, numbers.rhs_spec) != ((0, 4, 1, 2, 3), (4, 3, 0, 1, 2)) or dilated != {1}:
        return None
    strides, padding = options["window_strides"], options["padding"]
    seen, y = window(
        x, memory, extent=kernel_size(equation)[0], stride=strides[0], before=padding[0][0]
    )
    array = convolution.conv3d(
        seen,
        jnp.broadcast_to(kernel.array, equation.inputs[1].shape),
        strides=strides,
        padding=((0, 0), *padding[1:]),
        feature_group_count=options["feature_group_count"],
    )
    return replace(y, array=array, length=equation.outputs[0].shape[1])


def reduce_window(equation: Equation, values: list[Value], memory: Memory) -> Value | None:
    (x,) = values
    options = equation.options
    assert isinstance(x, Frames)
    if {*options["base_dilation"], *options["window_dilation"]} != {1}:
        return None
    sizes, strides, padding = (
        [*options[key]] for key in ("window_dimensions", "window_strides", "padding")
    )
    seen, y = window(
        x, memory, extent=sizes[x.axis], stride=strides[x.axis], before=padding[x.axis][0]
    )
    jump = memory.step_frames / x.count
    reach = 0 if any(padding[x.axis]) else (sizes[x.axis] - 1) * jump
    padding[x.axis] = (0, 0)
    array = bind(equation, [seen], padding=tuple(padding))
    length = equation.outputs[0].shape[x.axis]
    return replace(y, array=array, length=length, reach=x.reach + reach)


def pad(equation: Equation, values: list[Value], memory: Memory) -> Value | None:
    """In time only moves the positions: what is beyond a clip's ends is real here."""
    x, filler = values
    if not isinstance(x, Frames):
        return None
    margins = [*equation.options["padding_config"]]
    low, _, between = margins[x.axis]
    if between:
        return None
    margins[x.axis] = (0, 0, 0)
    array = bind(equation, [x.array, filler.array], padding_config=tuple(margins))
    return replace(x, array=array, lag=x.lag - low, length=equation.outputs[0].shape[x.axis])


def slice_(equation: Equation, values: list[Value], memory: Memory) -> Value | None:
    """Leaving out positions at a clip's ends only moves them."""
    (x,) = values
    options = equation.options
    assert isinstance(x, Frames)
    starts, limits = [*options["start_indices"]], [*options["limit_indices"]]
    strides = [*(options["strides"] or (1,) * len(starts))]
    seen, y = window(x, memory, extent=1, stride=strides[x.axis], before=-starts[x.axis])
    starts[x.axis], limits[x.axis] = 0, seen.shape[x.axis]
    array = lax.slice(seen, starts, limits, strides)
    return replace(y, array=array, length=equation.outputs[0].shape[x.axis])


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
    return replace(x, array=bind(equation, [x.array, weights]), axis=axis)


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
    return replace(first, array=bind(equation, arrays), first=max(x.first for x in frames))


def reshape(equation: Equation, values: list[Value], memory: Memory) -> Value | None:
    """Axes may be joined and split on either side of time."""
    (x,) = values
    assert isinstance(x, Frames)
    before, after = equation.inputs[0].shape, equation.outputs[0].shape
    ahead = math.prod(before[: x.axis])
    for axis, size in enumerate(after):
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
    return replace(x, array=bind(equation, [x.array]))


def transpose(equation: Equation, values: list[Value], memory: Memory) -> Value:
    (x,) = values
    assert isinstance(x, Frames)
    order = equation.options["permutation"]
    return replace(x, array=jnp.transpose(x.array, order), axis=order.index(x.axis))


RULES: dict[str, Rule] = {
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(("reduce_window_max", "reduce_window_sum"), reduce_window),
    "concatenate": concatenate,
    "conv_general_dilated": conv_general_dilated,
    "dot_general": dot_general,
    "pad": pad,
    "reshape": reshape,
    "slice": slice_,
    "squeeze": squeeze,
    "tile": tile,
    "transpose": transpose,
}

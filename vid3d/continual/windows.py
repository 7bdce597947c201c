"""Rules for windows along time: convolution, pooling, margins, slices."""

from __future__ import annotations

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax

from vid3d.continual.values import Constant, Frames, Memory, NeedsMoreFrames, Value
from vid3d.models.tracing import Equation
from vid3d.ops import convolution


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
    array = equation.bind([seen], padding=tuple(padding))
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
    array = equation.bind([x.array, filler.array], padding_config=tuple(margins))
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

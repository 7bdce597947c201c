"""What a network costs that takes a frame at a time, for `vid3d summary --stream`."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vid3d import models
from vid3d.continual.network import ContinualNetwork, Weights
from vid3d.continual.values import CannotStream
from vid3d.errors import UserError
from vid3d.models.normalise import clip_shape
from vid3d.models.summary import quantity, summarise
from vid3d.models.tracing import Trace, trace
from vid3d.ops import convolution


class Cost(NamedTuple):
    """Of one stream.

    Attributes:
        step_frames: see `ContinualNetwork`.
        warm_up: see `ContinualNetwork`.
        behind: see `ContinualNetwork`.
        flops: per frame, two for each multiply-add of convolutions and dense layers.
        clip_flops: per clip, of the clip network.
        state_bytes: kept between steps.
    """

    step_frames: int
    warm_up: int
    behind: tuple[float, float]
    flops: float
    clip_flops: int
    state_bytes: int

    def __str__(self) -> str:
        first, last = self.behind
        return (
            f"as a stream: {quantity(self.flops)}FLOPs per frame ({quantity(self.clip_flops)}FLOPs "
            f"per clip), a label every {self.step_frames} frames from frame {self.warm_up} on, "
            f"averaged over the frames {last:g} to {first:g} before the newest; "
            f"{self.state_bytes / 2**20:.1f} MiB are kept"
        )


def cost(config: ConfigDict, *, num_classes: int | None = None) -> Cost:
    """The cost of a config's network, from shapes alone.

    Raises:
        UserError: the network cannot take a frame at a time.
    """
    module = models.build(config.model, num_classes or len(config.data.classes) or 5)
    shape = clip_shape(config.data)

    def logits(weights: Weights, clips_BTHWC: jax.Array) -> jax.Array:
        found = module.apply(weights, clips_BTHWC, train=False)
        assert isinstance(found, jax.Array)  # nothing is mutable
        return found

    weights = models.shapes(module, shape)
    try:
        network = ContinualNetwork(logits, weights, shape)
    except CannotStream as why:
        raise UserError(f"{config.model.name} cannot take a frame at a time: {why}") from None
    state = jax.eval_shape(network.start)
    frames = jax.ShapeDtypeStruct((1, network.step_frames, *shape[1:]), jnp.float32)
    with convolution.library_form():
        step = trace(lambda *arguments: network.step(*arguments)[1], weights, state, frames)
    return Cost(
        network.step_frames,
        network.warm_up,
        network.behind,
        2 * multiply_adds(step) / network.step_frames,
        summarise(config, num_classes=num_classes).flops,
        sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state)),
    )


def multiply_adds(traced: Trace) -> int:
    """Of the convolutions and products of a function."""
    total = 0
    for equation in traced.equations:
        if equation.name == "conv_general_dilated":
            spec = equation.options["dimension_numbers"].rhs_spec
            kernel = equation.inputs[1].shape
            total += math.prod(equation.outputs[0].shape) * math.prod(kernel) // kernel[spec[0]]
        elif equation.name == "dot_general":
            (contracted, _), _ = equation.options["dimension_numbers"]
            inner = math.prod(equation.inputs[0].shape[axis] for axis in contracted)
            total += math.prod(equation.outputs[0].shape) * inner
    return total

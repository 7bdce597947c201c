"""The table of a network: output shape, parameters, FLOPs and receptive field of every layer.

The network is traced on shapes alone; nothing is computed. FLOPs are per clip: two for each
multiply-add of a convolution or dense layer, none for biases, normalisation, activations and
pooling. Papers on video often call the multiply-adds, half of that, FLOPs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
from rich import box
from rich.table import Table

from vid3d import models
from vid3d.models import normalise
from vid3d.models.layers import Conv3D, ConvPool, MaxPool3D
from vid3d.models.receptive_field import ALL, Field, receptive_fields, whole
from vid3d.ops import convolution


@dataclass(frozen=True)
class Row:
    """One layer, for one clip."""

    name: str  # path of the module, such as "layer1/conv"
    kind: str
    shape: tuple[int, ...]  # of the output, without the batch
    parameters: int
    flops: int
    # (frames, rows, columns); ALL is the whole clip.
    receptive_field: tuple[float, float, float] | None


@dataclass(frozen=True)
class Summary:
    """The rows in the order of the computation, and the clip shape that they hold for."""

    title: str
    clip_shape: tuple[int, int, int, int]  # T, H, W, C
    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """Trainable parameters, without the running statistics of batch normalisation."""
        return sum(row.parameters for row in self.rows)

    @property
    def flops(self) -> int:
        """FLOPs per clip, two for each multiply-add."""
        return sum(row.flops for row in self.rows)

    @property
    def receptive_field(self) -> tuple[float, float, float]:
        """The largest one below the whole clip, (frames, rows, columns); 1 if there is none."""
        fields = [row.receptive_field for row in self.rows if row.receptive_field]
        frames, rows, columns = (
            max([1, *(f[axis] for f in fields if f[axis] != ALL)]) for axis in range(3)
        )
        return frames, rows, columns


def summarise(config: ConfigDict, *, num_classes: int | None = None) -> Summary:
    """The table of a config's network, for the config's clips.

    Args:
        config: the whole config; `model` is the network, `data` gives the shape of a clip.
        num_classes: of the last layer; None takes the number of `data.classes`, or 5 if that is
            empty.

    Raises:
        vid3d.config.UserError: the config does not describe a network.
    """
    classes = num_classes or len(config.data.classes) or 5
    model = config.model.copy_and_resolve_references()
    model.remat = False  # the same layers, but not hidden inside a checkpoint
    counted = f"{classes} classes"
    if num_classes is None and not config.data.classes:
        counted += " (data.classes is open)"
    return trace(
        models.build(model, classes),
        clip_shape=normalise.clip_shape(config.data),
        title=f"{model.name}, {counted}",
    )


def trace(module: nn.Module, *, clip_shape: tuple[int, int, int, int], title: str) -> Summary:
    """The table of any module that maps `clips_BTHWC` to `logits_BK`."""
    clips = jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)
    variables = models.shapes(module, clip_shape)
    sizes: dict[tuple[str, ...], int] = {}
    for path, leaf in flatten_dict(variables["params"]).items():
        sizes[path[:-1]] = sizes.get(path[:-1], 0) + math.prod(leaf.shape)

    calls: list[tuple[tuple[str, ...], nn.Module, tuple[int, ...]]] = []

    def forward(variables: Any, clips: jax.Array) -> list[jax.Array]:
        outputs = []

        def record(call, args, kwargs, context):
            layer = context.module
            # Group normalisation is ignored, see `receptive_field`.
            output = args[0] if isinstance(layer, nn.GroupNorm) else call(*args, **kwargs)
            if layer.path and (isinstance(layer, MaxPool3D) or layer.path in sizes):
                calls.append((layer.path, layer, args[0].shape))
                outputs.append(output)
            return output

        with nn.intercept_methods(record):
            module.apply(variables, clips, train=False)
        return outputs

    with convolution.library_form():  # operations that `receptive_fields` can follow
        jaxpr = jax.make_jaxpr(forward)(variables, clips)
    fields = receptive_fields(jaxpr.jaxpr, len(jax.tree.leaves(variables)))
    rows = [
        Row(
            name="/".join(path),
            kind=type(layer).__name__,
            shape=tuple(output.shape[1:]),
            parameters=sizes.get(path, 0),
            flops=flops(layer, input_shape, output.shape),
            receptive_field=extents(field),
        )
        for (path, layer, input_shape), output, field in zip(
            calls, jaxpr.out_avals, fields, strict=True
        )
    ]
    missing = set(sizes) - {path for path, _, _ in calls}
    assert not missing, f"layers with parameters that no row counts: {missing}"
    return Summary(title=title, clip_shape=clip_shape, rows=tuple(rows))


def extents(field: Field | None) -> tuple[float, float, float] | None:
    """The size of a receptive field in whole frames, rows and columns."""
    if field is None:
        return None
    time, height, width = (whole(axis.size) for axis in field)
    return time, height, width


def flops(layer: nn.Module, input_shape: Sequence[int], output_shape: Sequence[int]) -> int:
    """Two for every multiply-add of a convolution or dense layer."""
    if isinstance(layer, Conv3D):
        inputs = math.prod(layer.kernel) * input_shape[-1] // layer.groups
        return 2 * math.prod(output_shape) * inputs
    if isinstance(layer, ConvPool):
        positions = math.prod(input_shape[:-1])  # the convolution comes before the pooling
        return 2 * positions * layer.features * math.prod(layer.kernel) * input_shape[-1]
    if isinstance(layer, nn.Dense):
        return 2 * math.prod(output_shape) * input_shape[-1]
    return 0


def render(summary: Summary) -> Table:
    """The table for `rich.print`."""
    frames, height, width, channels = summary.clip_shape
    multiply_adds = summary.flops / 2
    table = Table(
        title=f"{summary.title}, clips of {frames} frames {height}x{width}x{channels}",
        caption=f"{summary.parameters:,} parameters, {quantity(summary.flops)}FLOPs per clip: two "
        f"for each of {quantity(multiply_adds)} multiply-adds of convolutions and dense layers",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        show_footer=True,
    )
    table.add_column("layer", "total", no_wrap=True)
    table.add_column("kind")
    table.add_column("output", justify="right", no_wrap=True)
    table.add_column("parameters", f"{summary.parameters:,}", justify="right")
    table.add_column("FLOPs", quantity(summary.flops), justify="right")
    table.add_column("sees\nframes", justify="right")
    table.add_column("sees\npixels", justify="right")
    for row in summary.rows:
        seen_frames, rows, columns = row.receptive_field or (0, 0, 0)
        table.add_row(
            row.name,
            row.kind,
            "x".join(str(n) for n in row.shape),
            f"{row.parameters:,}" if row.parameters else "",
            quantity(row.flops) if row.flops else "",
            extent(seen_frames),
            extent(rows) if rows == columns else f"{extent(rows)} x {extent(columns)}",
        )
    return table


def extent(size: float) -> str:
    return "all" if size == ALL else f"{size:.0f}"


def quantity(number: float) -> str:
    """1234567 -> "1.23 M"."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.2f} {unit}"
    return f"{number:.0f} "

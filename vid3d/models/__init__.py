"""CLIPS -> LOGITS: one architecture per file, built by `build`. Start with `conv3d.py`.

    module = build(config.model, num_classes)
    variables = module.init(key, clips_BTHWC, train=False)
    logits_BK = module.apply(variables, clips_BTHWC, train=False)

All are called in this way. Clips are float32 and normalised; logits are float32. Training needs
`rngs={"dropout": key}` and, where there is batch normalisation, `mutable=["batch_stats"]`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from vid3d.errors import UserError, suggest
from vid3d.models import c3d, conv3d, layers, resnet3d, s3d, slowfast, x3d
from vid3d.ops import convolution

NAMES = (
    "conv3d",
    "c3d",
    *resnet3d.ARCHITECTURES,
    "s3d",
    *x3d.ARCHITECTURES,
    *slowfast.ARCHITECTURES,
)


def build(model: ConfigDict, num_classes: int, *, axis_name: str | None = None) -> nn.Module:
    """The module that `config.model` describes.

    Every architecture uses `name`, `input`, `dropout` (before the last layer), `dtype` and `remat`,
    the residual ones also `stochastic_depth`, all but c3d `norm_momentum`; training reads
    `init_from`. The other keys belong to conv3d, see `schema.unused`.

    Args:
        model: the group `config.model`.
        num_classes: K of the logits.
        axis_name: mapped axis over which batch normalisation averages its statistics in training.

    Raises:
        UserError: an unknown name, a value that is not one of the choices, or stochastic depth for
            an architecture without residual blocks.
    """
    name = model.name
    check_choice("name", name, NAMES)
    check_choice("input", model.input, layers.INPUTS)
    shared = dict(
        num_classes=num_classes,
        input=model.input,
        dropout=model.dropout,
        dtype=jnp.dtype(model.dtype),
        axis_name=axis_name,
        remat=model.remat,
    )
    normed = shared | ({"norm_momentum": model.norm_momentum} if model.norm_momentum else {})
    residual = normed | {"stochastic_depth": model.stochastic_depth}
    if name in resnet3d.ARCHITECTURES:
        return resnet3d.ResNet3D(stages=resnet3d.ARCHITECTURES[name], **residual)
    if name in x3d.ARCHITECTURES:
        return x3d.X3D(window=x3d.ARCHITECTURES[name], **residual)
    if name in slowfast.ARCHITECTURES:
        return slowfast.SlowFast(fast=slowfast.ARCHITECTURES[name], **residual)
    if model.stochastic_depth:
        raise UserError(
            f"config.model.stochastic_depth skips residual blocks, and {name} has none: set it to 0"
        )
    if name == "c3d":
        return c3d.C3D(**shared)
    if name == "s3d":
        return s3d.S3D(**normed)
    check_choice("norm", model.norm, layers.NORMS)
    check_choice("head", model.head, conv3d.HEADS)
    return conv3d.Conv3DNet(
        features=tuple(model.features),
        kernel=tuple(model.kernel),
        pool=tuple(model.pool),
        norm=model.norm,
        head=model.head,
        hidden=model.hidden,
        feature_dropout=model.feature_dropout,
        **normed,
    )


def shapes(module: nn.Module, clip_shape: tuple[int, ...]) -> dict:
    """The shapes of a network's variables for clips of shape (T, H, W, C), without computing them.

    Raises:
        UserError: the clip has too few frames or pixels for this network.
    """
    clips = jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)
    with convolution.library_form():  # the same shapes, traced several times faster
        return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), clips)


def features(module: nn.Module, variables: dict, clips_BTHWC: jax.Array) -> dict[str, jax.Array]:
    """The `BTHWC` output of each stage ("stem", "stage1", ...), in evaluation mode."""
    _, state = module.apply(variables, clips_BTHWC, train=False, mutable=["intermediates"])
    return {name: values[0] for name, values in state["intermediates"].items()}


def check_choice(key: str, value: str, options: tuple[str, ...]) -> None:
    """Raises a UserError unless the value of a key of `config.model` is one of its options."""
    if value not in options:
        near = suggest(value, options)
        raise UserError(f"config.model.{key}={value!r} is not one of {', '.join(options)}{near}")

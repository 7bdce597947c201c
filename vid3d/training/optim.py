"""config.optim -> an optax transformation."""

from __future__ import annotations

import jax
import optax
from ml_collections import ConfigDict

from vid3d.config import steps
from vid3d.data import pipeline
from vid3d.errors import UserError
from vid3d.models.layers import HEAD


def pace(config: ConfigDict, num_videos: int) -> tuple[int, int, optax.Schedule]:
    """Steps per epoch, steps of the whole training run, and the learning rate.

    Args:
        config: the whole config.
        num_videos: of the training split.

    Raises:
        UserError: fewer videos than a batch holds, no update in the whole training run, or see
            `learning_rate`.
    """
    batch_size = config.train.batch_size
    per_epoch = pipeline.steps_per_epoch(num_videos, batch_size)
    last_step = config.train.epochs * per_epoch
    if config.optim.accumulate > last_step:
        raise UserError(
            f"config.optim.accumulate={config.optim.accumulate} is more than the training's "
            f"{last_step} steps: the weights would never change"
        )
    schedule = learning_rate(
        config.optim, total_steps=last_step, steps_per_epoch=per_epoch, batch_size=batch_size
    )
    return per_epoch, last_step, schedule


def learning_rate(
    optim: ConfigDict, *, total_steps: int, steps_per_epoch: int, batch_size: int
) -> optax.Schedule:
    """The learning rate as a function of the update.

    "constant" or "cosine" (to zero; Loshchilov & Hutter 2017), after a linear warm-up from zero.

    Raises:
        UserError: the warm-up is longer than the training.
    """
    updates = max(total_steps // optim.accumulate, 1)
    warmup = steps(optim.warmup, steps_per_epoch=steps_per_epoch, batch_size=batch_size)
    warmup //= optim.accumulate
    if warmup >= updates:
        raise UserError(
            f"config.optim.warmup={optim.warmup!r} is not shorter than the training, {total_steps} "
            "steps"
        )
    if optim.schedule == "cosine":
        after = optax.cosine_decay_schedule(optim.learning_rate, updates - warmup)
    else:
        after = optax.constant_schedule(optim.learning_rate)
    if not warmup:
        return after
    before = optax.linear_schedule(0.0, optim.learning_rate, warmup)
    return optax.join_schedules([before, after], [warmup])


def build(optim: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer: clipping by global norm, then adam, adamw or sgd, over `accumulate` steps.

    Weight decay is decoupled (Loshchilov & Hutter 2019) for every optimizer and leaves out biases
    and the scales of norms, that is, everything with fewer than two axes. Adam's epsilon is Keras's
    1e-7.

    `backbone_rate` multiplies the learning rate of all layers but the last; with 0 they stand
    still, have no optimizer state, and do not count in the norm.
    """
    parts = []
    if optim.clip_norm:
        parts.append(optax.clip_by_global_norm(optim.clip_norm))
    if optim.name in ("adam", "adamw"):
        parts.append(optax.scale_by_adam(eps=1e-7))
    else:
        parts.append(optax.trace(decay=optim.momentum))
    if optim.weight_decay:
        parts.append(optax.add_decayed_weights(optim.weight_decay, mask=has_several_axes))
    parts.append(optax.scale_by_learning_rate(schedule))
    if optim.backbone_rate not in (0, 1):
        backbone = optax.scale(optim.backbone_rate)
        parts.append(optax.masked(backbone, lambda params: is_part(params, "backbone")))
    transformation = optax.chain(*parts)
    if optim.backbone_rate == 0:
        transformation = optax.partition(
            {"head": transformation, "backbone": optax.set_to_zero()}, part_of_network
        )
    if optim.accumulate > 1:
        transformation = optax.MultiSteps(
            transformation, optim.accumulate
        ).gradient_transformation()
    return transformation


def has_several_axes(params):
    """True for kernels, False for biases and the scales of norms."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def part_of_network(params: dict) -> dict:
    """Labels in the tree of the parameters: "head" for the last layer, otherwise "backbone"."""
    return {
        name: jax.tree.map(lambda _, part="head" if name == HEAD else "backbone": part, leaves)
        for name, leaves in params.items()
    }


def is_part(params: dict, part: str) -> dict:
    """True for the parameters of one part."""
    return jax.tree.map(lambda found: found == part, part_of_network(params))

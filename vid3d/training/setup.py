"""From prepared videos and a config to clips, mapped steps and the first state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from vid3d import compilation, config as configs, models, parallel
from vid3d.data import pipeline
from vid3d.data.prepared import Prepared
from vid3d.evaluation.predictions import EvalStep, build_eval_step
from vid3d.models.normalise import clip_shape
from vid3d.training import directions, optim, steps
from vid3d.training.state import TrainState, create
from vid3d.video.plan import Durations


@dataclass(frozen=True)
class Setup:
    """What the loop works with, the same in every call with one workdir.

    Attributes:
        config: the whole config.
        prepared: all videos, decoded.
        classes: names in the order of the labels.
        train_clips: of the training split; one random clip per video.
        val_clips: of the validation split.
        seen_clips: of `eval.train_videos` training videos, as evaluation sees them.
        trained: how long the training videos are.
        last_step: of the whole training run.
        steps_per_epoch: whole batches.
        schedule: update -> learning rate.
        train_step: see `steps.build_train_step`, mapped over the devices.
        eval_step: see `predictions.build_eval_step`, likewise.
        state: before the first step, at random.
        flip: whether every second clip is mirrored.
    """

    config: ConfigDict
    prepared: Prepared
    classes: tuple[str, ...]
    train_clips: pipeline.Clips
    val_clips: pipeline.Clips
    seen_clips: pipeline.Clips
    trained: Durations
    last_step: int
    steps_per_epoch: int
    schedule: optax.Schedule
    train_step: Callable
    eval_step: EvalStep
    state: TrainState
    flip: bool

    def every(self, duration: str) -> int:
        """A duration of the config in steps."""
        batch_size = self.config.train.batch_size
        return configs.steps(duration, steps_per_epoch=self.steps_per_epoch, batch_size=batch_size)


def set_up(config: ConfigDict, prepared: Prepared) -> Setup:
    """From prepared videos to the clips, the mapped steps and the state before the first step."""
    # Data: bytes -> clips.
    classes = prepared.index.classes
    train_clips = pipeline.Clips(prepared, "train", config.data)
    trained = train_clips.durations()
    evaluated: dict[str, Any] = {"data": config.data, "evaluation": config.eval, "trained": trained}
    val_clips = pipeline.Clips(prepared, "val", **evaluated)
    seen_clips = pipeline.Clips(prepared, "train", **evaluated, most=config.eval.train_videos)
    budget = config.data.memory_budget_mb * 2**20
    budget -= train_clips.hold_in_memory(budget)
    budget -= val_clips.hold_in_memory(budget)
    seen_clips.hold_in_memory(budget)
    per_epoch, last_step, schedule = optim.pace(config, len(train_clips))

    # Model and optimizer: clips -> logits -> weights.
    model = models.build(config.model, len(classes), axis_name=parallel.AXIS)
    optimizer = optim.build(config.optim, schedule)
    flip = directions.flips(config.augment.flip, classes)
    balanced = config.optim.class_weights == "balanced"
    train_step = steps.build_train_step(
        model,
        optimizer,
        config,
        flip=flip,
        axis_name=parallel.AXIS,
        class_weights_K=steps.balanced_weights(train_clips.labels_N, len(classes))
        if balanced
        else None,
    )
    return Setup(
        config=config,
        prepared=prepared,
        classes=classes,
        train_clips=train_clips,
        val_clips=val_clips,
        seen_clips=seen_clips,
        trained=trained,
        last_step=last_step,
        steps_per_epoch=per_epoch,
        schedule=jax.jit(schedule),
        train_step=compilation.calm(parallel.map_step(train_step)),
        eval_step=compilation.calm(
            parallel.map_eval(build_eval_step(model, data=config.data)),
        ),
        state=create(
            model,
            optimizer,
            seed=config.seed,
            clip_shape=clip_shape(config.data),
            ema=config.optim.ema > 0,
        ),
        flip=flip,
    )

"""What a training works with: from prepared videos and a config to clips, mapped steps and the first state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from vid3d import config as configs, models, parallel
from vid3d.data import pipeline
from vid3d.data.prepared import Prepared
from vid3d.evaluation.predictions import build_eval_step
from vid3d.terminal import printable
from vid3d.training import directions, optim, record, steps
from vid3d.training.state import TrainState, create
from vid3d.video.clips import clip_shape
from vid3d.video.plan import Durations


@dataclass
class Setup:
    """What the loop works with, the same in every call with one workdir."""

    config: ConfigDict
    classes: tuple[str, ...]
    protocol: str
    train_clips: pipeline.Clips
    val_clips: pipeline.Clips
    trained: Durations
    last_step: int
    steps_per_epoch: int
    schedule: optax.Schedule
    train_step: Callable
    eval_step: Callable
    state: TrainState
    flip: bool
    # videos that the weights it starts from were trained on: path -> sha256
    seen: dict[str, str] = field(default_factory=dict)
    # sha256 of the videos that those weights were chosen by
    chose: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    saved_on: int = 0  # devices of the process that saved the state; 0 is unknown

    def meta(self) -> dict[str, Any]:
        """What each checkpoint says of where it comes from."""
        return {
            "config": self.config.to_dict(),
            "classes": list(self.classes),
            "protocol": self.protocol,
            "training_videos": self.seen | self.train_clips.hashes(),
            "validation_videos": len(self.val_clips),
            "validation_sha256": sorted({*self.val_clips.hashes().values(), *self.chose}),
            "window_seconds": self.trained.median,
            "p95_seconds": self.trained.p95,
            "devices": parallel.num_devices(),
        }

    def every(self, duration: str) -> int:
        """A duration of the config in steps."""
        batch_size = self.config.train.batch_size
        return configs.steps(duration, steps_per_epoch=self.steps_per_epoch, batch_size=batch_size)


def eval_batch_size(config: ConfigDict) -> int:
    return config.eval.batch_size or config.train.batch_size


def set_up(config: ConfigDict, prepared: Prepared) -> Setup:
    """From prepared videos to the clips, the mapped steps and the state before the first step."""
    # Data: bytes -> clips.
    classes = prepared.index.classes
    train_clips = pipeline.Clips(prepared, "train", config.data)
    trained = train_clips.durations()
    val_clips = pipeline.Clips(
        prepared, "val", config.data, evaluation=config.eval, trained=trained
    )
    budget = config.data.memory_budget_mb * 2**20
    budget -= train_clips.hold_in_memory(budget)
    val_clips.hold_in_memory(budget)
    per_epoch, last_step, schedule = optim.pace(config, len(train_clips))

    # Model and optimizer: clips -> logits -> weights.
    model = models.build(config.model, len(classes), axis_name=parallel.AXIS)
    optimizer = optim.build(config.optim, schedule)
    flip = directions.flips(config.augment.flip, classes)
    train_step = steps.build_train_step(
        model,
        optimizer,
        data=config.data,
        augmentation=config.augment,
        flip=flip,
        label_smoothing=config.optim.label_smoothing,
        seed=config.seed,
        axis_name=parallel.AXIS,
        class_weights_K=steps.balanced_weights(train_clips.labels_N, len(classes))
        if config.optim.class_weights == "balanced"
        else None,
        ema=config.optim.ema,
        frozen_backbone=config.optim.backbone_rate == 0,
    )
    return Setup(
        config=config,
        classes=classes,
        protocol=prepared.index.protocol,
        train_clips=train_clips,
        val_clips=val_clips,
        trained=trained,
        last_step=last_step,
        steps_per_epoch=per_epoch,
        schedule=jax.jit(schedule),
        train_step=parallel.map_step(train_step),
        eval_step=parallel.map_eval(build_eval_step(model, data=config.data)),
        state=create(
            model,
            optimizer,
            seed=config.seed,
            clip_shape=clip_shape(config.data),
            ema=config.optim.ema > 0,
        ),
        flip=flip,
    )


def announce(setup: Setup, state: TrainState, recorder: record.Recorder) -> None:
    """Says what is going to be trained on what."""
    step, videos = int(state.step), len(setup.train_clips)
    count = sum(p.size for p in jax.tree.leaves(state.params))
    recorder.say(
        f"training {setup.config.model.name} ({count:,} parameters) on {videos} videos of "
        f"{len(setup.classes)} classes, validating on {len(setup.val_clips)} "
        f"(protocol: {setup.protocol}); {parallel.describe()}"
        + (f"; resuming at step {step} of {setup.last_step}" if step else "")
    )
    if unused := models.unused(setup.config.model):
        recorder.say(f"{setup.config.model.name} does not look at {', '.join(unused)}")
    recorder.say(directions.describe(setup.config.augment.flip, setup.classes))
    for note in setup.notes:
        recorder.say(note)
    if note := setup.val_clips.note():
        recorder.say(printable(f"validation: {note}"))
    if not len(setup.val_clips):
        never = ", and train.early_stopping never ends it" * bool(setup.config.train.early_stopping)
        recorder.say(f"no validation videos: the best checkpoint is the latest{never}")
    if setup.saved_on not in (0, parallel.num_devices()):
        batch_size = setup.config.train.batch_size
        recorder.say(
            f"saved on {setup.saved_on} devices, going on with {parallel.num_devices()}: the global batch of "
            f"{batch_size} is dealt out anew, {batch_size // parallel.num_devices()} clips a device"
        )
    if setup.config.train.profile_steps and setup.config.train.profile_steps[0] >= setup.last_step:
        recorder.say(
            f"train.profile_steps={setup.config.train.profile_steps} begin after the last step, {setup.last_step - 1}: "
            "there will be no profile"
        )
    if step < setup.last_step:
        recorder.say("the first step compiles the network, or loads it from the cache")
    left_out = videos % setup.config.train.batch_size
    if left_out > 0.05 * videos:
        recorder.say(
            f"an epoch is {setup.steps_per_epoch} whole batches and leaves {left_out} of {videos} videos out, "
            "others each time: train.batch_size decides"
        )

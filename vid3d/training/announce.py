"""What a training run says before its first step."""

from __future__ import annotations

import jax

from vid3d import models, parallel, schema
from vid3d.terminal import printable
from vid3d.training import directions
from vid3d.training.recorder import AnyRecorder
from vid3d.training.resume import StartingPoint
from vid3d.training.setup import Setup

# Share of batch normalisation's that may be left at the end. Of `demo`, 24 updates (16% left) have
# an accuracy of 0.33, and 0.37 with exact statistics; after 60 (0.3%) the losses are equal.
FIRST_STATISTICS = 1e-2


def announce(setup: Setup, point: StartingPoint, recorder: AnyRecorder) -> None:
    """Says what is going to be trained on what."""
    config = setup.config
    step, videos = int(point.state.step), len(setup.train_clips)
    count = sum(p.size for p in jax.tree.leaves(point.state.params))
    recorder.say(
        f"training {config.model.name} ({count:,} parameters) on {videos} videos of "
        f"{len(setup.classes)} classes, validating on {len(setup.val_clips)} "
        f"(protocol: {setup.prepared.index.protocol}); {parallel.describe()}"
        + (f"; resuming at step {step} of {setup.last_step}" if step else "")
    )
    if unused := schema.unused(config.model):
        recorder.say(f"{config.model.name} does not look at {', '.join(unused)}")
    recorder.say(directions.describe(config.augment.flip, setup.classes))
    for note in point.notes:
        recorder.say(note)
    if note := slow_statistics(setup, point):
        recorder.say(note)
    if note := setup.val_clips.note():
        recorder.say(printable(f"validation: {note}"))
    if not len(setup.val_clips):
        never = ", and train.early_stopping never ends it" * bool(config.train.early_stopping)
        recorder.say(f"no validation videos: the best checkpoint is the latest{never}")
    devices, batch_size = parallel.num_devices(), config.train.batch_size
    if point.saved_on not in (0, devices):
        recorder.say(
            f"saved on {point.saved_on} devices, resuming with {devices}: the global batch of "
            f"{batch_size} is split anew, {batch_size // devices} clips per device"
        )
    if config.train.profile_steps and config.train.profile_steps[0] >= setup.last_step:
        recorder.say(
            f"train.profile_steps={config.train.profile_steps} begin after the last step, "
            f"{setup.last_step - 1}: there will be no profile"
        )
    if step < setup.last_step:
        recorder.say(
            "the first step compiles the network: seconds for a small one, minutes for a large one "
            "or on a busy machine; a repeat loads it from the cache"
        )
    left_out = videos % config.train.batch_size
    if left_out > 0.05 * videos:
        recorder.say(
            f"an epoch is {setup.steps_per_epoch} whole batches and leaves {left_out} of {videos} "
            "videos out, others each time: train.batch_size decides"
        )


def slow_statistics(setup: Setup, point: StartingPoint) -> str:
    """Says where a training run is too short for the running statistics of batch normalisation.

    They weigh a step by its age, see `state.running_statistics`, and those of the trained weights
    may be far away from those of the first steps.
    """
    config = setup.config
    momentum = getattr(models.build(config.model, len(setup.classes)), "norm_momentum", 0.0)
    updates = max(setup.last_step // config.optim.accumulate, 1)
    share = first_share(momentum, updates)
    if not point.state.batch_stats or config.model.init_from or share < FIRST_STATISTICS:
        return ""
    tenths = (tenth / 10 for tenth in range(9, 0, -1))
    enough = next((m for m in tenths if first_share(m, updates) < FIRST_STATISTICS), 0.1)
    return (
        f"{updates} updates are few: at the end, batch normalisation still has {share:.1%} of its "
        "first steps' statistics, by which validation and predictions may be far worse than "
        f"training; train for more epochs, or set --config.model.norm_momentum={enough}"
    )


def first_share(momentum: float, updates: int) -> float:
    """How much of the running statistics is of as many first steps as they average over."""
    few = min(1 / (1 - momentum), updates)
    return (momentum ** (updates - few) - momentum**updates) / (1 - momentum**updates)

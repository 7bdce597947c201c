"""The training: the story from a config to a workdir with its best checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from vid3d import checkpoint, config as configs, models, parallel, storage
from vid3d.data import index as data_index, pipeline, prepare
from vid3d.data.augment import flips
from vid3d.data.clips import clip_shape
from vid3d.evaluation import evaluate, metrics, plots
from vid3d.training import optim, record, steps, transfer, workdir as workdirs
from vid3d.training.progress import BadNumberError, Progress, check_sums
from vid3d.training.state import TrainState, create
from vid3d.training.stop import StopSignal

FINISHED, RESUME_ME = 0, 75  # exit codes; 75 is EX_TEMPFAIL of sysexits.h


@dataclass
class Setup:
    """What the loop works with, the same in every call with one workdir."""

    config: ConfigDict
    classes: tuple[str, ...]
    protocol: str
    train_clips: pipeline.Clips
    val_clips: pipeline.Clips
    last_step: int
    steps_per_epoch: int
    schedule: optax.Schedule
    train_step: Callable
    eval_step: Callable
    state: TrainState
    flip: bool
    # videos that the weights it starts from were trained on: path -> sha256
    seen: dict[str, str] = field(default_factory=dict)
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
            "window_seconds": self.train_clips.median_seconds(),
            "devices": parallel.num_devices(),
        }

    def every(self, duration: str) -> int:
        """A duration of the config in steps."""
        batch_size = self.config.train.batch_size
        return configs.steps(duration, steps_per_epoch=self.steps_per_epoch, batch_size=batch_size)


def train(config: ConfigDict, workdir: str | Path) -> int:
    """Trains one model, or goes on where the last call with this workdir stopped.

    Returns:
        FINISHED, or RESUME_ME after SIGTERM or SIGINT: the state of that moment is saved.

    Raises:
        UserError: something in the config, the data or the workdir that the user can put right.
    """
    workdir = storage.place(workdir)
    parallel.check_batch_size(config.train.batch_size, "train.batch_size")
    parallel.check_batch_size(eval_batch_size(config), "eval.batch_size")
    # What is wrong shows before any video is decoded.
    shapes = models.shapes(models.build(config.model, 2), clip_shape(config.data))
    if not checkpoint.steps(workdir):
        transfer.check(config, shapes)
    with workdirs.hold(workdir) if parallel.is_main() else contextlib.nullcontext():
        if parallel.is_main():
            workdirs.check_claim(workdir, config)
        parallel.barrier("workdir held")
        if workdirs.is_finished(workdir, config):
            workdirs.announce_finished(workdir, config)
            return FINISHED
        index = data_index.find(config.data, config.seed)
        optim.pace(config, len(index.split("train")))
        prepared = prepare.prepare(config, index=index)
        setup = set_up(config, prepared)
        if parallel.is_main() and not (workdir / "config.json").exists():
            workdirs.claim(workdir, config)  # first of all: a kill leaves nothing but a workdir
        checkpoints = checkpoint.Checkpoints(workdir)
        state, progress = resume(setup, checkpoints, workdir)
        workdirs.check_listed(workdir, prepared)
        if parallel.is_main():
            workdirs.drop_figures(workdir)
            workdirs.claim(workdir, config)
            workdirs.write_videos(workdir, prepared)
        finished = run(setup, state, progress, checkpoints, workdir)
        checkpoints.close()
    return FINISHED if finished else RESUME_ME


def eval_batch_size(config: ConfigDict) -> int:
    return config.eval.batch_size or config.train.batch_size


def set_up(config: ConfigDict, prepared: prepare.Prepared) -> Setup:
    """From prepared videos to the clips, the mapped steps and the state before the first step."""
    # Data: bytes -> clips.
    classes = prepared.index.classes
    train_clips = pipeline.Clips(prepared, "train", config.data)
    val_clips = pipeline.Clips(prepared, "val", config.data, views=config.eval.views)
    budget = config.data.memory_budget_mb * 2**20
    budget -= train_clips.hold_in_memory(budget)
    val_clips.hold_in_memory(budget)
    per_epoch, last_step, schedule = optim.pace(config, len(train_clips))

    # Model and optimizer: clips -> logits -> weights.
    model = models.build(config.model, len(classes), axis_name=parallel.AXIS)
    optimizer = optim.build(config.optim, schedule)
    flip = flips(config.augment.flip, classes)
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
        last_step=last_step,
        steps_per_epoch=per_epoch,
        schedule=jax.jit(schedule),
        train_step=parallel.map_step(train_step),
        eval_step=parallel.map_eval(evaluate.build_eval_step(model, data=config.data)),
        state=create(
            model,
            optimizer,
            seed=config.seed,
            clip_shape=clip_shape(config.data),
            ema=config.optim.ema > 0,
        ),
        flip=flip,
    )


def resume(
    setup: Setup, checkpoints: checkpoint.Checkpoints, workdir: Path
) -> tuple[TrainState, Progress]:
    """The state of the newest checkpoint, or the one before the first step, replicated on the devices.

    What `config.model.init_from` names is read before the first step only; its videos stay noted.
    """
    state, progress = setup.state, Progress()
    if found := checkpoint.steps(workdir):  # before Orbax tries to fit another number of classes in
        classes = checkpoint.read_meta(workdir, found[-1])["classes"]
        workdirs.check_classes(classes, setup.classes, workdir)
    restored = checkpoints.restore_latest(state.weights(), state.optimizer())
    if restored:
        weights, optimizer_state, meta = restored
        state = state.restored(weights, optimizer_state)
        progress = Progress(**meta["progress"])
        setup.seen, own = transfer.seen_before(setup.config.model, meta["training_videos"])
        workdirs.check_videos(own, setup.train_clips.hashes(), workdir)
        setup.saved_on = meta.get("devices", 0)  # checkpoints of earlier versions do not say it
    elif setup.config.model.init_from:
        start = transfer.initial(setup.config.model, state.weights(), setup.classes)
        state = state.starting_from(start.variables)
        setup.seen, setup.notes = start.videos, start.notes
    return parallel.replicate(state), progress


def run(
    setup: Setup,
    state: TrainState,
    progress: Progress,
    checkpoints: checkpoint.Checkpoints,
    workdir: Path,
) -> bool:
    """Trains until the last step, early stopping or a signal; returns whether the training is finished."""
    config, last_step = setup.config, setup.last_step
    step = first_step = int(state.step)
    recorder = record.open_recorder(
        workdir,
        first_step=first_step,
        last_step=last_step,
        steps_per_epoch=setup.steps_per_epoch,
        config=config,
    )
    announce(setup, state, recorder)
    batches = parallel.prefetch(
        pipeline.train_batches(
            setup.train_clips,
            seed=config.seed,
            batch_size=config.train.batch_size,
            first_step=step,
            last_step=last_step,
            balance=config.train.balance_classes,
            host=parallel.host(),
        )
    )
    eval_every, save_every = setup.every(config.eval.every), setup.every(config.checkpoint.every)

    def settle(at: int, sums: Any, index_B: jax.Array) -> None:
        """Waits for the sums of a dispatched step, checks them and adds them up."""
        sums = jax.device_get(sums)
        videos = [setup.train_clips.videos[i].path for i in parallel.unshard(index_B)]
        check_sums(at, sums, params=state.params, videos=videos)
        progress.add(sums)

    # The contract of the loop: the sums of step k are settled after step k + 1 was dispatched, and before anything is
    # written. Then evaluate, append the row, save, in this order: a checkpoint never knows less than the records, and
    # on resume the rows beyond it are cut.
    unsettled = None
    finished = step == last_step or progress.exhausted(config.train.early_stopping)
    asked = StopSignal(has_others=parallel.has_others())
    profile = record.Profile(workdir, config.train.profile_steps)
    with contextlib.closing(recorder), asked as stop, profile:
        while not finished:
            profile.at(step)
            with recorder.waiting():
                batch = next(batches)
            if step == 0:
                strip = record.clip_strip(batch, config, flip=setup.flip)
                recorder.image("training_clips", strip, step)
            state, sums = setup.train_step(state, batch)
            step += 1
            if unsettled:
                settle(*unsettled)
            unsettled = step, sums, batch["index_B"]
            if progress.count:
                recorder.show(step, **progress.averages())

            evaluating = step % eval_every == 0 or step == last_step
            stopping = parallel.agree_to_stop(step - first_step, stop.requested)
            if not (evaluating or stopping or step % save_every == 0):
                continue
            settle(*unsettled)
            unsettled = scores = None
            if evaluating:
                scores = validate(setup, state, progress, recorder, step)
            finished = step == last_step or progress.exhausted(config.train.early_stopping)
            checkpoints.save(
                step,
                state.weights(),
                state.optimizer(),
                meta=setup.meta()
                | {"progress": dataclasses.asdict(progress), "finished": finished},
                metrics=scores,
            )
            if stopping and not finished:
                recorder.say(
                    f"stopped at step {step}, all saved: the same command goes on from here"
                )
                break
    return finished


def validate(
    setup: Setup, state: TrainState, progress: Progress, recorder: record.Recorder, step: int
) -> dict[str, float] | None:
    """Evaluates the validation split, writes the row and the picture; returns accuracy and loss.

    Without validation videos the row has the training alone, and there is nothing to return.

    Raises:
        BadNumberError: the loss is not finite.
    """
    train_scores, rates = progress.averages(), recorder.rates(step)
    rate = float(setup.schedule((step - 1) // setup.config.optim.accumulate))
    if not len(setup.val_clips):
        progress.restart()
        recorder.row(step, train_scores, {}, learning_rate=rate, improved=False, rates=rates)
        return None
    predictions = evaluate.run(
        setup.eval_step, state.weights(), setup.val_clips, batch_size=eval_batch_size(setup.config)
    )
    scores = {"accuracy": predictions.accuracy(), "loss": predictions.loss()}
    if not np.isfinite(scores["loss"]):
        raise BadNumberError(f"step {step}: the validation loss is not finite")
    matrix = metrics.confusion_matrix(
        predictions.labels_N, predictions.probabilities_NK.argmax(1), len(setup.classes)
    )
    figure = plots.confusion_figure(matrix, setup.classes, title=f"validation, step {step}")
    recorder.image("confusion_matrix", plots.figure_to_array(figure), step)
    improved = progress.evaluated(scores)
    recorder.row(step, train_scores, scores, learning_rate=rate, improved=improved, rates=rates)
    return scores


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
    for note in setup.notes:
        recorder.say(note)
    if not len(setup.val_clips):
        never = ", and train.early_stopping never ends it" * bool(setup.config.train.early_stopping)
        recorder.say(f"no validation videos: the best checkpoint is the latest{never}")
    if setup.saved_on not in (0, parallel.num_devices()):
        batch_size = setup.config.train.batch_size
        recorder.say(
            f"saved on {setup.saved_on} devices, going on with {parallel.num_devices()}: the global batch of "
            f"{batch_size} is dealt out anew, {batch_size // parallel.num_devices()} clips a device"
        )
    if step < setup.last_step:
        recorder.say("the first step compiles the network, or loads it from the cache")
    left_out = videos % setup.config.train.batch_size
    if left_out > 0.05 * videos:
        recorder.say(
            f"an epoch is {setup.steps_per_epoch} whole batches and leaves {left_out} of {videos} videos out, "
            "others each time: train.batch_size decides"
        )

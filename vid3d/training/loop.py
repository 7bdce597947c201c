"""The training loop: from a config to a workdir with its best checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vid3d import models, parallel
from vid3d.checkpoint import Address, Workdir
from vid3d.checkpoint.writing import CheckpointStore
from vid3d.data import pipeline, prepare
from vid3d.datasets import index as data_index
from vid3d.evaluation import metrics, plots
from vid3d.evaluation.predictions import eval_batch_size, predict
from vid3d.models.normalise import clip_shape
from vid3d.training import optim, record, transfer
from vid3d.training.announce import announce
from vid3d.training.progress import BadNumberError, TrainingProgress, check_sums
from vid3d.training.resume import (
    StartingPoint,
    announce_finished,
    check_listed,
    resume,
    write_videos,
)
from vid3d.training.setup import Setup, set_up
from vid3d.training.state import TrainState
from vid3d.training.stop import StopSignal


def train(config: ConfigDict, workdir: Address) -> bool:
    """Trains one model, or resumes where the last call with this workdir stopped.

    Returns:
        Whether the training is finished; False after SIGTERM or SIGINT: the state of that moment
        is saved.

    Raises:
        UserError: something in the config, the data or the workdir that the user can put right.
    """
    workdir = Workdir(workdir)
    parallel.check_batch_size(config.train.batch_size, "train.batch_size")
    parallel.check_batch_size(eval_batch_size(config), "eval.batch_size")
    # What is wrong shows before any video is decoded.
    models.shapes(models.build(config.model, 2), clip_shape(config.data))
    if not workdir.checkpoints():
        transfer.check_backbone(config)
    with workdir.hold() if parallel.is_main() else contextlib.nullcontext():
        if parallel.is_main():
            workdir.check_claim(config)
        parallel.barrier("workdir held")
        if workdir.is_finished(config):
            announce_finished(workdir, config)
            return True
        setup, initial = prepare_setup(config, workdir)
        if parallel.is_main() and not workdir.config_file.exists():
            workdir.claim(config)  # first of all: a kill leaves nothing but a workdir
        checkpoints = CheckpointStore(workdir)
        point = resume(setup, initial, checkpoints, workdir)
        del initial  # its arrays are in the state now
        check_listed(workdir, setup.prepared, validate_on_test=config.data.validate_on_test)
        if parallel.is_main():
            workdir.claim(config)
            write_videos(workdir, setup.prepared)
        finished = run(setup, point, checkpoints, workdir)
        checkpoints.close()
    return finished


def prepare_setup(
    config: ConfigDict, workdir: Workdir
) -> tuple[Setup, transfer.InitialWeights | None]:
    """Decodes the videos; before that, reads the initial weights where there is no checkpoint."""
    index = data_index.find(config.data, config.seed)
    optim.pace(config, len(index.split("train")))
    initial = None
    if config.model.init_from and not workdir.checkpoints():
        model = models.build(config.model, len(index.classes))
        shapes = models.shapes(model, clip_shape(config.data))
        initial = transfer.initial(config.model, shapes, index.classes)
    prepared = prepare.prepare(config, index=index)
    parallel.check_same(prepared.listing(), what="videos, labels or splits")
    if initial:
        transfer.check_splits(initial, prepared, config.model.init_from)
    return set_up(config, prepared), initial


def run(setup: Setup, point: StartingPoint, checkpoints: CheckpointStore, workdir: Workdir) -> bool:
    """Trains until the last step, early stopping or a signal; returns whether all is done."""
    config, last_step = setup.config, setup.last_step
    state, progress, meta = point.state, point.progress, point.meta(setup)
    step = first_step = int(state.step)
    recorder = record.open_recorder(
        workdir,
        first_step=first_step,
        last_step=last_step,
        steps_per_epoch=setup.steps_per_epoch,
        config=config,
    )
    announce(setup, point, recorder)
    eval_every, save_every = setup.every(config.eval.every), setup.every(config.checkpoint.every)
    if step:
        recorder.warn_of_gaps(every=eval_every, last=step)
    batches = parallel.prefetch(
        pipeline.train_batches(
            setup.train_clips,
            seed=config.seed,
            batch_size=config.train.batch_size,
            first_step=step,
            last_step=last_step,
            balance=config.train.balance_classes,
            host=parallel.host_index_and_count(),
        )
    )

    def settle(at: int, sums: Any, index_B: jax.Array) -> None:
        """Waits for the sums of a dispatched step, checks them and adds them up."""
        sums = jax.device_get(sums)
        videos = [setup.train_clips.videos[i].path for i in parallel.unshard(index_B)]
        check_sums(at, sums, params=state.params, videos=videos)
        progress.add(sums)

    # The contract of the loop: the sums of step k are settled after step k + 1 was dispatched, and
    # before anything is written. Then evaluate, append the row, save, in this order: a checkpoint
    # never knows less than the records, and on resume the rows beyond it are cut.
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
                meta=meta | {"progress": dataclasses.asdict(progress), "finished": finished},
                metrics=scores,
            )
            if stopping and not finished:
                recorder.say(
                    f"stopped at step {step}, all saved: the same command goes on from here"
                )
                break
    return finished


def validate(
    setup: Setup,
    state: TrainState,
    progress: TrainingProgress,
    recorder: record.AnyRecorder,
    step: int,
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
    predictions = predict(
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

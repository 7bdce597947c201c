"""The training loop: from a config to a workdir with its best checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vid3d import compilation, models, parallel
from vid3d.checkpoint import Address, Workdir, provenance
from vid3d.checkpoint.writing import CheckpointStore
from vid3d.data import pipeline, prepare
from vid3d.datasets import index as data_index
from vid3d.evaluation import metrics, plots, temperature
from vid3d.evaluation.predictions import Predictions, eval_batch_size, predict
from vid3d.models.normalise import clip_shape
from vid3d.training import extension, optim, transfer
from vid3d.training.announce import announce
from vid3d.training.log import RunLog
from vid3d.training.recorder import AnyRecorder, Profile, clip_strip, open_recorder
from vid3d.training.resume import (
    StartingPoint,
    announce_finished,
    check_listed,
    resume,
    write_videos,
)
from vid3d.training.running_sums import BadNumberError, TrainingProgress, check_sums
from vid3d.training.setup import Setup, set_up
from vid3d.training.state import TrainState
from vid3d.training.stop import StopSignal


def train(
    config: ConfigDict, workdir: Address, *, extend: bool = False, like: Address = ""
) -> bool:
    """Trains one model, or resumes where the last call with this workdir stopped.

    Args:
        config: the whole config.
        workdir: of the training run.
        extend: whether a training run may go on with more epochs than it was started with, or
            another `train.early_stopping`.
        like: the workdir of the training run that this one repeats, if any; versions that differ
            are named.

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
    is_main = parallel.is_main()
    held = workdir.hold() if is_main else contextlib.nullcontext()
    with held, RunLog(workdir, active=is_main) as log:
        if is_main:
            workdir.check_claim(config, extend=extend)
        parallel.barrier("workdir held")
        if workdir.is_finished(config):
            announce_finished(workdir, config, extend=extend)
            return True
        before = workdir.config() if is_main and workdir.config_file.exists() else None
        setup, initial = prepare_setup(config, workdir)
        if is_main and not workdir.config_file.exists():
            workdir.claim(config)  # first of all: a kill leaves nothing but a workdir
        checkpoints = CheckpointStore(workdir)
        point = resume(setup, initial, checkpoints, workdir)
        del initial  # its arrays are in the state now
        check_listed(workdir, setup.prepared, validate_on_test=config.data.validate_on_test)
        if is_main:
            point = document(setup, point, workdir, before=before, like=like)
            workdir.claim(config)
            write_videos(workdir, setup.prepared)
            log.begin(provenance.headline(workdir))
        finished = run(setup, point, checkpoints, workdir, log)
        checkpoints.close()
        if finished:
            announce_finished(workdir, config)
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


def document(
    setup: Setup,
    point: StartingPoint,
    workdir: Workdir,
    *,
    before: ConfigDict | None,
    like: Address,
) -> StartingPoint:
    """Adds this start to provenance.json, and why its result may differ to what is announced.

    Args:
        setup: of the training run.
        point: where it starts.
        workdir: that it writes in.
        before: what its config.json says; None where it is new.
        like: see `train`.
    """
    step = int(point.state.step)
    notes: list[str] = []
    more: dict[str, Any] = {}
    if like:
        notes += extension.on_the_way(Workdir(like))
        if found := provenance.differences(Workdir(like)):
            notes.append(f"other versions than in {like}, results may differ: {found}")
    if step and (found := provenance.differences(workdir)):
        notes.append(f"other versions than before, results may differ: {found}")
    if extended := extension.find(setup, before, step):
        notes.append(str(extended))
        more["extended"] = extended.facts()
    provenance.add(workdir, provenance.entry(step=step, **more))
    return dataclasses.replace(point, notes=[*point.notes, *notes])


def run(
    setup: Setup,
    point: StartingPoint,
    checkpoints: CheckpointStore,
    workdir: Workdir,
    log: RunLog,
) -> bool:
    """Trains until the last step, early stopping or a signal; returns whether all is done."""
    config, last_step = setup.config, setup.last_step
    state, progress, meta = point.state, point.progress, point.meta(setup)
    step = first_step = int(state.step)
    recorder = open_recorder(
        workdir,
        first_step=first_step,
        last_step=last_step,
        steps_per_epoch=setup.steps_per_epoch,
        eval_every=setup.every(config.eval.every),
        config=config,
        log=log,
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
        videos = [setup.train_clips.videos[i].name for i in parallel.unshard(index_B)]
        check_sums(at, sums, params=state.params, videos=videos)
        progress.add(sums)

    # The contract of the loop: the sums of step k are settled after step k + 1 was dispatched, and
    # before anything is written. Then evaluate, append the row, save, in this order: a checkpoint
    # never knows less than the records, and on resume the rows beyond it are cut.
    unsettled, compiled = None, compilation.seconds()
    finished = step == last_step or progress.exhausted(config.train.early_stopping)
    asked = StopSignal(has_others=parallel.has_others())
    profile = Profile(workdir, config.train.profile_steps)
    with contextlib.closing(recorder), asked as stop, profile:
        while not finished:
            profile.at(step)
            with recorder.waiting():
                batch = next(batches)
            if step == 0:
                strip = clip_strip(batch, config, flip=setup.flip)
                recorder.image("training_clips", strip, step)
            state, sums = setup.train_step(state, batch)
            step += 1
            if step == first_step + 1:
                recorder.compiled_in(compilation.seconds() - compiled)
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
            with recorder.pause(evaluating=evaluating):
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
    recorder: AnyRecorder,
    step: int,
) -> dict[str, float] | None:
    """Evaluates, and writes the row; returns validation accuracy, loss and fitted temperature.

    The best evaluation so far and the last have a picture as well. Without validation videos there
    is nothing to return. The training videos of `eval.train_videos` are for the row alone.

    Raises:
        BadNumberError: the validation loss is not finite.
    """
    figures, rates = {"train": progress.averages()}, recorder.rates(step)
    rate = float(setup.schedule((step - 1) // setup.config.optim.accumulate))

    def answer(clips: pipeline.Clips) -> Predictions:
        batch_size = eval_batch_size(setup.config)
        return predict(setup.eval_step, state.weights(), clips, batch_size=batch_size)

    scores = None
    if len(setup.val_clips):
        predictions = answer(setup.val_clips)
        scores = figures["val"] = predictions.scores()
        if not np.isfinite(scores["loss"]):
            raise BadNumberError(f"step {step}: the validation loss is not finite")
        if not (setup.config.model.temperature or setup.config.data.validate_on_test):
            scores["temperature"] = temperature.fit(predictions)
    if len(setup.seen_clips):
        figures["train_eval"] = answer(setup.seen_clips).scores()
    improved = progress.evaluated(scores)
    if scores and (improved or step == setup.last_step):  # drawing takes as long as a small epoch
        matrix = metrics.confusion_matrix(
            predictions.labels_N, predictions.probabilities_NK.argmax(1), len(setup.classes)
        )
        figure = plots.confusion_figure(matrix, setup.classes, title=f"validation, step {step}")
        recorder.image("confusion_matrix", plots.figure_to_array(figure), step)
    chosen = improved and setup.config.checkpoint.choose == "best"
    recorder.row(step, figures, learning_rate=rate, improved=chosen, rates=rates)
    return scores

"""Evaluates one checkpoint on one split, or on other videos, and writes down what it got right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flax.errors import ScopeParamShapeError

from vid3d import models, parallel, storage
from vid3d.checkpoint import Address, Workdir, provenance
from vid3d.data import pipeline, prepare
from vid3d.data.prepared import Prepared
from vid3d.data.report import duplicates
from vid3d.datasets import index as data_index
from vid3d.datasets.videos import Index
from vid3d.engine import Network, choose
from vid3d.errors import UserError
from vid3d.evaluation import calibration, metrics, mistakes, output, sets
from vid3d.evaluation.predictions import (
    Predictions,
    build_eval_step,
    engine_step,
    eval_batch_size,
    predict,
)
from vid3d.evaluation.restored import (
    Restored,
    override_notes,
    restore,
    result_overrides,
    suffix,
)
from vid3d.terminal import printable
from vid3d.text import first_few
from vid3d.video.plan import Durations

MOST_MISTAKES = 10  # in metrics.json
TRAINED_ON = "these videos were in the training: the accuracy says nothing about others"
LAST = "best is the last checkpoint here: the training run has checkpoint.choose=last"


def evaluate(
    workdir: Address,
    *,
    checkpoint: str = "best",
    split: str = "test",
    overrides: Sequence[tuple[str, str]] = (),
    data: str | None = None,
    engine: str = "jax",
    precision: str = "f32",
) -> tuple[dict[str, Any], Path]:
    """Evaluates a checkpoint and writes its figures into the workdir.

    The folder is `evaluation/SPLIT-CHECKPOINT/`, or `evaluation/data-FOLDER-HASH-CHECKPOINT/`.
    Overrides that can change the figures are at the end of the folder's name, such as
    `test-best-num_frames=5`.

    Args:
        workdir: of the training run.
        checkpoint: "best", "latest" or a step.
        split: "test", "val" or "train".
        overrides: (key, text) pairs, such as ("data.root", "/elsewhere").
        data: another folder or CSV; all its videos are evaluated, its classes are mapped by name.
        engine: "jax"; "openvino", on CPUs; or "auto", the one that was faster here. Another than
            JAX is at the end of the folder's name, such as `test-best-openvino-f32`.
        precision: of OpenVINO: "f32", or "bf16" on processors that have it.

    Returns:
        What `metrics.json` holds, and the folder it was written to.

    Raises:
        UserError: no such checkpoint; another class list; a video the checkpoint was trained on;
            an engine that is not installed.
    """
    choose.check(engine, precision)
    workdir = Workdir(workdir)
    storage.check_folder(workdir.evaluations_folder)
    restored = restore(workdir, checkpoint, overrides, data)
    split = split if data is None else "test"
    index = find_videos(restored)
    prepared = prepare.prepare(restored.config, index=index, quiet=True)
    parallel.check_same(prepared.listing(), what="videos, labels or splits")
    clips = find_clips(restored, prepared, split)
    seen = check_unseen(restored, prepared, clips, split)
    asked = result_overrides(restored, clips, split, index.root)
    network = other_engine(restored, engine, precision)
    predictions = predict_all(restored, clips, network)
    figures = {
        "split": split,
        "checkpoint": checkpoint,
        "step": restored.step,
        "protocol": index.protocol,
        "data": index.root,
        "num_expected": clips.num_expected,
        "views": restored.config.eval.views,
        "overrides": asked,
        "engine": network.engine if network else "jax",
        "precision": network.precision if network else restored.config.model.dtype,
        "environment": provenance.environment(),
    } | summarise(predictions, clips, restored.classes)
    figures["calibration"] |= temperature_facts(restored, predictions, clips)
    wrong = mistakes.find(predictions, clips.videos, restored.classes, index.root)
    figures["mistakes"] = [mistake.as_dict() for mistake in wrong[:MOST_MISTAKES]]
    figures["notes"] = [
        *override_notes(restored, asked),
        *video_notes(restored, prepared, clips),
        *class_notes(figures),
        *([TRAINED_ON] if seen else []),
        *([LAST] if checkpoint == "best" and restored.config.checkpoint.choose == "last" else []),
        *validation_notes(restored, clips, split),
        *filter(None, [workdir.unfinished()]),
        *version_notes(workdir),
    ]
    name = split if data is None else sets.set_name(data)
    by = f"-{network.engine}-{network.precision}" if network else ""
    folder = workdir.evaluation_folder(f"{name}-{checkpoint}{suffix(asked)}{by}")
    if parallel.is_main():
        storage.make_folder(folder)
        with storage.folder_lock(folder.parent):
            output.write(folder, figures, predictions, wrong, clips, restored.classes)
    return figures, folder


def find_videos(restored: Restored) -> Index:
    """The videos of the training run or of another folder or CSV, where all are test videos.

    Raises:
        UserError: an imported checkpoint, which has no data set of its own; another class list.
    """
    if not restored.is_own:
        return data_index.find_unsplit(restored.config.data, restored.classes)
    if "imported" in restored.meta:
        raise UserError(
            f"{restored.workdir} was imported and has no split of its own: name the videos to test "
            "with --data=FOLDER|CSV"
        )
    return sets.as_recorded(sets.find_own(restored.config, restored.classes), restored.workdir)


def find_clips(restored: Restored, prepared: Prepared, split: str) -> pipeline.Clips:
    """The clips of a split, loaded later.

    Raises:
        UserError: there are none.
    """
    config, trained = restored.config, Durations.of(restored.meta)
    clips = pipeline.Clips(prepared, split, config.data, evaluation=config.eval, trained=trained)
    if not len(clips):
        raise UserError(f"no video in the {split} split of {prepared.index.root}")
    return clips


def check_unseen(
    restored: Restored, prepared: Prepared, clips: pipeline.Clips, split: str
) -> list[str]:
    """The videos that the checkpoint was trained on; there are some in the training split only.

    Raises:
        UserError: they are in another split.
    """
    seen = sets.seen_in_training(clips, restored.meta["training_videos"])
    if seen and split != "train":
        gone = sets.gone(restored.workdir, prepared, split) if restored.is_own else ""
        raise UserError(
            f"{len(seen)} of {len(clips)} {split} videos were in the training of this checkpoint, "
            f"such as {seen[0]}: a number on them means nothing{gone}"
        )
    return seen


def other_engine(restored: Restored, engine: str, precision: str) -> Network | None:
    """The network in another engine than JAX; None where it is JAX that evaluates."""
    if engine == "jax":
        return None
    network = choose.open_network(
        lambda: restored.weights,
        restored.config,
        restored.classes,
        digest=restored.workdir.digest(restored.step),
        engine=engine,
        precision=precision,
    )
    return None if network.engine == "jax" else network


def predict_all(
    restored: Restored, clips: pipeline.Clips, network: Network | None = None
) -> Predictions:
    """The network's answers for all videos, by JAX or by a network in another engine.

    Raises:
        UserError: a batch that the devices cannot share, or clips that the weights do not fit.
    """
    config = restored.config
    batch_size = eval_batch_size(config)
    parallel.check_batch_size(batch_size, "eval.batch_size")
    clips.hold_in_memory(config.data.memory_budget_mb * 2**20)
    if network:
        return predict(engine_step(network), None, clips, batch_size=batch_size)
    model = models.build(config.model, len(restored.classes))
    step = parallel.map_eval(build_eval_step(model, data=config.data))
    try:
        return predict(step, parallel.replicate(restored.weights), clips, batch_size=batch_size)
    except ScopeParamShapeError:
        raise UserError(
            f"the weights of {restored.workdir} do not fit clips of {config.data.num_frames} "
            f"frames of {config.data.size}x{config.data.size}: leave data.num_frames and data.size "
            "as they were trained"
        ) from None


def summarise(
    predictions: Predictions, clips: pipeline.Clips, classes: tuple[str, ...]
) -> dict[str, Any]:
    """`metrics.summarise` with the source group of each video."""
    return metrics.summarise(
        predictions.probabilities_NK,
        predictions.losses_N,
        predictions.labels_N,
        classes,
        groups=groups_of(clips),
    )


def groups_of(clips: pipeline.Clips) -> list[str]:
    """The source of each video; one without a known source is its own."""
    return [video.group or video.name for video in clips.videos]


def temperature_facts(
    restored: Restored, predictions: Predictions, clips: pipeline.Clips
) -> dict[str, Any]:
    """The temperature that is in the weights, and how true the probabilities are without it.

    Returns:
        temperature; fitted_on, how many validation videos it comes from, None where it was not
        fitted; chose_checkpoint, whether these videos chose the checkpoint as well; and before: see
        `calibration.summarise`, None where the temperature is 1.
    """
    used, config = restored.temperature, restored.config
    is_fitted = "temperature" in (restored.meta.get("metrics") or {}) and not (
        config.model.temperature
    )
    before = None
    if used != 1:
        undone = predictions.divided_by(1 / used)
        before = calibration.summarise(undone.probabilities_NK, undone.labels_N, groups_of(clips))
    return {
        "temperature": used,
        "fitted_on": restored.meta["validation_videos"] if is_fitted else None,
        "chose_checkpoint": is_fitted and config.checkpoint.choose == "best",
        "before": before,
    }


def video_notes(restored: Restored, prepared: Prepared, clips: pipeline.Clips) -> list[str]:
    """What has to be known about the videos."""
    said = [note for note in (clips.note(), *duplicates(prepared)) if note]
    return [*prepared.index.notes, *map(printable, said)]


def class_notes(figures: dict[str, Any]) -> list[str]:
    """Says which classes are not tested at all."""
    absent = [name for name, row in figures["per_class"].items() if not row["count"]]
    if not absent:
        return []
    return [
        f"{len(absent)} of {len(figures['per_class'])} classes have no video here and do not count "
        f"in the balanced accuracy and the macro-F1: {first_few(absent)}"
    ]


def validation_notes(restored: Restored, clips: pipeline.Clips, split: str) -> list[str]:
    """Says which test videos chose the checkpoint, where the protocol does not say it."""
    if split != "test" or (restored.is_own and restored.config.data.validate_on_test):
        return []
    return sets.validated(clips, restored.meta)


def version_notes(workdir: Workdir) -> list[str]:
    """Says which versions are not those that the training run ended with."""
    found = provenance.differences(workdir)
    return [f"other versions than in the training, results may differ: {found}"] if found else []

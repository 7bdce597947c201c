"""Evaluates one checkpoint on one split: every video is counted once, whatever the batch size and the devices."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.errors import ScopeParamShapeError
from ml_collections import ConfigDict

from vid3d import checkpoint, config as configs, models, parallel, storage
from vid3d.checkpoint import Address, Workdir
from vid3d.data import pipeline, prepare
from vid3d.data.report import duplicates
from vid3d.datasets import index as data_index
from vid3d.errors import UserError
from vid3d.evaluation import metrics, plots, sets
from vid3d.models.normalise import normalise
from vid3d.terminal import printable
from vid3d.text import first_few, shorten
from vid3d.video.plan import Durations, Plan

# What may differ from the training: where the videos are, how they are read, and which clips are looked at.
OVERRIDES = (
    "data.num_frames",
    "data.frame_step",
    "data.fps",
    "data.size",
    "data.stored_size",
    "data.sampling",
    "data.root",
    "data.cache_dir",
    "data.workers",
    "data.decode_timeout",
    "data.memory_budget_mb",
    "eval.views",
    "eval.long_videos",
    "eval.batch_size",
)

TRAINED_ON = "these videos were in the training: the accuracy says nothing about others"


@dataclass(frozen=True)
class Predictions:
    """probabilities_NK float32, losses_N float32 and labels_N int32, in the order of the split's videos."""

    probabilities_NK: np.ndarray
    losses_N: np.ndarray
    labels_N: np.ndarray

    def accuracy(self) -> float:
        return metrics.top_k_correct(self.probabilities_NK, self.labels_N, 1) / len(self.labels_N)

    def loss(self) -> float:
        return float(self.losses_N.astype(np.float64).mean())


def build_eval_step(
    model: nn.Module, *, data: ConfigDict
) -> Callable[[Any, dict[str, jax.Array]], dict[str, jax.Array]]:
    """Builds step(variables, batch) -> `log_probabilities_BVK` of each clip."""

    def eval_step(variables, batch):
        clips_BVTHWC = batch["clips_BVTHWC"]
        b, v = clips_BVTHWC.shape[:2]
        clips = normalise(clips_BVTHWC.reshape(b * v, *clips_BVTHWC.shape[2:]), data)
        logits = model.apply(variables, clips, train=False).astype(jnp.float32)
        return {"log_probabilities_BVK": jax.nn.log_softmax(logits).reshape(b, v, -1)}

    return eval_step


def run(
    mapped_step: Callable, variables: Any, clips: pipeline.Clips, *, batch_size: int
) -> Predictions:
    """Runs a mapped eval step over every video of `clips`.

    Args:
        mapped_step: `parallel.map_eval(build_eval_step(...))`.
        variables: params and batch_stats, replicated.
        clips: for evaluation.
        batch_size: rows of clips over all devices and hosts: videos, but for long ones, which have several.
    """
    answers: list[tuple[np.ndarray, float]] = []
    waiting: list[np.ndarray] = []  # rows [V, K] of the next video
    batches = pipeline.eval_batches(clips, batch_size=batch_size, host=parallel.host())
    for batch in parallel.prefetch(batches):
        kept = {"mask_B": batch["mask_B"]} | mapped_step(variables, batch)
        gathered = parallel.gather_hosts(parallel.unshard(kept))
        merged = {name: x.reshape(-1, *x.shape[2:]) for name, x in gathered.items()}
        for log_p_VK in merged["log_probabilities_BVK"][merged["mask_B"] > 0]:
            waiting.append(log_p_VK)
            plan = clips.plans[len(answers)]
            if len(waiting) * clips.views >= len(plan.indices):
                log_p_NK = np.concatenate(waiting)[: len(plan.indices)]
                label, how = clips.labels_N[len(answers)], clips.evaluation.long_videos
                answers.append(answer(plan, log_p_NK, label, how))
                waiting = []
    return Predictions(
        probabilities_NK=np.stack([probabilities_K for probabilities_K, _ in answers]),
        losses_N=np.array([loss for _, loss in answers], np.float32),
        labels_N=clips.labels_N,
    )


def answer(
    plan: Plan, log_p_NK: np.ndarray, label: int, long_videos: str
) -> tuple[np.ndarray, float]:
    """One video's probabilities, float32 [K], and its loss, from the logarithms of those of its clips."""
    probabilities_NK = np.exp(log_p_NK)
    weights_N = plan.weights(probabilities_NK, long_videos)
    counted = weights_N > 0
    # Not the logarithm of the probability, which may be too small for a float.
    with np.errstate(invalid="ignore"):  # a network that diverged says NaN, which ends the run
        loss = -np.logaddexp.reduce(log_p_NK[counted, label] + np.log(weights_N[counted]))
    return (weights_N @ probabilities_NK).astype(np.float32), float(loss)


def evaluate(
    workdir: Address,
    *,
    name: str = "best",
    split: str = "test",
    overrides: list[tuple[str, str]] = (),
    data: str | None = None,
) -> tuple[dict[str, Any], Path]:
    """Evaluates a checkpoint and writes `evaluation/SPLIT-CHECKPOINT/`, or `evaluation/data-FOLDER-HASH-CHECKPOINT/`;
    with overrides that can change the figures these are at the end of the name, such as `test-best-num_frames=5`.

    Args:
        workdir: a training's folder.
        name: "best", "latest" or a step.
        split: "test", "val" or "train".
        overrides: (key, text) pairs, such as ("data.root", "/elsewhere").
        data: another folder or CSV; all its videos are evaluated, its classes are mapped by name.

    Returns:
        What `metrics.json` holds, and the folder it was written to.

    Raises:
        UserError: no such checkpoint; another class list; a video the checkpoint was trained on.
    """
    workdir = Workdir(workdir)
    storage.check_folder(workdir.evaluations_folder)
    step, weights, meta = checkpoint.load(workdir, name)
    config = configs.from_json(json.dumps(meta["config"]))
    for key, text in overrides:
        configs.apply(config, key, text)
        if key not in OVERRIDES:
            raise UserError(
                f"config.{key} is fixed by the checkpoint: only {', '.join(OVERRIDES)} can be set here"
            )
    configs.validate(config)
    trained = configs.flatten(configs.from_json(json.dumps(meta["config"])))
    asked = changed(trained, configs.flatten(config))
    classes = tuple(meta["classes"])
    if "imported" in meta and data is None:
        raise UserError(
            f"{workdir} was imported and has no split of its own: name the videos to test with --data=FOLDER|CSV"
        )
    if data is not None:
        index = sets.other_set(config, data, classes)
        folder_name = f"{sets.set_name(data)}-{name}"
        split = "test"
        asked.pop("data.root", None)  # --data names the videos
    else:
        index = data_index.find(config.data, config.seed)
        folder_name = f"{split}-{name}"
        if index.classes != classes:
            raise UserError(
                f"the videos in {index.root} have the classes {first_few(index.classes)}, "
                f"the checkpoint {first_few(classes)}"
            )
    prepared = prepare.prepare(config, index=index, quiet=True)
    parallel.agree(prepared.listing(), what="videos, labels or splits")
    clips = pipeline.Clips(
        prepared, split, config.data, evaluation=config.eval, trained=Durations.of(meta)
    )
    if not len(clips):
        raise UserError(f"no video in the {split} split of {index.root}")
    listed = workdir.videos_file
    if data is None and listed.exists():  # what the root holds counts, not how it is written
        asked.pop("data.root", None)
        embedded = config.data.source == "synthetic"  # the config describes it
        side = "test" if split == "val" and config.data.validate_on_test else split
        if not embedded and not sets.same_videos(listed, clips, side):
            asked["data.root"] = index.root
    seen = sets.seen_in_training(clips, meta["training_videos"])
    if seen and split != "train":
        raise UserError(
            f"{len(seen)} of {len(clips)} {split} videos were in the training of this checkpoint, "
            f"such as {seen[0]}: a number on them means nothing"
            + (sets.gone(listed, prepared, split) if data is None else "")
        )
    protocol_says_it = data is None and config.data.validate_on_test

    batch_size = config.eval.batch_size or config.train.batch_size
    parallel.check_batch_size(batch_size, "eval.batch_size")
    model = models.build(config.model, len(classes))
    mapped = parallel.map_eval(build_eval_step(model, data=config.data))
    clips.hold_in_memory(config.data.memory_budget_mb * 2**20)
    try:
        predictions = run(mapped, parallel.replicate(weights), clips, batch_size=batch_size)
    except ScopeParamShapeError:
        raise UserError(
            f"the weights of {workdir} do not fit clips of {config.data.num_frames} frames of "
            f"{config.data.size}x{config.data.size}: leave data.num_frames and data.size as they were trained"
        ) from None
    figures = {
        "split": split,
        "checkpoint": name,
        "step": step,
        "protocol": index.protocol,
        "data": index.root,
        "num_expected": clips.num_expected,
        "views": config.eval.views,
        "overrides": asked,
        "notes": [
            *override_notes(asked, trained, listed=listed.exists()),
            *index.notes,
            *map(printable, filter(None, [clips.note(), *duplicates(prepared)])),
            *([TRAINED_ON] if seen else []),
            *(sets.validated(clips, meta) if split == "test" and not protocol_says_it else []),
        ],
    } | metrics.summarise(
        predictions.probabilities_NK,
        predictions.losses_N,
        predictions.labels_N,
        classes,
        groups=[video.group or video.path for video in clips.videos],
    )
    folder = workdir.evaluation_folder(folder_name + suffix(asked))
    if parallel.is_main():
        storage.make_folder(folder)
        with storage.alone(folder.parent):
            write(folder, figures, predictions, clips, classes)
    return figures, folder


def changed(trained: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from the training's and can change a figure."""
    free = set(configs.RESULT_FREE) - {"data.root"}
    return {key: now[key] for key in OVERRIDES if now[key] != trained[key] and key not in free}


def override_notes(asked: dict[str, Any], trained: dict[str, Any], *, listed: bool) -> list[str]:
    """Says that the figures are not those of the checkpoint as it was trained."""
    notes = []
    for key, value in asked.items():
        if key == "data.root" and listed:
            notes.append("override: these are not the videos that videos.csv lists in this split")
        elif key == "data.root":
            notes.append(
                "override: videos.csv is gone, and whether these are its videos is not known"
            )
        else:
            notes.append(
                f"override: {key} is {shorten(value)}, not {shorten(trained[key])} as trained"
            )
    return notes


def suffix(asked: dict[str, Any]) -> str:
    """The end of a folder's name that tells an evaluation with overrides from the one without."""
    texts = {
        key: sets.set_name(value)
        if key == "data.root"
        else re.sub(r"[^\w.]+", "x", str(value)).strip("x")
        for key, value in asked.items()
    }
    return "".join(f"-{key.partition('.')[2]}={text}" for key, text in texts.items())


def write(
    folder: Path,
    figures: dict[str, Any],
    predictions: Predictions,
    clips: pipeline.Clips,
    classes: tuple[str, ...],
) -> None:
    """Writes metrics.json, predictions.csv and confusion_matrix.png, each whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "true", "predicted", *(f"probability:{name}" for name in classes)])
    predicted_N = predictions.probabilities_NK.argmax(axis=1)
    for video, row_K, best in zip(
        clips.videos, predictions.probabilities_NK, predicted_N, strict=True
    ):
        table.writerow([video.path, video.label, classes[best], *(repr(float(p)) for p in row_K)])
    storage.write_whole(folder / "predictions.csv", text.getvalue())
    matrix = metrics.confusion_matrix(predictions.labels_N, predicted_N, len(classes))
    low, high = metrics.best_interval(figures)[1]
    title = (
        f"{figures['accuracy']:.1%} of {figures['num_videos']} {figures['split']} videos\n"
        f"{low:.1%} to {high:.1%} (95%, {metrics.sources(figures)})\n"
        f"protocol: {figures['protocol']}"
    )
    plots.save_figure(
        plots.confusion_figure(matrix, classes, title=title), folder / "confusion_matrix.png"
    )
    storage.write_whole(folder / "metrics.json", json.dumps(figures, indent=2) + "\n")

"""The checkpoint that is evaluated, and what differs there from its training run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ml_collections import ConfigDict

from vid3d import checkpoint as checkpoints, config as configs
from vid3d.checkpoint import Workdir
from vid3d.data import pipeline
from vid3d.errors import UserError
from vid3d.evaluation import sets
from vid3d.schema import EVALUATION, RESULT_FREE
from vid3d.text import shorten

# What may differ from the training run: where the videos are, how they are read, and which clips
# are looked at.


@dataclass(frozen=True)
class Restored:
    """A checkpoint that is evaluated.

    Attributes:
        workdir: that it is in.
        checkpoint: "best", "latest" or a step, as it was asked for.
        step: optimizer steps done.
        weights: {"params", "batch_stats"} as numpy arrays.
        meta: see `Workdir.meta`.
        config: of the evaluation: that of the training run, with the overrides and the videos of
            `--data`.
        is_own: whether its videos are those of the training run, and not those of `--data`.
    """

    workdir: Workdir
    checkpoint: str
    step: int
    weights: dict[str, Any]
    meta: dict[str, Any]
    config: ConfigDict
    is_own: bool

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.meta["classes"])

    @cached_property
    def trained(self) -> dict[str, Any]:
        """The values of the training run's config by key."""
        return configs.flatten(configs.from_json(json.dumps(self.meta["config"])))


def restore(
    workdir: Workdir, checkpoint: str, overrides: Sequence[tuple[str, str]], data: str | None
) -> Restored:
    """Reads a checkpoint, and applies overrides and other videos to its config; see `evaluate`.

    Raises:
        UserError: no such checkpoint, a key that is fixed by it, or no such videos.
    """
    step, weights, meta = checkpoints.load(workdir, checkpoint)
    config = config_of(meta, overrides)
    if data is not None:
        config = sets.other_config(config, data)
    return Restored(workdir, checkpoint, step, weights, meta, config, is_own=data is None)


def config_of(meta: dict[str, Any], overrides: Sequence[tuple[str, str]]) -> ConfigDict:
    """The config of a checkpoint with overrides.

    Args:
        meta: see `Workdir.meta`.
        overrides: (key, text) pairs.

    Raises:
        UserError: a key that is fixed by the checkpoint.
    """
    config = configs.from_json(json.dumps(meta["config"]))
    for key, text in overrides:
        configs.apply(config, key, text)
        if key not in EVALUATION:
            raise UserError(
                f"config.{key} is fixed by the checkpoint: only {', '.join(EVALUATION)} can be set "
                "here"
            )
    configs.validate(config)
    return config


def result_overrides(
    restored: Restored, clips: pipeline.Clips, split: str, root: str
) -> dict[str, Any]:
    """The values that differ from the training run's and can change a figure.

    data.root is one of them where it holds other videos.
    """
    now = configs.flatten(restored.config)
    asked = {
        key: now[key]
        for key in EVALUATION
        if key not in RESULT_FREE and now[key] != restored.trained[key]
    }
    if restored.is_own and has_other_videos(restored, clips, split):
        asked["data.root"] = root
    return asked


def has_other_videos(restored: Restored, clips: pipeline.Clips, split: str) -> bool:
    """Whether the videos of a split are not, or not surely, those that videos.csv lists."""
    data = restored.config.data
    if not restored.workdir.videos_file.exists():
        return data.root != restored.trained["data.root"]
    if data.source == "synthetic":  # the config describes its videos
        return False
    trained_split = "test" if split == "val" and data.validate_on_test else split
    return not sets.same_videos(restored.workdir, clips, trained_split)


def override_notes(restored: Restored, asked: dict[str, Any]) -> list[str]:
    """Says that the figures are not those of the checkpoint as it was trained."""
    notes = []
    for key, value in asked.items():
        if key != "data.root":
            before = shorten(restored.trained[key])
            notes.append(f"override: {key} is {shorten(value)}, not {before} as trained")
        elif restored.workdir.videos_file.exists():
            notes.append("override: these are not the videos that videos.csv lists in this split")
        else:
            notes.append(
                "override: videos.csv is gone, and whether these are its videos is not known"
            )
    return notes


def suffix(asked: dict[str, Any]) -> str:
    """The end of a folder's name that tells an evaluation with overrides from one without."""
    texts = {
        key: sets.set_name(value)
        if key == "data.root"
        else re.sub(r"[^\w.]+", "x", str(value)).strip("x")
        for key, value in asked.items()
    }
    return "".join(f"-{key.partition('.')[2]}={text}" for key, text in texts.items())

"""The truth of a training run's own recordings: the labelled stretches of one of its splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vid3d import checkpoint as checkpoints
from vid3d.checkpoint import Address, Workdir
from vid3d.datasets import index as data_index, manifest
from vid3d.datasets.videos import Index
from vid3d.errors import UserError
from vid3d.evaluation import sets
from vid3d.evaluation.restored import config_of
from vid3d.evaluation.truth import Truth, absolute
from vid3d.video.timeline import Event

SPLITS = ("val", "test")


def truth_of(
    workdir: Address, split: str, checkpoint: str, overrides: Sequence[tuple[str, str]]
) -> Truth:
    """The truth of the recordings of a split.

    Args:
        workdir: of the training run.
        split: one of `SPLITS`.
        checkpoint: "best", "latest" or a step.
        overrides: (key, text) pairs of `config.data`, such as where the videos are now.

    Raises:
        UserError: the split has no labelled stretches, or those of a file are in several splits; no
            such checkpoint; see `config_of` and `index.find`.
    """
    workdir = Workdir(workdir)
    meta = workdir.meta(checkpoints.resolve(workdir, checkpoint))
    config = config_of(meta, overrides)
    index = sets.as_recorded(data_index.find(config.data, config.seed), workdir)
    listed = Path(config.data.root).absolute()
    own_list = config.data.root and listed.is_file()
    file = listed if own_list else Path(index.root) / manifest.NAME
    return of_index(index, split, file)


def of_index(index: Index, split: str, file: Path) -> Truth:
    """The stretches of a split as events.

    Args:
        index: with the splits.
        split: whose recordings are judged.
        file: the manifest.

    Raises:
        UserError: see `truth_of`.
    """
    truth = Truth(file, {}, {}, {})
    splits_of: dict[str, set[str]] = {}
    for video in index.videos:
        splits_of.setdefault(video.path, set()).add(video.split)
    for video in index.split(split):
        if video.span is None:
            continue
        if others := splits_of[video.path] - {video.split}:
            raise UserError(
                f"--events={split}: {video.path} has stretches in {min(others)}, too: a recording "
                "is judged as a whole"
            )
        if video.span.unit != "s":
            raise UserError(
                f"--events={split}: the stretches of {file} are in numbers of frames; give "
                "--events=CSV with the truth in seconds"
            )
        key = absolute(Path(index.root, video.path))
        truth.sources[key] = video.group or key
        event = Event(video.span.start, video.span.end, video.label, 1.0)
        truth.events.setdefault(key, []).append(event)
        truth.lines[key, event] = video.line
    if not truth.events:
        raise UserError(f"--events={split}: this split has no recordings with labelled stretches")
    for own in truth.events.values():
        own.sort()
    return truth

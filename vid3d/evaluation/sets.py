"""The videos of an evaluation: other folders, and which of them the training run has used."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d.checkpoint import Workdir
from vid3d.data import pipeline
from vid3d.data.content import Seen
from vid3d.data.prepared import Prepared
from vid3d.datasets import index as data_index, manifest
from vid3d.datasets.protocol import describe_shared
from vid3d.datasets.videos import Index, row_name
from vid3d.errors import UserError
from vid3d.text import first_few, quote


def other_config(config: ConfigDict, data: str) -> ConfigDict:
    """The config with the videos of another folder or CSV, whose own splits and folds do not count.

    Raises:
        UserError: there is no such folder or file.
    """
    path = Path(data)
    if not data or not path.exists():
        raise UserError(f"--data={data}: there is no such folder or file")
    other = config.copy_and_resolve_references()
    with other.unlocked():
        other.data.source = "manifest" if path.is_file() else "auto"
        other.data.root = str(path)
        other.data.classes = ()
        other.data.protocol = "random"
    return other


def find_own(config: ConfigDict, classes: tuple[str, ...]) -> Index:
    """The videos of the training run, without those of classes that came later, which a note names.

    Raises:
        UserError: they do not have the classes of the checkpoint, or have them in another order.
    """
    index, lacking = data_index.examine(config.data, config.seed)
    if index.classes == classes:
        if lacking:
            raise UserError(lacking)
        return index
    added = [name for name in index.classes if name not in classes]
    if tuple(name for name in index.classes if name in classes) != classes:
        raise UserError(
            f"the videos in {index.root} have the classes {first_few(index.classes)}, "
            f"the checkpoint {first_few(classes)}: give them the names and the order of the "
            "training, train anew, or test all videos of a folder with --data"
        )
    known = config.copy_and_resolve_references()
    with known.unlocked():
        known.data.classes = classes
    index = data_index.find(known.data, known.seed)
    note = (
        f"the videos of {first_few(map(quote, added))} are left out: the training had no such class"
    )
    return replace(index, notes=(*index.notes, note))


def as_recorded(index: Index, workdir: Workdir) -> Index:
    """The index with the drawn splits that videos.csv has, as far as no video of it is gone.

    Videos that were added since, or another version of vid3d, might draw others. Where these splits
    separate what is now known to be of one source, the protocol and a note say so.
    """
    split_of = {row_name(row): row["split"] for row in workdir.videos(("path", "split"))}
    is_drawn = index.protocol.startswith(("grouped", "random"))
    if not is_drawn or not split_of.keys() <= {video.name for video in index.videos}:
        return index
    videos = tuple(replace(v, split=split_of.get(v.name, v.split)) for v in index.videos)
    shared = describe_shared(videos) if index.protocol.startswith("grouped") else ""
    if not shared or "(leaky)" in index.protocol:
        return replace(index, videos=videos)
    notes = (*index.notes, shared)
    return replace(index, videos=videos, protocol=f"{index.protocol} (leaky)", notes=notes)


def set_name(data: str) -> str:
    """`data-NAME-HASH`: the name of a folder or file, and a hash that tells equal names apart."""
    path = Path(data).expanduser().resolve()
    last = path.parent if path.name == manifest.NAME else path
    return f"data-{last.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def same_videos(workdir: Workdir, clips: pipeline.Clips, split: str) -> bool:
    """Whether a split holds the videos, by content and label, that videos.csv has in it."""
    rows = workdir.videos(("sha256", "label", "split"))
    before = sorted((row["sha256"], row["label"]) for row in rows if row["split"] == split)
    hashes = clips.hashes()
    return before == sorted((hashes[video.name], video.label) for video in clips.videos)


def validated(clips: pipeline.Clips, meta: dict[str, Any]) -> list[str]:
    """Says how many of the videos, by content, chose the best checkpoint as validation videos."""
    before = Seen(meta["validation_sha256"])
    count = sum(sha256 in before for sha256 in clips.hashes().values())
    if not count:
        return []
    return [
        f"{count} of these videos were validation videos of the training run or of the weights it "
        "started from, and chose the best checkpoint"
    ]


def gone(workdir: Workdir, prepared: Prepared, split: str) -> str:
    """Says which videos of a split are gone: where splits are drawn, others take their place."""
    there = {facts.sha256 for facts in prepared.facts.values()}
    rows = workdir.videos(("path", "sha256", "split"))
    found = [row_name(row) for row in rows if row["split"] == split and row["sha256"] not in there]
    if not found:
        return ""
    return (
        f"; {len(found)} {split} videos that {workdir.videos_file} lists are gone, such as "
        f"{found[0]}, and others took their place"
    )


def seen_in_training(clips: pipeline.Clips, training_videos: dict[str, str]) -> list[str]:
    """The videos of a split whose content (sha256) was trained on, under whatever name."""
    seen = Seen(training_videos.values())
    return [name for name, content in clips.hashes().items() if content in seen]

"""What recordings share with a training run: frames, sources, and the choice of the checkpoint.

The figures of such recordings are better than those of others will be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vid3d.checkpoint import Workdir, chooses_last
from vid3d.data.content import Seen
from vid3d.datasets.groups import group_of
from vid3d.evaluation.time_lines import Windows
from vid3d.evaluation.truth import Truth, absolute
from vid3d.text import first_few


def with_sources(truth: Truth, pattern: str) -> Truth:
    """The truth with the sources that `data.group_pattern` finds where it names none.

    Args:
        truth: whose recordings may have no group.
        pattern: of the training run; "" finds none.
    """
    if not pattern:
        return truth
    folder, compiled = absolute(truth.file.parent), re.compile(pattern)
    sources = {
        path: group_of(below(path, folder), compiled) or path if source == path else source
        for path, source in truth.sources.items()
    }
    return replace(truth, sources=sources)


def below(path: str, folder: str) -> str:
    """A path relative to a folder with "/", where it is below it."""
    inside = Path(path).is_relative_to(folder)
    return Path(os.path.relpath(path, folder) if inside else path).as_posix()


def source_notes(workdir: Workdir, truth: Truth, recordings: Sequence[Windows]) -> list[str]:
    """Says how many recordings are of a source that was trained on, or of one that is not known.

    Args:
        workdir: of the training run; its videos.csv is read.
        truth: with the sources.
        recordings: that are judged.
    """
    trained = [r for r in workdir.videos(("path", "group", "split")) if r["split"] == "train"]
    named = {row["group"] for row in trained if row["group"] not in ("", row["path"])}
    keys = [absolute(one.path) for one in recordings]
    shared = [truth.sources[key] for key in keys if truth.sources[key] in named]
    unknown = [key for key in keys if truth.sources[key] == key]
    notes = []
    if shared:
        notes.append(
            f"{len(shared)} of {len(recordings)} recordings are of sources that were in the "
            f"training, {first_few(sorted(set(shared)))}: figures on new sources will be lower"
        )
    if named and unknown:
        notes.append(
            f"{truth.file} names no source of {len(unknown)} of {len(recordings)} recordings: "
            f"whether it was in the training, as {first_few(sorted(named))}, is not known; a "
            "column group says it"
        )
    return notes


def validation_notes(meta: Mapping[str, Any], recordings: Sequence[Windows]) -> list[str]:
    """Says how many recordings chose the checkpoint, wholly or by stretches of them.

    Args:
        meta: see `Workdir.meta`.
        recordings: that are judged.
    """
    before = Seen(meta["validation_sha256"])
    count = sum(one.sha256 in before for one in recordings)
    if not count or chooses_last(meta):
        return []
    return [
        f"{count} of {len(recordings)} recordings were validation videos of the training run, "
        "wholly or in part, and chose the checkpoint"
    ]

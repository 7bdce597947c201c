"""What a resumed training run has to agree with: the videos, labels and classes that it started with."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from vid3d import parallel, storage
from vid3d.checkpoint.workdir import VIDEO_COLUMNS, Workdir
from vid3d.data.prepared import Prepared
from vid3d.errors import UserError
from vid3d.text import first_few


def other_root(workdir: Workdir, config: ConfigDict) -> str:
    """The data.root that a workdir was trained with, where this config names another place; otherwise ""."""
    before = workdir.config().data.root
    places = {str(Path(root).expanduser().resolve()) for root in (before, config.data.root)}
    return before if len(places) > 1 else ""


def announce_finished(workdir: Workdir, config: ConfigDict) -> None:
    """Says that there is nothing left to do, and on which videos it was done where the config names others."""
    if not parallel.is_main():
        return
    early = "stopped early and " * workdir.stopped_early(config)
    root = other_root(workdir, config)
    data = f" (on the videos in data.root={root}; no others were looked at)" if root else ""
    print(
        f"{workdir} {early}is finished{data}: `vid3d evaluate --workdir={workdir}` tests it",
        file=sys.stderr,
    )


def check_classes(before: list[str], now: tuple[str, ...], workdir: Workdir) -> None:
    """Raises a UserError where a checkpoint was trained on another class list."""
    if tuple(before) != now:
        raise UserError(
            f"the checkpoints in {workdir} have the classes {first_few(before)}, the data "
            f"{first_few(now)}: take another --workdir"
        )


def check_videos(before: Mapping[str, str], now: Mapping[str, str], workdir: Workdir) -> None:
    """Checks that a training run resumes with the videos that it started with, wherever they are now.

    Args:
        before: of the checkpoint, path -> sha256.
        now: of the data, likewise.
        workdir: for the error.

    Raises:
        UserError: counts the videos that are gone, new or have another content.
    """
    gone = Counter(before.values()) - Counter(now.values())
    new = Counter(now.values()) - Counter(before.values())
    if not gone and not new:
        return
    both = before.keys() & now.keys()
    changed = sum(before[path] in gone and now[path] in new for path in both)
    counts = {"gone": gone.total() - changed, "new": new.total() - changed, "changed": changed}
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    raise UserError(
        f"{workdir} was started with {len(before)} training videos, and they are not the same now "
        f"({words}): restore them, or start in a new --workdir"
    )


def check_listed(workdir: Workdir, prepared: Prepared, *, validate_on_test: bool) -> None:
    """Checks that a training run resumes with the labels and splits of videos.csv, except for test videos.

    Raises:
        UserError: there is no videos.csv; counts the videos, by content, whose split or label has changed.
    """
    if not workdir.checkpoints():
        return
    if not workdir.videos_file.exists():
        raise UserError(
            f"{workdir.videos_file} is gone, which says what labels and validation videos this "
            "training run started with: restore it, or start in a new --workdir"
        )
    free = () if validate_on_test else ("test",)
    before = Counter(
        (row["sha256"], row["label"], row["split"])
        for row in workdir.videos(("sha256", "label", "split"))
        if row["split"] not in free
    )
    now = Counter(
        (prepared.facts[video.path].sha256, video.label, video.split)
        for video in prepared.index.videos
        if video.path in prepared.facts and video.split not in free
    )
    changed = max((before - now).total(), (now - before).total())
    if changed:
        raise UserError(
            f"{workdir} was started with other labels or validation videos: {changed} differ from "
            "its videos.csv; restore them, or start in a new --workdir"
        )


def write_videos(workdir: Workdir, prepared: Prepared) -> None:
    """Writes videos.csv: path, label, group, split and sha256 of each readable video."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(VIDEO_COLUMNS)
    for video in prepared.index.videos:
        if video.path in prepared.facts:
            sha256 = prepared.facts[video.path].sha256
            table.writerow([video.path, video.label, video.group, video.split, sha256])
    storage.write_whole(workdir.videos_file, text.getvalue())

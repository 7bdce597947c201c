"""Where a call starts: at the newest checkpoint, if the videos are still the same, or anew."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d import checkpoint, parallel, storage, terminal
from vid3d.checkpoint.workdir import VIDEO_COLUMNS, Workdir
from vid3d.checkpoint.writing import CheckpointStore
from vid3d.data.prepared import Prepared
from vid3d.datasets.videos import span_cells, span_columns
from vid3d.errors import UserError
from vid3d.text import first_few
from vid3d.training import transfer
from vid3d.training.running_sums import TrainingProgress
from vid3d.training.setup import Setup
from vid3d.training.state import TrainState
from vid3d.training.transfer import InitialWeights


@dataclass(frozen=True)
class StartingPoint:
    """Where this call starts training.

    Attributes:
        state: replicated on the devices.
        progress: changes with every step.
        seen: path -> sha256 of the videos that the initial weights were trained on.
        chosen_by: sha256 of those that the initial weights, or a checkpoint before, were chosen by.
        notes: sentences for the user.
        saved_on: devices of the processes that saved the state; 0 where it is new.
    """

    state: TrainState
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    seen: dict[str, str] = field(default_factory=dict)
    chosen_by: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    saved_on: int = 0

    def meta(self, setup: Setup) -> dict[str, Any]:
        """What each checkpoint says of where it comes from."""
        validation = {*setup.val_clips.hashes().values(), *self.chosen_by}
        return {
            "config": setup.config.to_dict(),
            "classes": list(setup.classes),
            "protocol": setup.prepared.index.protocol,
            "training_videos": self.seen | setup.train_clips.hashes(),
            "validation_videos": len(setup.val_clips),
            "validation_sha256": sorted(validation),
            "window_seconds": setup.trained.median,
            "p95_seconds": setup.trained.p95,
            "devices": parallel.num_devices(),
        }


def resume(
    setup: Setup, initial: InitialWeights | None, checkpoints: CheckpointStore, workdir: Workdir
) -> StartingPoint:
    """The newest checkpoint or, without one, the state before the first step.

    Args:
        setup: of the training run.
        initial: the weights of `config.model.init_from`, for the first step only; their videos stay
            noted.
        checkpoints: of the workdir.
        workdir: for what it says.

    Raises:
        UserError: the checkpoint has other videos or classes, or belongs to another model.
    """
    if found := workdir.checkpoints():  # before Orbax tries to fit another number of classes in
        check_classes(workdir.meta(found[-1])["classes"], setup.classes, workdir)
    restored = checkpoints.restore_latest(setup.state.weights(), setup.state.optimizer())
    if restored is None:
        return start(setup.state, initial)
    weights, optimizer_state, meta = restored
    seen, own = transfer.seen_before(setup.config.model, meta["training_videos"])
    check_videos(own, setup.train_clips.hashes(), workdir)
    progress = TrainingProgress(**meta["progress"])
    # That of a damaged checkpoint may have been it; where the last is chosen, it may be gone.
    if progress.best is not None and setup.config.checkpoint.choose == "best":
        progress.best = checkpoint.best_score(checkpoint.read_metas(workdir)[0]) or progress.best
    return StartingPoint(
        state=parallel.replicate(setup.state.restored(weights, optimizer_state)),
        progress=progress,
        seen=seen,
        chosen_by=meta["validation_sha256"],
        saved_on=meta["devices"],
    )


def start(state: TrainState, initial: InitialWeights | None) -> StartingPoint:
    """The state before the first step: at random, or with the initial weights."""
    if initial is None:
        return StartingPoint(parallel.replicate(state))
    variables = initial.over(state.weights())
    if parallel.has_others():
        parallel.check_same(
            transfer.fingerprint(variables), what="weights in config.model.init_from"
        )
    return StartingPoint(
        state=parallel.replicate(state.starting_from(variables)),
        seen=initial.videos,
        chosen_by=initial.chosen_by,
        notes=initial.notes,
    )


def other_root(workdir: Workdir, config: ConfigDict) -> str:
    """The data.root of the workdir's config where it is another one; otherwise ""."""
    before = workdir.config().data.root
    places = {str(Path(root).expanduser().resolve()) for root in (before, config.data.root)}
    return before if len(places) > 1 else ""


def announce_finished(workdir: Workdir, config: ConfigDict, *, extend: bool = False) -> None:
    """Says that all is done, on which videos, where the config names others, and what goes on."""
    if not parallel.is_main():
        return
    own = workdir.config().train
    was_ended = workdir.stopped_early(config.train.early_stopping)
    early = "stopped early and " * was_ended
    root = other_root(workdir, config)
    data = f" (on the videos in data.root={root}; no others were looked at)" if root else ""
    line = f"{workdir} {early}is finished{data}: `vid3d evaluate --workdir={workdir}` tests it"
    if was_ended and (extend or config.train.epochs != own.epochs):
        line += (
            "; --extend with --config.train.early_stopping=0, or more than "
            f"{config.train.early_stopping}, goes on"
        )
    elif extend:
        line += f"; --extend goes on with a --config.train.epochs above {own.epochs}"
    # The training run is done, whether or not anybody reads this.
    terminal.training_console().print(line, markup=False, highlight=False, soft_wrap=True)


def check_classes(before: list[str], now: tuple[str, ...], workdir: Workdir) -> None:
    """Raises a UserError where a checkpoint was trained on another class list."""
    if tuple(before) != now:
        raise UserError(
            f"the checkpoints in {workdir} have the classes {first_few(before)}, the data "
            f"{first_few(now)}: take another --workdir"
        )


def check_videos(before: Mapping[str, str], now: Mapping[str, str], workdir: Workdir) -> None:
    """Checks that a training run resumes with the videos that it started with, moved or not.

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
    """Checks that a training run resumes with the labels and splits of videos.csv.

    Test videos may change, except where they validate.

    Raises:
        UserError: there is no videos.csv; counts the videos, by content, whose split or label has
            changed.
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
        (prepared.facts[video.name].sha256, video.label, video.split)
        for video in prepared.index.videos
        if video.name in prepared.facts and video.split not in free
    )
    changed = max((before - now).total(), (now - before).total())
    if changed:
        raise UserError(
            f"{workdir} was started with other labels or validation videos: {changed} differ from "
            "its videos.csv; restore them, or start in a new --workdir"
        )


def write_videos(workdir: Workdir, prepared: Prepared) -> None:
    """Writes videos.csv: path, label, group, split and sha256 of each readable video.

    Behind them, of stretches, where they begin and end.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = span_columns(prepared.index.videos)
    table.writerow((*VIDEO_COLUMNS, *columns))
    for video in prepared.index.videos:
        if video.name in prepared.facts:
            sha256, cells = prepared.facts[video.name].sha256, span_cells(video, columns)
            table.writerow([video.path, video.label, video.group, video.split, sha256, *cells])
    storage.write_whole(workdir.videos_file, text.getvalue())

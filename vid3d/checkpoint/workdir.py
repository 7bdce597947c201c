"""The workdir of a training run: its files, what each of them holds, and who may write in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from ml_collections import ConfigDict

from vid3d import config as configs, storage
from vid3d.checkpoint import lock
from vid3d.checkpoint.manifest import MANIFEST, DamagedError, digests, read_manifest
from vid3d.checkpoint.rows import read_rows
from vid3d.datasets.videos import ALL_COLUMNS
from vid3d.errors import UserError

FORMAT = 1  # of the files below; another number, or none, is refused
VIDEO_COLUMNS = ("path", "label", "group", "split", "sha256")
META = "meta/metadata"  # of a checkpoint
CONFIG = "config.json"
LOG = "log.txt"


class Workdir:
    """A folder, or `gs://BUCKET/FOLDER`, that belongs to one training run.

    format.txt         `FORMAT`; the first file of a workdir, checked before the others are read
    config.json        every value of the config
    videos.csv         `VIDEO_COLUMNS` of each readable video
    metrics.jsonl      a row per evaluation: step, epoch, train/*, val/*, learning_rate; these
                       are the same in every repeat of the training run
    timings.jsonl      a row per evaluation: clips_per_second, data_wait_fraction, seconds
    checkpoints/STEP/  weights, optimizer, meta and manifest; see `vid3d.checkpoint`
    evaluation/NAME/   figures, predictions and confusion matrix of one evaluation
    tensorboard/       the rows, a strip of training clips, the validation confusion matrix
    profile/           the JAX profile of `train.profile_steps`
    events.json        how the events of recordings are decoded; see `vid3d evaluate --choose`
    log.txt            what training printed
    provenance.json    an entry per start of the training: versions, devices, command
    .lock              held by the training run; in an object store, the name of its machine

    Attributes:
        path: the folder.
    """

    def __init__(self, address: str | PurePath | Workdir):
        """Takes a path, an address or a workdir; reads nothing.

        Raises:
            UserError: see `storage.as_path`.
        """
        self.path: Path = address.path if isinstance(address, Workdir) else storage.as_path(address)
        self.format_file = self.path / "format.txt"
        self.config_file = self.path / CONFIG
        self.videos_file = self.path / "videos.csv"
        self.metrics_file = self.path / "metrics.jsonl"
        self.timings_file = self.path / "timings.jsonl"
        self.events_file = self.path / "events.json"
        self.log_file = self.path / LOG
        self.provenance_file = self.path / "provenance.json"
        self.checkpoints_folder = self.path / "checkpoints"
        self.evaluations_folder = self.path / "evaluation"
        self.tensorboard_folder = self.path / "tensorboard"
        self.profile_folder = self.path / "profile"

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Workdir({str(self.path)!r})"

    # What it holds.

    def config(self) -> ConfigDict:
        """The config of the training run.

        Raises:
            UserError: it is damaged, or see `check_format`.
        """
        self.check_format()
        return configs.read(self.config_file)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; see `read_rows`."""
        return read_rows(self.metrics_file)

    def timings(self) -> list[dict[str, Any]]:
        """The rows of timings.jsonl; see `read_rows`."""
        return read_rows(self.timings_file)

    def videos(self, columns: Sequence[str] = VIDEO_COLUMNS) -> list[dict[str, str]]:
        """These columns of videos.csv and those of stretches; no rows where it is missing.

        Raises:
            UserError: the file is damaged.
        """
        if not self.videos_file.exists():
            return []
        return storage.read_csv(self.videos_file, columns, optional=ALL_COLUMNS)

    def evaluation_folder(self, name: str) -> Path:
        """The folder of one evaluation, such as "test-best"."""
        return self.evaluations_folder / name

    def checkpoint_folder(self, step: int) -> Path:
        """The folder of one checkpoint."""
        return self.checkpoints_folder / str(step)

    def checkpoints(self) -> list[int]:
        """The steps of all whole checkpoints, ascending."""
        return [
            s
            for s in self.started_checkpoints()
            if (self.checkpoint_folder(s) / MANIFEST).is_file()
        ]

    def started_checkpoints(self) -> list[int]:
        """The steps of all checkpoints, whole or not, ascending."""
        if not self.checkpoints_folder.is_dir():
            return []
        folders = (p for p in self.checkpoints_folder.iterdir() if p.name.isdecimal())
        return sorted(int(p.name) for p in folders if p.is_dir())

    def meta(self, step: int) -> dict[str, Any]:
        """Config, class names, training videos, progress and metrics of one checkpoint.

        Raises:
            DamagedError: they are not what was written.
        """
        where = f"checkpoint {step} of {self} is damaged"
        try:
            content = (self.checkpoint_folder(step) / META).read_bytes()
        except OSError:
            raise DamagedError(f"{where}: {META} is missing") from None
        written = read_manifest(self.checkpoint_folder(step), where).get(META)
        if hashlib.sha256(content).hexdigest() != written:
            raise DamagedError(f"{where}: {META} differs from what was written")
        return json.loads(content)

    def digest(self, step: int) -> str:
        """A hash of all that a checkpoint holds, by its manifest; no file is read.

        Raises:
            DamagedError: there is no manifest.
        """
        written = read_manifest(self.checkpoint_folder(step), f"checkpoint {step} of {self}")
        return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()

    def verify(self, step: int) -> None:
        """Compares each file of a checkpoint with its manifest.

        Raises:
            DamagedError: names the first file that is missing, was added or differs.
        """
        where = f"checkpoint {step} of {self} is damaged"
        expected = read_manifest(self.checkpoint_folder(step), where)
        found = digests(self.checkpoint_folder(step))
        for name in sorted(expected.keys() | found.keys()):
            if name not in found:
                raise DamagedError(f"{where}: {name} is missing")
            if found[name] != expected.get(name):
                raise DamagedError(f"{where}: {name} differs from what was written")

    # How far the training run is.

    def is_imported(self) -> bool:
        """Whether the newest checkpoint holds weights that were not trained here."""
        try:
            return any("imported" in self.meta(step) for step in self.checkpoints()[-1:])
        except DamagedError:
            return False

    def is_finished(self, config: ConfigDict) -> bool:
        """Whether no step is left of what this config asks for; reads no video.

        The newest checkpoint is that of the last step, or early stopping ended the training run.
        """
        found = self.checkpoints()
        if not found:
            return False
        try:
            self.verify(found[-1])
        except DamagedError:
            return False
        meta = self.meta(found[-1])
        own = meta["config"]["train"]
        if not meta["finished"] or self.stopped_early(config.train.early_stopping):
            return bool(meta["finished"])
        was_ended = self.stopped_early(own["early_stopping"])
        return own["epochs"] == config.train.epochs and not was_ended

    def unfinished(self) -> str:
        """Says that the training run goes on or was stopped, so that its weights are not the last.

        "" where it has ended, has no checkpoint yet, or never was: an imported checkpoint.
        """
        found = self.checkpoints()
        meta = self.meta(found[-1]) if found else {}
        if meta.get("finished", True):
            return ""
        epochs = meta["config"]["train"]["epochs"]
        return (
            f"the training run in {self} has not ended (step {found[-1]} so far, {epochs} epochs "
            "were asked for): its weights will change"
        )

    def stopped_early(self, patience: int) -> bool:
        """Whether early stopping ended the training run: more epochs do not resume it."""
        since_best = self.meta(self.checkpoints()[-1])["progress"]["since_best"]
        return bool(patience) and since_best >= patience

    # Who may write in it.

    def check_format(self) -> None:
        """Checks that the workdir was written in the format that this version reads.

        Raises:
            UserError: format.txt is missing, or has another number.
        """
        remedy = (
            "read it with the version of vid3d that wrote it, or train again in a new --workdir"
        )
        try:
            found = storage.read_text(self.format_file).strip()
        except FileNotFoundError:
            raise UserError(
                f"{self} has no {self.format_file.name}, so its format is not known: {remedy}"
            ) from None
        if found != str(FORMAT):
            raise UserError(
                f"{self.format_file} says format {found[:20]!r}, not {FORMAT}: {remedy}"
            )

    def claim(self, config: ConfigDict) -> None:
        """Writes format.txt and config.json; `check_claim` comes before."""
        storage.write_whole(self.format_file, f"{FORMAT}\n")
        storage.write_whole(self.config_file, configs.to_json(config))

    def check_claim(self, config: ConfigDict, *, extend: bool = False) -> None:
        """Checks that the folder is new, or that the config.json in it asks for the same result.

        A constant learning rate allows more epochs than before, and so does `extend` with any, as
        well as another `train.early_stopping`; before the first checkpoint everything may change.

        Raises:
            UserError: the workdir belongs to another config (the fields that differ are named), has
                another format, has lost its checkpoints, or is not a workdir.
        """
        is_claimed = self.config_file.exists()
        if is_claimed:
            self.check_format()
        self._check_for_lost_checkpoints()
        if self.is_imported():
            raise UserError(
                f"{self} holds imported weights: to train them further, take another --workdir and "
                f"--config.model.init_from={self}"
            )
        if is_claimed:
            self._check_config(config, extend=extend)
        elif self.path.is_dir() and any(
            p.name not in self._names_before_the_claim() for p in self.path.iterdir()
        ):
            raise UserError(f"{self} is not empty and is not a workdir: take a new folder")

    def _check_for_lost_checkpoints(self) -> None:
        # The first row is there a moment before the first checkpoint.
        had_some = self.evaluations_folder.is_dir() or (
            self.metrics_file.exists()
            and len(storage.read_text(self.metrics_file).splitlines()) > 1
        )
        if had_some and not self.started_checkpoints():
            raise UserError(
                f"the checkpoints of {self} are gone, but not its metrics.jsonl or evaluation: "
                "restore them, or start in a new --workdir"
            )

    def _check_config(self, config: ConfigDict, *, extend: bool) -> None:
        before = configs.read(self.config_file)
        is_longer = config.train.epochs > before.train.epochs
        extendable = ("train.early_stopping:", *["train.epochs:"] * is_longer)
        changed = configs.differences(before, config)
        if is_longer and config.optim.schedule == "constant":
            changed = [line for line in changed if not line.startswith("train.epochs:")]
        others = [line for line in changed if not line.startswith(extendable)]
        if not self.started_checkpoints() or not (others if extend else changed):
            return
        now, least = config.train.epochs, before.train.epochs
        if extend and now < least:
            raise UserError(
                f"--extend goes on with more epochs, and --config.train.epochs={now} is fewer than "
                f"the {least} of {self}: ask for more than {least}, or take another --workdir"
            )
        remedy = f"take another --workdir, or the same values, as --like={self} does"
        if not others:
            remedy = f"train --extend goes on from its last checkpoint with these; or {remedy}"
        raise UserError(f"{self} was trained with another config ({'; '.join(changed)}): {remedy}")

    def _names_before_the_claim(self) -> set[str]:
        """What a training run that was killed in its first moment may have left."""
        files = (self.format_file.name, CONFIG)
        return {storage.LOCK, LOG, *files, *(name + storage.INCOMPLETE for name in files)}

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Takes the workdir for one training run.

        One that ends before config.json is written leaves nothing behind.

        Raises:
            UserError: another training run holds it, or the folder cannot be written.
        """
        made: list[Path] = []
        if not storage.is_remote(self.path):
            folders = (self.checkpoints_folder, self.path, *self.path.parents)
            made = [folder for folder in folders if not folder.exists()]
        with lock.hold(self.path):
            try:
                yield
            finally:
                if not self.config_file.exists():
                    self._remove(made)

    def _remove(self, made: list[Path]) -> None:
        self.format_file.unlink(missing_ok=True)
        storage.local_copy(self.path / storage.LOCK).unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):  # it is not there, or not empty
                folder.rmdir()

    def is_held(self) -> bool:
        """Whether a training run is writing here now; see `lock.is_held`."""
        return lock.is_held(self.path)

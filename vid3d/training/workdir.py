"""What a workdir says of itself besides its checkpoints: config.json, videos.csv, and who is writing in it."""

from __future__ import annotations

import contextlib
import csv
import io
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import filelock
from ml_collections import ConfigDict

from vid3d import checkpoint, config as configs, parallel, storage
from vid3d.data.prepared import Prepared
from vid3d.errors import UserError
from vid3d.text import first_few
from vid3d.training.progress import Progress

LOG = "log.txt"  # what a run of a sweep printed
BEGUN = f"config.json{storage.INCOMPLETE}"  # of a training that was killed in its first moment


def lock(workdir: Path) -> filelock.FileLock:
    """Takes the workdir for this training until the process ends, however it ends.

    Raises:
        UserError: another training holds it, or the folder cannot be written.
    """
    storage.refuse_file(workdir)
    try:
        file = storage.here(workdir / storage.LOCK)
        file.parent.mkdir(parents=True, exist_ok=True)
        storage.refuse_file(workdir / "checkpoints")
        held = filelock.FileLock(file)
        held.acquire(timeout=2)  # a sweep that looks holds it for a moment
    except filelock.Timeout:
        raise UserError(
            f"another training is writing in {workdir}: wait for it or end it"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write in the workdir {workdir}: {error.strerror}") from None
    return held


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Takes the workdir for a training; one that ends before config.json is written leaves nothing of its own behind.

    Raises:
        UserError: see `lock`.
    """
    file, sign = storage.here(workdir / storage.LOCK), workdir / storage.LOCK
    places = (workdir / "checkpoints", workdir, *workdir.parents)
    made = [] if storage.is_remote(workdir) else [p for p in places if not p.exists()]
    held = lock(workdir)
    if storage.is_remote(workdir):
        put_sign(sign)
    try:
        yield
    finally:
        if storage.is_remote(workdir):
            sign.unlink(missing_ok=True)
        if not (workdir / "config.json").exists():
            file.unlink(missing_ok=True)
            for folder in made:
                with contextlib.suppress(OSError):  # it is not there, or not empty
                    folder.rmdir()
        held.release()


def put_sign(sign: Path) -> None:
    """Writes down who trains in a workdir in an object store, which has no locks; warns of another machine's sign.

    Raises:
        UserError: it cannot be written.
    """
    name = socket.gethostname()
    before = storage.read(sign) if sign.exists() else name
    if before != name:
        print(
            f"warning: a training on {before} began in {sign.parent} and was killed, or is still alive: end it, as two "
            "of them spoil each other's checkpoints",
            file=sys.stderr,
        )
    storage.write_whole(sign, name)


def is_held(workdir: Path) -> bool:
    """Whether a training is writing in the workdir at this moment: on this machine or, on a shared disk, on any.

    Raises:
        UserError: that cannot be found out, such as with a lock of another user.
    """
    file = storage.here(workdir / storage.LOCK)
    if not file.exists():
        return False
    probe = filelock.FileLock(file)
    try:
        probe.acquire(blocking=False)
    except filelock.Timeout:
        return True
    except OSError as error:
        raise UserError(f"cannot lock {file}: {error.strerror}") from None
    probe.release()
    return False


def claim(workdir: Path, config: ConfigDict) -> None:
    """Writes config.json; `check_claim` comes before."""
    storage.write_whole(workdir / "config.json", configs.to_json(config))


def check_claim(workdir: Path, config: ConfigDict) -> None:
    """Checks that a folder is new, or that the config.json in it asks for the same result.

    A constant learning rate allows more epochs than before; before the first checkpoint everything may change.

    Raises:
        UserError: the workdir belongs to another config (the fields that differ are named), has lost its checkpoints, or
            is something else.
    """
    path, rows = workdir / "config.json", workdir / "metrics.jsonl"
    # A first row stands there a moment before the first checkpoint.
    had_some = (workdir / "evaluation").is_dir() or (
        rows.exists() and len(storage.read(rows).splitlines()) > 1
    )
    if had_some and not checkpoint.begun(workdir):
        raise UserError(
            f"the checkpoints of {workdir} are gone, but not its metrics.jsonl or evaluation: bring them back, or start in "
            "a new --workdir"
        )
    if checkpoint.is_imported(workdir):
        raise UserError(
            f"{workdir} holds imported weights: to train them further, take another --workdir and "
            f"--config.model.init_from={workdir}"
        )
    if path.exists():
        before = configs.read(path)
        changed = configs.differences(before, config)
        if config.optim.schedule == "constant" and config.train.epochs > before.train.epochs:
            changed = [line for line in changed if not line.startswith("train.epochs:")]
        if changed and checkpoint.begun(workdir):
            raise UserError(
                f"{workdir} was trained with another config ({'; '.join(changed)}): "
                "take another --workdir, or the same values"
            )
    elif workdir.is_dir() and any(
        p.name not in (storage.LOCK, LOG, BEGUN) for p in workdir.iterdir()
    ):
        raise UserError(f"{workdir} is not empty and no workdir of vid3d: take a new folder")


def is_finished(workdir: Path, config: ConfigDict) -> bool:
    """Whether the newest checkpoint is the last one that this config asks for, or early stopping ended the training.

    Reads no video.
    """
    found = checkpoint.steps(workdir)
    if not found:
        return False
    try:
        checkpoint.verify(workdir, found[-1])
    except checkpoint.DamagedError:
        return False
    meta = checkpoint.read_meta(workdir, found[-1])
    same = meta["config"]["train"]["epochs"] == config.train.epochs
    return bool(meta["finished"]) and (same or stopped_early(workdir, config))


def other_root(workdir: Path, config: ConfigDict) -> str:
    """The data.root that a workdir was trained with, where this config names another place; otherwise ""."""
    before = configs.read(workdir / "config.json").data.root
    places = {str(Path(root).expanduser().resolve()) for root in (before, config.data.root)}
    return before if len(places) > 1 else ""


def stopped_early(workdir: Path, config: ConfigDict) -> bool:
    """Whether early stopping ended the training at the newest checkpoint: more epochs do not go on with it."""
    meta = checkpoint.read_meta(workdir, checkpoint.resolve(workdir, "latest"))
    return Progress(**meta["progress"]).exhausted(config.train.early_stopping)


def announce_finished(workdir: Path, config: ConfigDict) -> None:
    """Says that there is nothing left to do, and on which videos it was done where the config names others."""
    if not parallel.is_main():
        return
    early = "stopped early and " * stopped_early(workdir, config)
    root = other_root(workdir, config)
    data = f" (on the videos in data.root={root}; no others were looked at)" if root else ""
    print(
        f"{workdir} {early}is finished{data}: `vid3d evaluate --workdir={workdir}` tests it",
        file=sys.stderr,
    )


def check_classes(before: list[str], now: tuple[str, ...], workdir: Path) -> None:
    """Raises a UserError where a checkpoint was trained on another class list."""
    if tuple(before) != now:
        raise UserError(
            f"the checkpoints in {workdir} have the classes {first_few(before)}, the data "
            f"{first_few(now)}: take another --workdir"
        )


def check_videos(before: Mapping[str, str], now: Mapping[str, str], workdir: Path) -> None:
    """Checks that a training goes on with the videos that it began with, wherever they lie now.

    Args:
        before: of the checkpoint, path -> sha256.
        now: of the data, likewise.

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
        f"{workdir} was begun with {len(before)} training videos, and they are not the same now ({words}): "
        "bring them back, or start in a new --workdir"
    )


def check_listed(workdir: Path, prepared: Prepared, *, validate_on_test: bool) -> None:
    """Checks that a training goes on with the labels and the sides that videos.csv says, but for videos that only test.

    Raises:
        UserError: there is no videos.csv; counts the videos that are on another side or have another label, by content.
    """
    path = workdir / "videos.csv"
    if not checkpoint.steps(workdir):
        return
    if not path.exists():
        raise UserError(
            f"{path} is gone, which says what labels and validation videos this training began with: bring it back, or "
            "start in a new --workdir"
        )
    rows = storage.table(path, ("sha256", "label", "split"))
    free = () if validate_on_test else ("test",)
    before = Counter(
        (row["sha256"], row["label"], row["split"]) for row in rows if row["split"] not in free
    )
    now = Counter(
        (prepared.facts[video.path].sha256, video.label, video.split)
        for video in prepared.index.videos
        if video.path in prepared.facts and video.split not in free
    )
    changed = max((before - now).total(), (now - before).total())
    if changed:
        raise UserError(
            f"{workdir} was begun with other labels or validation videos: {changed} differ from its videos.csv; "
            "bring them back, or start in a new --workdir"
        )


def write_videos(workdir: Path, prepared: Prepared) -> None:
    """Writes videos.csv: path, label, group, split and sha256 of each readable video."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", "group", "split", "sha256"])
    for video in prepared.index.videos:
        if video.path in prepared.facts:
            sha256 = prepared.facts[video.path].sha256
            table.writerow([video.path, video.label, video.group, video.split, sha256])
    storage.write_whole(workdir / "videos.csv", text.getvalue())

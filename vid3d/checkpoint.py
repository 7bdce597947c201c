"""Checkpoints in `workdir/checkpoints/STEP/`: the only file that knows Orbax.

A checkpoint holds `weights` (params, batch_stats), `optimizer` (opt_state, step), `meta` (JSON: config, class names,
training videos, progress, metrics) and `manifest.json`, the sha256 of each of its files. The manifest is written last and
under a temporary name, and deleted first: a checkpoint without it was interrupted and does not exist as far as vid3d is
concerned, and one whose files differ from it is damaged and is never restored.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from vid3d import parallel, storage
from vid3d.config import UserError

MANIFEST = "manifest.json"
META = "meta/metadata"
BESIDE = 2**17  # bytes of a checkpoint beside its arrays
FULL = ("RESOURCE_EXHAUSTED", "No space left", "File too large", "Disk quota exceeded")


class DamagedError(UserError):
    """A file of a checkpoint is not the one that was written."""


def better(metrics: Mapping[str, float]) -> tuple[float, float]:
    """The order of checkpoints: higher validation accuracy, then lower validation loss."""
    return metrics["accuracy"], -metrics["loss"]


def steps(workdir: str | Path) -> list[int]:
    """The steps of all whole checkpoints of a workdir, ascending."""
    folder = storage.place(workdir) / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(
        int(p.name) for p in folder.iterdir() if p.name.isdigit() and (p / MANIFEST).is_file()
    )


def resolve(workdir: str | Path, name: str = "best") -> int:
    """The step that "best", "latest" or a number stands for.

    Raises:
        UserError: no such workdir, no checkpoint in it, or not this one.
    """
    found = steps(workdir)
    if not storage.place(workdir).is_dir():
        raise UserError(
            f"no workdir {workdir}: it is the folder that was given to vid3d train --workdir"
        )
    if not found:
        raise UserError(f"no checkpoint in {workdir}: train first, or wait for the first one")
    if name == "latest":
        return found[-1]
    if name == "best":
        step = best(workdir)
        if step is None:
            raise UserError(
                f"no checkpoint in {workdir} was evaluated yet: use --checkpoint=latest"
            )
        return step
    if name.isdigit() and int(name) in found:
        return int(name)
    raise UserError(
        f"no checkpoint {name!r} in {workdir}: there is best, latest, "
        + ", ".join(str(step) for step in found)
    )


def best(workdir: str | Path) -> int | None:
    """The step of the best evaluated checkpoint; None before the first evaluation.

    Where nothing is there to evaluate on, the newest: without validation videos, or of imported weights.
    """
    found = steps(workdir)
    try:
        scores = {step: read_meta(workdir, step)["metrics"] for step in found}
    except DamagedError:
        if steps(workdir) == found:
            raise
        return best(workdir)  # a training has deleted one in the meantime
    scored = [step for step in found if scores[step]]
    if not scored:
        never = is_imported(workdir) or is_unvalidated(workdir)
        return found[-1] if found and never else None
    return max(scored, key=lambda step: better(scores[step]))


def read_meta(workdir: str | Path, step: int) -> dict[str, Any]:
    """Config, class names, training videos, progress and metrics of one checkpoint.

    Raises:
        DamagedError: they are not what was written.
    """
    folder = storage.place(workdir) / "checkpoints" / str(step)
    where = f"checkpoint {step} of {workdir} is damaged"
    try:
        content = (folder / META).read_bytes()
    except OSError:
        raise DamagedError(f"{where}: {META} is missing") from None
    if hashlib.sha256(content).hexdigest() != read_manifest(folder, where).get(META):
        raise DamagedError(f"{where}: {META} differs from what was written")
    return json.loads(content)


def read_manifest(folder: Path, where: str) -> dict[str, str]:
    """Relative path -> sha256 of the files that were written; `where` begins the error."""
    try:
        return dict(json.loads((folder / MANIFEST).read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DamagedError(f"{where}: {MANIFEST} cannot be read") from None


def is_imported(workdir: str | Path) -> bool:
    """Whether the newest checkpoint holds weights that were not trained here."""
    try:
        return any("imported" in read_meta(workdir, step) for step in steps(workdir)[-1:])
    except DamagedError:
        return False


def is_unvalidated(workdir: str | Path) -> bool:
    """Whether the training that wrote the newest checkpoint had no validation videos."""
    return any(
        read_meta(workdir, step).get("validation_videos") == 0 for step in steps(workdir)[-1:]
    )


def verify(workdir: str | Path, step: int) -> None:
    """Compares each file of a checkpoint with its manifest.

    Raises:
        DamagedError: names the first file that is missing, was added or differs.
    """
    folder = storage.place(workdir) / "checkpoints" / str(step)
    where = f"checkpoint {step} of {workdir} is damaged"
    expected, found = read_manifest(folder, where), digests(folder)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise DamagedError(f"{where}: {name} is missing")
        if found[name] != expected.get(name):
            raise DamagedError(f"{where}: {name} differs from what was written")


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below a checkpoint, its manifest left out."""
    files = sorted(storage.files(folder).items())
    return {name: storage.sha256(path) for name, path in files if path.name != MANIFEST}


def restore_weights(workdir: str | Path, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the weights of one checkpoint as numpy arrays, and its meta.

    Raises:
        DamagedError: a file differs from what was written.
    """
    try:
        return restore_item(workdir, step, "weights"), read_meta(workdir, step)
    except DamagedError as error:
        others = [f"--checkpoint={other}" for other in steps(workdir) if other != step]
        remedy = f"take {' or '.join(others)}" if others else "train again in another workdir"
        raise DamagedError(f"{error}: {remedy}") from None


def restore_item(workdir: str | Path, step: int, item: str) -> Any:
    """Reads `weights` or `optimizer` of one checkpoint as a tree of numpy arrays, on any number of devices.

    Raises:
        DamagedError: a file differs from what was written.
    """
    verify(workdir, step)
    folder = storage.absolute(storage.place(workdir) / "checkpoints" / str(step) / item)
    handler = ocp.PyTreeCheckpointHandler()
    tree = handler.metadata(folder).tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    return handler.restore(folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


class Checkpoints:
    """Writes the checkpoints of one run and restores its newest; keeps the best and the two latest.

    Two, because the latest may turn out damaged. All hosts call every method together.
    """

    def __init__(self, workdir: str | Path):
        self.workdir = storage.place(workdir)
        folder = storage.absolute(self.workdir / "checkpoints")
        if parallel.is_main():
            remove_interrupted(folder)
            set_aside_damaged(self.workdir)
        parallel.barrier("checkpoints")
        self.manager = ocp.CheckpointManager(
            folder,
            options=ocp.CheckpointManagerOptions(
                enable_async_checkpointing=False, cleanup_tmp_directories=True
            ),
            item_names=("weights", "optimizer", "meta"),
        )

    def save(
        self,
        step: int,
        weights: Any,
        optimizer: Any,
        *,
        meta: dict[str, Any],
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Writes one checkpoint; it counts once its manifest is in place.

        Args:
            step: optimizer steps done.
            weights: {"params", "batch_stats"}, replicated on this host's devices.
            optimizer: {"opt_state", "step"}, likewise.
            meta: JSON-able; the metrics are added.
            metrics: validation "accuracy" and "loss" as Python floats, or None where it was not evaluated.
        """
        items = ocp.args.Composite(
            weights=ocp.args.StandardSave(parallel.to_global(weights)),
            optimizer=ocp.args.StandardSave(parallel.to_global(optimizer)),
            meta=ocp.args.JsonSave(meta | {"metrics": metrics}),
        )
        full = f"checkpoint {step} of {self.workdir}: No space left; free some, and call again"
        size = sum(leaf.nbytes for leaf in jax.tree.leaves((weights, optimizer)))
        # A save that fails half-way says so in pages.
        if storage.room(self.workdir) < size + BESIDE:
            raise UserError(full)
        try:
            self.manager.save(step, args=items)
            self.manager.wait_until_finished()
        except Exception as error:  # TensorStore and Orbax have no type for it
            if any(words in str(error) for words in FULL):
                raise UserError(full) from None
            raise
        if parallel.is_main():
            folder = self.workdir / "checkpoints" / str(step)
            manifest = json.dumps({"sha256": digests(folder)}, indent=1)
            storage.write_whole(folder / MANIFEST, manifest)
            delete_old(self.workdir)
        parallel.barrier(f"saved {step}")

    def restore_latest(
        self, weights: Any, optimizer: Any
    ) -> tuple[Any, Any, dict[str, Any]] | None:
        """Restores the newest checkpoint into the shapes of the given trees.

        Returns:
            (weights, optimizer, meta), or None where there is no checkpoint.

        Raises:
            UserError: it belongs to another model.
        """
        found = steps(self.workdir)
        if not found:
            return None
        step = found[-1]
        try:
            restored = self.manager.restore(
                step,
                args=ocp.args.Composite(
                    weights=ocp.args.StandardRestore(parallel.restore_target(weights)),
                    optimizer=ocp.args.StandardRestore(parallel.restore_target(optimizer)),
                ),
            )
        except ValueError as error:
            raise UserError(
                f"checkpoint {step} of {self.workdir} belongs to another model or optimizer: "
                + str(error).splitlines()[0]
            ) from error
        return (
            parallel.to_local(restored["weights"]),
            parallel.to_local(restored["optimizer"]),
            read_meta(self.workdir, step),
        )

    def close(self) -> None:
        self.manager.close()


def remove_interrupted(folder: Path) -> None:
    """Deletes checkpoints whose writing was cut off before their manifest was in place.

    Raises:
        UserError: there are only such, and more than an interruption leaves: the manifests were lost.
    """
    if not folder.is_dir():
        return
    found = [path for path in folder.iterdir() if path.name.isdigit()]
    interrupted = [path for path in found if not (path / MANIFEST).is_file()]
    if len(interrupted) == len(found) > 1:
        raise UserError(
            f"no checkpoint in {folder} has its {MANIFEST}: bring them back, or take another --workdir"
        )
    for path in interrupted:
        storage.remove_folder(path)


def delete_old(workdir: Path) -> None:
    """Deletes all checkpoints but the best and the two latest; none is half there while it counts."""
    older = steps(workdir)[:-2]
    kept = best(workdir) if older else None
    for step in older:
        if step == kept:
            continue
        folder = workdir / "checkpoints" / str(step)
        (folder / MANIFEST).unlink()
        storage.remove_folder(folder)


def set_aside_damaged(workdir: Path) -> None:
    """Renames each damaged checkpoint to `damaged-STEP`, with a warning; Orbax fails at the sight of some of them.

    Raises:
        UserError: none is left.
    """
    found, errors = steps(workdir), {}
    for step in found:
        try:
            verify(workdir, step)
        except DamagedError as error:
            errors[step] = error
    whole = [step for step in found if step not in errors]
    if found and not whole:
        raise UserError(f"{errors[found[-1]]}; no older checkpoint is left")
    for step, error in errors.items():
        what = "going back to the one before it" if step > whole[-1] else "it is left out"
        print(f"warning: {error}: {what}", file=sys.stderr)
        folder = workdir / "checkpoints"
        storage.remove_folder(folder / f"damaged-{step}")
        (folder / str(step)).rename(folder / f"damaged-{step}")

"""Writes checkpoints, restores the newest, and clears up what a kill or a bad disk has left."""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import orbax.checkpoint as ocp

from vid3d import parallel, storage
from vid3d.checkpoint import Address, best_of, deletion_mark, read_metas, without_manifest
from vid3d.checkpoint.manifest import MANIFEST, DamagedError, digests
from vid3d.checkpoint.workdir import Workdir
from vid3d.errors import UserError

BESIDE = 2**17  # bytes of a checkpoint beside its arrays and its meta
FULL = ("No space left", "File too large", "Disk quota exceeded")


class CheckpointStore:
    """Writes the checkpoints of one run and restores its newest; keeps the best and the two latest.

    Two, because the latest may turn out damaged. All hosts call every method together.
    """

    def __init__(self, workdir: Address):
        self.workdir = Workdir(workdir)
        if parallel.is_main():
            remove_interrupted(self.workdir)
            set_aside_damaged(self.workdir)
        parallel.barrier("checkpoints")
        self.manager = ocp.CheckpointManager(
            storage.absolute(self.workdir.checkpoints_folder),
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
            metrics: validation "accuracy" and "loss" as Python floats, or None where it was not
                evaluated.
        """
        items = ocp.args.Composite(
            weights=ocp.args.StandardSave(parallel.to_global(weights)),
            optimizer=ocp.args.StandardSave(parallel.to_global(optimizer)),
            meta=ocp.args.JsonSave(meta | {"metrics": metrics}),
        )
        full = f"checkpoint {step} of {self.workdir}: No space left; free some, and call again"
        size = sum(leaf.nbytes for leaf in jax.tree.leaves((weights, optimizer)))
        # A save that fails half-way says so in pages.
        if storage.free_bytes(self.workdir.path) < size + len(json.dumps(meta)) + BESIDE:
            raise UserError(full)
        try:
            self.manager.save(step, args=items)
            self.manager.wait_until_finished()
        except Exception as error:  # TensorStore and Orbax have no type for it
            if any(words in str(error) for words in FULL):
                raise UserError(full) from error
            raise
        if parallel.is_main():
            folder = self.workdir.checkpoint_folder(step)
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
        found = self.workdir.checkpoints()
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
            self.workdir.meta(step),
        )

    def close(self) -> None:
        self.manager.close()


def remove_interrupted(workdir: Workdir) -> None:
    """Deletes a checkpoint whose deletion was cut off, and the newest if it lacks its manifest.

    Raises:
        UserError: another one lacks it, or the only one that there is, although it was evaluated:
            it was lost.
    """
    folder = storage.absolute(workdir.checkpoints_folder)
    for mark in folder.glob(deletion_mark("*")):
        delete(workdir, mark.name.removeprefix(deletion_mark("")))
    lost, newest = without_manifest(workdir), workdir.started_checkpoints()[-1:]
    if newest and not workdir.checkpoints() and workdir.evaluations_folder.is_dir():
        lost = lost or newest
    if lost:
        raise UserError(
            f"the checkpoints {', '.join(map(str, lost))} in {folder} have lost their {MANIFEST}: "
            "restore it, remove them if they shall be trained again, or take another --workdir"
        )
    for step in newest:
        if step not in workdir.checkpoints():
            print(f"removing {folder / str(step)}: its writing was cut off", file=sys.stderr)
            storage.remove_folder(workdir.checkpoint_folder(step))


def delete(workdir: Workdir, step: int | str) -> None:
    """Deletes a checkpoint; a kill leaves no checkpoint, and a mark beside its remains."""
    folder = workdir.checkpoints_folder
    storage.write_whole(folder / deletion_mark(step), "")
    (folder / str(step) / MANIFEST).unlink(missing_ok=True)
    storage.remove_folder(folder / str(step))
    (folder / deletion_mark(step)).unlink()


def delete_old(workdir: Workdir) -> None:
    """Deletes all checkpoints but the best, the two latest and the damaged ones."""
    older = workdir.checkpoints()[:-2]
    if not older:
        return
    metas, _ = read_metas(workdir)
    kept = best_of(metas)
    for step in older:
        if step == kept or step not in metas:
            continue
        delete(workdir, step)


def set_aside_damaged(workdir: Workdir) -> None:
    """Renames each damaged checkpoint to `damaged-STEP`, with a warning: Orbax fails on some.

    Raises:
        UserError: none is left.
    """
    found = workdir.checkpoints()
    errors: dict[int, DamagedError] = {}
    for step in found:
        try:
            workdir.verify(step)
        except DamagedError as error:
            errors[step] = error
    whole = [step for step in found if step not in errors]
    if found and not whole:
        raise UserError(f"{errors[found[-1]]}; no older checkpoint is left")
    for step, damage in errors.items():
        what = "going back to the one before it" if step > whole[-1] else "it is left out"
        print(f"warning: {damage}: {what}", file=sys.stderr)
        aside = workdir.checkpoints_folder / f"damaged-{step}"
        storage.remove_folder(aside)
        workdir.checkpoint_folder(step).rename(aside)

"""TRAINING RUNS ON DISK. In: a workdir; out: its config, rows, videos and weights.

Start with `workdir.py`, the noun that all commands pass around; `writing.py` saves and deletes
checkpoints, and here they are chosen and restored. Only this folder knows Orbax.

A checkpoint holds `weights` (params, batch_stats), `optimizer` (opt_state, step), `meta` (JSON:
config, class names, training videos, progress, metrics) and `manifest.json`, the sha256 of each of
its files. The manifest is written last and under a temporary name, and deleted first: a checkpoint
without it was interrupted and does not exist as far as vid3d is concerned, and one whose files
differ from it is damaged and is never restored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from vid3d import process, storage
from vid3d.checkpoint.manifest import MANIFEST, DamagedError, digests
from vid3d.checkpoint.rows import better
from vid3d.checkpoint.workdir import FORMAT, Workdir
from vid3d.errors import UserError

__all__ = [
    "FORMAT",
    "MANIFEST",
    "DamagedError",
    "Workdir",
    "best",
    "better",
    "digests",
    "load",
    "read_metas",
    "resolve",
    "restore_item",
    "restore_weights",
]

Address = str | PurePath | Workdir  # of a workdir


def resolve(workdir: Address, checkpoint: str = "best") -> int:
    """The step that "best", "latest" or a number stands for.

    Raises:
        UserError: no such workdir, one of another format, no checkpoint in it, or not this one.
    """
    workdir = Workdir(workdir)
    found = workdir.checkpoints()
    if not workdir.path.is_dir():
        raise UserError(
            f"no workdir {workdir}: it is the folder that was given to vid3d train --workdir"
        )
    if not found and not workdir.config_file.exists():
        raise UserError(
            f"no checkpoint in {workdir}, which is not a workdir, as it has no "
            f"{workdir.config_file.name}: --workdir is the folder that vid3d train wrote, and the "
            "videos are named after it"
        )
    if not found:
        raise UserError(f"no checkpoint in {workdir}: train first, or wait for the first one")
    workdir.check_format()
    if checkpoint == "latest":
        return found[-1]
    if checkpoint == "best":
        return _certain_best(workdir)
    if checkpoint in map(str, found):
        return int(checkpoint)
    raise UserError(
        f"no checkpoint {checkpoint!r} in {workdir}: there is best, latest, "
        + ", ".join(str(step) for step in found)
    )


def _certain_best(workdir: Workdir) -> int:
    """The step of the best checkpoint, where none that might be better is damaged or gone."""
    metas, errors = read_metas(workdir)
    if errors:
        raise DamagedError(f"{errors[0]}, and might be the best: {remedy(metas)}")
    step, recorded = best_of(metas), best_recorded(metas)
    if recorded and recorded != best_score(metas) and not chooses_last(metas[max(metas)]):
        raise DamagedError(
            f"the best checkpoint of {workdir} (validation accuracy {recorded[0]:.4f}) is gone: "
            + remedy(metas)
        )
    if step is None:
        raise UserError(f"no checkpoint in {workdir} was evaluated yet: use --checkpoint=latest")
    return step


def best(workdir: Address) -> int | None:
    """The step of the best evaluated checkpoint that is whole; None before the first evaluation.

    With `checkpoint.choose` "last" it is the newest evaluated one. Where there is nothing to
    evaluate on, the newest of all: without validation videos, or of imported weights.
    """
    return best_of(read_metas(workdir)[0])


def best_of(metas: Mapping[int, Mapping[str, Any]]) -> int | None:
    """`best` of the checkpoints with these metas, by step."""
    scores = {step: meta["metrics"] for step, meta in metas.items() if meta["metrics"]}
    if not metas:
        return None
    newest = max(metas)
    if scores:
        is_last = chooses_last(metas[newest])
        return max(scores) if is_last else max(scores, key=lambda step: better(scores[step]))
    is_never_evaluated = "imported" in metas[newest] or metas[newest].get("validation_videos") == 0
    return newest if is_never_evaluated else None


def chooses_last(meta: Mapping[str, Any]) -> bool:
    """Whether the run of a checkpoint with this meta takes its last weights for the best."""
    checkpointing = meta.get("config", {}).get("checkpoint", {})
    return checkpointing.get("choose") == "last"  # older workdirs lack it


def best_score(metas: Mapping[int, Mapping[str, Any]]) -> tuple[float, float] | None:
    """`better` of the best evaluated one of the checkpoints with these metas."""
    return max(
        (better(meta["metrics"]) for meta in metas.values() if meta["metrics"]), default=None
    )


def best_recorded(metas: Mapping[int, Mapping[str, Any]]) -> tuple[float, float] | None:
    """The same as the newest of them knows it, which saw all evaluations; None before the first."""
    score = metas[max(metas)]["progress"]["best"] if metas else None
    return tuple(score) if score else None


def read_metas(workdir: Address) -> tuple[dict[int, dict[str, Any]], list[DamagedError]]:
    """`Workdir.meta` of all checkpoints by step, ascending, and the errors of the damaged ones.

    A training run may save and delete meanwhile: what is returned was there at one moment.
    """
    workdir = Workdir(workdir)
    while True:
        found = workdir.checkpoints()
        metas: dict[int, dict[str, Any]] = {}
        errors: list[DamagedError] = []
        for step in sorted({*found, *without_manifest(workdir)}):
            try:
                metas[step] = workdir.meta(step)
            except DamagedError as error:
                errors.append(error)
        if workdir.checkpoints() == found:
            return metas, errors


def without_manifest(workdir: Workdir) -> list[int]:
    """The steps of checkpoints whose manifest was lost.

    Neither the newest, which may still be written, nor one that is being deleted.
    """
    found = [
        step
        for step in workdir.started_checkpoints()[:-1]
        if not (workdir.checkpoint_folder(step) / MANIFEST).is_file()
        and not (workdir.checkpoints_folder / deletion_mark(step)).exists()
    ]
    return [
        step for step in found if workdir.checkpoint_folder(step).is_dir()
    ]  # and not gone by now


def deletion_mark(step: int | str) -> str:
    """The name of a file in `checkpoints/` that is there while a checkpoint is deleted."""
    return f"deleting-{step}"


def remedy(others: Iterable[int]) -> str:
    """What to do where a checkpoint is damaged."""
    options = [f"--checkpoint={step}" for step in others]
    if not options:
        return "train again in another workdir"
    return (
        f"take {' or '.join(options)}, or call the vid3d train of that workdir again, which sets "
        "it aside"
    )


def load(workdir: Address, checkpoint: str = "best") -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Step, weights and meta of a checkpoint, whatever a training run deletes meanwhile.

    Args:
        workdir: of the training run.
        checkpoint: "best", "latest" or a step.

    Raises:
        UserError: see `resolve` and `restore_weights`.
    """
    workdir = Workdir(workdir)
    while True:
        step = resolve(workdir, checkpoint)
        try:
            return step, *restore_weights(workdir, step)
        except Exception:  # of Orbax as well
            if step in workdir.checkpoints():
                raise


def restore_weights(workdir: Address, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the weights of one checkpoint as numpy arrays, and its meta.

    Raises:
        DamagedError: a file differs from what was written.
    """
    workdir = Workdir(workdir)
    try:
        return restore_item(workdir, step, "weights"), workdir.meta(step)
    except DamagedError as error:
        others = [other for other in workdir.checkpoints() if other != step]
        raise DamagedError(f"{error}: {remedy(others)}") from None


def restore_item(workdir: Address, step: int, item: str) -> Any:
    """Reads `weights` or `optimizer` of one checkpoint as numpy arrays, on any number of devices.

    Raises:
        DamagedError: a file differs from what was written.
    """
    with process.without_gc():  # late, as other runtimes than JAX get along without the weights
        import jax
        import numpy as np
        import orbax.checkpoint as ocp

    workdir = Workdir(workdir)
    workdir.verify(step)
    folder = storage.absolute(workdir.checkpoint_folder(step) / item)
    handler = ocp.PyTreeCheckpointHandler()
    tree = handler.metadata(folder).tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    return handler.restore(folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy))

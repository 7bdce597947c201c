"""Checkpoints in `workdir/checkpoints/STEP/`: the only room that knows Orbax. Here they are found and read.

A checkpoint holds `weights` (params, batch_stats), `optimizer` (opt_state, step), `meta` (JSON: config, class names,
training videos, progress, metrics) and `manifest.json`, the sha256 of each of its files. The manifest is written last and
under a temporary name, and deleted first: a checkpoint without it was interrupted and does not exist as far as vid3d is
concerned, and one whose files differ from it is damaged and is never restored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from vid3d import storage
from vid3d.checkpoint.manifest import MANIFEST, DamagedError, digests, read_manifest, verify
from vid3d.config import UserError

__all__ = [
    "MANIFEST",
    "DamagedError",
    "begun",
    "best",
    "better",
    "damaged",
    "digests",
    "is_imported",
    "load",
    "metas",
    "read_meta",
    "resolve",
    "restore_item",
    "restore_weights",
    "steps",
    "verify",
]

META = "meta/metadata"


def better(metrics: Mapping[str, float]) -> tuple[float, float]:
    """The order of checkpoints: higher validation accuracy, then lower validation loss."""
    return metrics["accuracy"], -metrics["loss"]


def steps(workdir: str | Path) -> list[int]:
    """The steps of all whole checkpoints of a workdir, ascending."""
    folder = storage.place(workdir) / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(
        int(p.name) for p in folder.iterdir() if p.name.isdecimal() and (p / MANIFEST).is_file()
    )


def begun(workdir: str | Path) -> list[int]:
    """The steps of all checkpoints of a workdir, whole or not, ascending."""
    folder = storage.place(workdir) / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal() and p.is_dir())


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
        if errors := damaged(workdir):
            raise DamagedError(f"{errors[0]}, and might be the best: {remedy(metas(workdir))}")
        step, recorded = best(workdir), best_recorded(workdir)
        if recorded and recorded != best_score(workdir):
            raise DamagedError(
                f"the best checkpoint of {workdir} (validation accuracy {recorded[0]:.4f}) is gone: {remedy(found)}"
            )
        if step is None:
            raise UserError(
                f"no checkpoint in {workdir} was evaluated yet: use --checkpoint=latest"
            )
        return step
    if name in map(str, found):
        return int(name)
    raise UserError(
        f"no checkpoint {name!r} in {workdir}: there is best, latest, "
        + ", ".join(str(step) for step in found)
    )


def best(workdir: str | Path) -> int | None:
    """The step of the best evaluated checkpoint, those left out that are damaged; None before the first evaluation.

    Where nothing is there to evaluate on, the newest: without validation videos, or of imported weights.
    """
    found = metas(workdir)
    scores = {step: meta["metrics"] for step, meta in found.items() if meta["metrics"]}
    if not scores:
        newest = max(found, default=None)
        never = found and (
            "imported" in found[newest] or found[newest].get("validation_videos") == 0
        )
        return newest if never else None
    return max(scores, key=lambda step: better(scores[step]))


def best_score(workdir: str | Path) -> tuple[float, float] | None:
    """`better` of the best evaluated checkpoint."""
    scores = [better(meta["metrics"]) for meta in metas(workdir).values() if meta["metrics"]]
    return max(scores, default=None)


def best_recorded(workdir: str | Path) -> tuple[float, float] | None:
    """The same as the newest checkpoint says it, which saw all evaluations; None where it does not say it."""
    newest = list(metas(workdir).values())[-1:]
    found = newest[0].get("progress", {}).get("best") if newest else None
    return tuple(found) if found else None


def metas(workdir: str | Path) -> dict[int, dict[str, Any]]:
    """`read_meta` of all checkpoints, those left out that are damaged there, ascending.

    A training may save and delete meanwhile: what is returned was there at one moment.
    """
    while True:
        found, read = steps(workdir), {}
        for step in found:
            with contextlib.suppress(DamagedError):
                read[step] = read_meta(workdir, step)
        if steps(workdir) == found:
            return read


def damaged(workdir: str | Path) -> list[DamagedError]:
    """What is wrong with those checkpoints that cannot tell how good they are."""
    errors, whole = [], metas(workdir)
    for step in sorted({*steps(workdir), *without_manifest(workdir)}):
        try:
            step in whole or read_meta(workdir, step)
        except DamagedError as error:
            errors.append(error)
    return errors


def without_manifest(workdir: str | Path) -> list[int]:
    """The steps of checkpoints whose manifest was lost: neither the newest, which may be in writing, nor one in deletion."""
    folder = storage.place(workdir) / "checkpoints"
    found = [
        step
        for step in begun(workdir)[:-1]
        if not (folder / str(step) / MANIFEST).is_file() and not (folder / deleting(step)).exists()
    ]
    return [step for step in found if (folder / str(step)).is_dir()]  # and not gone by now


def deleting(step: int) -> str:
    """The name of a file in `checkpoints/` that is there while a checkpoint is deleted."""
    return f"deleting-{step}"


def remedy(others: Iterable[int]) -> str:
    """What to do where a checkpoint is damaged."""
    options = [f"--checkpoint={step}" for step in others]
    if not options:
        return "train again in another workdir"
    return f"take {' or '.join(options)}, or call the vid3d train of that workdir again, which sets it aside"


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


def is_imported(workdir: str | Path) -> bool:
    """Whether the newest checkpoint holds weights that were not trained here."""
    return any("imported" in meta for meta in list(metas(workdir).values())[-1:])


def load(workdir: str | Path, name: str = "best") -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Step, weights as numpy arrays and meta of the checkpoint that a name stands for, whatever a training deletes meanwhile.

    Raises:
        UserError: see `resolve` and `restore_weights`.
    """
    while True:
        step = resolve(workdir, name)
        try:
            return step, *restore_weights(workdir, step)
        except Exception:  # of Orbax as well
            if step in steps(workdir):
                raise


def restore_weights(workdir: str | Path, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the weights of one checkpoint as numpy arrays, and its meta.

    Raises:
        DamagedError: a file differs from what was written.
    """
    try:
        return restore_item(workdir, step, "weights"), read_meta(workdir, step)
    except DamagedError as error:
        others = [other for other in steps(workdir) if other != step]
        raise DamagedError(f"{error}: {remedy(others)}") from None


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

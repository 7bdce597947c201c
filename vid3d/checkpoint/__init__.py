"""Checkpoints in `workdir/checkpoints/STEP/`: the only folder that knows Orbax. Here they are found and read;
`writing.py` saves and deletes them.

A checkpoint holds `weights` (params, batch_stats), `optimizer` (opt_state, step), `meta` (JSON: config, class names,
training videos, progress, metrics) and `manifest.json`, the sha256 of each of its files. The manifest is written last and
under a temporary name, and deleted first: a checkpoint without it was interrupted and does not exist as far as vid3d is
concerned, and one whose files differ from it is damaged and is never restored.
"""

from __future__ import annotations

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
from vid3d.errors import UserError

__all__ = [
    "MANIFEST",
    "DamagedError",
    "begun",
    "best",
    "better",
    "digests",
    "is_imported",
    "load",
    "look",
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
        whole, errors = look(workdir)
        if errors:
            raise DamagedError(f"{errors[0]}, and might be the best: {remedy(whole)}")
        step, recorded = best_of(whole), best_recorded(whole)
        if recorded and recorded != best_score(whole):
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
    return best_of(look(workdir)[0])


def best_of(found: Mapping[int, Mapping[str, Any]]) -> int | None:
    """`best` of the checkpoints with these metas."""
    scores = {step: meta["metrics"] for step, meta in found.items() if meta["metrics"]}
    if not scores:
        newest = max(found, default=None)
        never = found and (
            "imported" in found[newest] or found[newest].get("validation_videos") == 0
        )
        return newest if never else None
    return max(scores, key=lambda step: better(scores[step]))


def best_score(found: Mapping[int, Mapping[str, Any]]) -> tuple[float, float] | None:
    """`better` of the best evaluated one of the checkpoints with these metas."""
    return max(
        (better(meta["metrics"]) for meta in found.values() if meta["metrics"]), default=None
    )


def best_recorded(found: Mapping[int, Mapping[str, Any]]) -> tuple[float, float] | None:
    """The same as the newest of them says it, which saw all evaluations; None where it does not say it."""
    score = found[max(found)].get("progress", {}).get("best") if found else None
    return tuple(score) if score else None


def look(workdir: str | Path) -> tuple[dict[int, dict[str, Any]], list[DamagedError]]:
    """`read_meta` of all checkpoints, ascending, and what is wrong with those that cannot tell how good they are.

    A training may save and delete meanwhile: what is returned was there at one moment.
    """
    while True:
        found, whole, errors = steps(workdir), {}, []
        for step in sorted({*found, *without_manifest(workdir)}):
            try:
                whole[step] = read_meta(workdir, step)
            except DamagedError as error:
                errors.append(error)
        if steps(workdir) == found:
            return whole, errors


def without_manifest(workdir: str | Path) -> list[int]:
    """The steps of checkpoints whose manifest was lost: neither the newest, which may be in writing, nor one in deletion."""
    folder = storage.place(workdir) / "checkpoints"
    found = [
        step
        for step in begun(workdir)[:-1]
        if not (folder / str(step) / MANIFEST).is_file() and not (folder / deleting(step)).exists()
    ]
    return [step for step in found if (folder / str(step)).is_dir()]  # and not gone by now


def deleting(step: int | str) -> str:
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
    try:
        return any("imported" in read_meta(workdir, step) for step in steps(workdir)[-1:])
    except DamagedError:
        return False


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

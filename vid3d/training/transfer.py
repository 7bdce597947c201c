"""Initialises from pretrained weights, and makes workdirs of published ones."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vid3d import checkpoint, config as configs, models, storage
from vid3d.checkpoint import Address, Workdir
from vid3d.checkpoint.writing import CheckpointStore
from vid3d.data.content import Seen
from vid3d.data.prepared import Prepared
from vid3d.errors import UserError
from vid3d.models.normalise import clip_shape
from vid3d.text import first_few
from vid3d.training.running_sums import TrainingProgress
from vid3d.weights import published, zoo


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """The weights of `config.model.init_from`.

    Attributes:
        variables: {"params"} and, with batch normalisation, {"batch_stats"}.
        notes: sentences for the user.
        videos: path -> sha256 of the videos that the weights were trained on: no test may count
            them.
        chosen_by: sha256 of those that the checkpoint was chosen by.
    """

    variables: dict[str, Any]
    notes: list[str]
    videos: dict[str, str]
    chosen_by: list[str] = dataclasses.field(default_factory=list)

    def over(self, fresh: Mapping[str, Any]) -> dict[str, Any]:
        """The variables, with fresh values for a last layer of which only the shape is known."""

        def choose(found: Any, value: Any) -> Any:
            return value if isinstance(found, jax.ShapeDtypeStruct) else found

        return {
            key: jax.tree.map(choose, found, fresh[key]) for key, found in self.variables.items()
        }


def initial(model: ConfigDict, variables: Mapping, classes: Sequence[str]) -> InitialWeights:
    """The weights of `config.model.init_from`, in the tree of `variables`.

    The last layer is taken over where it belongs to the same classes: those of the workdir or, of a
    published file with 400 classes, those of Kinetics-400. From another file it is taken wherever
    it fits.

    Args:
        model: `config.model`; init_from is a published file or a workdir.
        variables: of that model, with params and batch_stats: freshly initialised, or their shapes.
        classes: of the training run.

    Raises:
        UserError: no such file or workdir, or one that does not fit.
    """
    origin = storage.as_path(model.init_from)
    if origin.is_dir():
        step, weights, meta = checkpoint.load(origin)
        trained, name = meta["config"]["model"]["name"], model.name
        if trained != name:
            raise UserError(f"{origin} is config.model.name={trained!r}, not {name!r}")
        found = {key: np.asarray(leaf) for key, leaf in published.by_path(weights).items()}
        filled, notes = published.place(
            found,
            variables,
            origin=str(origin),
            name=name,
            new_head=tuple(meta["classes"]) != tuple(classes),
        )
        videos = {f"{origin}: {path}": sha for path, sha in meta["training_videos"].items()}
        notes = [f"starting from step {step} of {origin}", *notes]
        return InitialWeights(filled, notes, videos, meta["validation_sha256"])
    if not origin.exists():
        raise UserError(
            f"config.model.init_from={model.init_from}: there is no such file or workdir"
        )
    sha256 = zoo.sha256(origin)
    kinetics = zoo.class_names(zoo.KINETICS400)
    new_head = len(classes) == len(kinetics) and tuple(classes) != kinetics
    filled, notes = published.load(origin, name=model.name, variables=variables, new_head=new_head)
    if not notes and tuple(classes) != kinetics:
        notes = [f"its last layer is taken as well: its classes have to be {first_few(classes)}"]
    return InitialWeights(filled, [f"starting from {origin.name}, sha256 {sha256}", *notes], {})


def check_backbone(config: ConfigDict) -> None:
    """Raises a UserError where randomly initialised layers would learn slowly or not at all."""
    if config.optim.backbone_rate < 1 and not config.model.init_from:
        raise UserError(
            f"config.optim.backbone_rate={config.optim.backbone_rate:g} holds back layers that "
            "start at random: name trained weights with --config.model.init_from, or set "
            "--config.optim.backbone_rate=1.0"
        )


def check_splits(initial: InitialWeights, prepared: Prepared, origin: str) -> None:
    """Checks that no video validates or tests that the initial weights were trained on.

    Raises:
        UserError: some do; an example is named.
    """
    seen = Seen(initial.videos.values())
    for split, word in (("val", "validation"), ("test", "test")):
        videos = [v for v in prepared.index.split(split) if v.name in prepared.facts]
        found = [v.name for v in videos if prepared.facts[v.name].sha256 in seen]
        if found:
            raise UserError(
                f"{len(found)} of {len(videos)} {word} videos were in the training of {origin}, "
                f"such as {found[0]}: what they say would mean nothing. The seed and data.* of "
                f"{origin} keep the splits, and a manifest.csv can name them"
            )


def fingerprint(variables: Mapping) -> str:
    """The sha256 of all arrays of a tree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(variables):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def seen_before(
    model: ConfigDict, videos: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The training videos of a checkpoint: those of its initial weights, and its own."""
    prefix = f"{storage.as_path(model.init_from)}: " if model.init_from else None
    seen = {p: sha for p, sha in videos.items() if prefix and p.startswith(prefix)}
    return seen, {path: sha for path, sha in videos.items() if path not in seen}


def import_weights(arch: str, weights: str, *, classes: str, workdir: Address) -> list[str]:
    """Makes a workdir of a published file, which evaluates and predicts like a trained one.

    Its config has the preprocessing that belongs to the weights (`zoo.preset`), its only checkpoint
    is that of step 0.

    Args:
        arch: one of `zoo.ENTRIES`.
        weights: the file; see `published.load`.
        classes: see `zoo.class_names`.
        workdir: a new or empty folder.

    Returns:
        Sentences for the user.

    Raises:
        UserError: no such architecture, file or class list, weights that do not fit, or a folder
            with something in it.
    """
    config = zoo.preset(arch)
    config.data.sampling = "center"
    config.eval.batch_size = 1  # a video is several clips
    configs.validate(config)
    names = zoo.class_names(classes)
    sha256 = zoo.sha256(weights)
    workdir = Workdir(workdir)
    module = models.build(config.model, len(names))
    blank = models.shapes(module, clip_shape(config.data))
    filled, notes = published.load(weights, name=arch, variables=blank)
    if notes:
        raise UserError(f"{notes[0].partition(':')[0]}, and {classes} names {len(names)}")
    kinetics = names == zoo.class_names(zoo.KINETICS400)
    with workdir.hold():
        if workdir.path.is_dir() and any(p.name != storage.LOCK for p in workdir.path.iterdir()):
            raise UserError(f"{workdir} is not empty: take a new folder")
        workdir.claim(config)
        checkpoints = CheckpointStore(workdir)
        checkpoints.save(
            0,
            {"params": filled["params"], "batch_stats": filled.get("batch_stats", {})},
            {"step": np.int32(0)},
            meta={
                "config": config.to_dict(),
                "classes": list(names),
                "protocol": "imported",
                "training_videos": {},
                "validation_videos": 0,
                "validation_sha256": [],
                "window_seconds": zoo.KINETICS_SECONDS if kinetics else 0.0,
                "p95_seconds": 0.0,
                "progress": dataclasses.asdict(TrainingProgress()),
                "finished": True,
                "imported": {"file": Path(weights).name, "sha256": sha256},
            },
        )
        checkpoints.close()
    entry = zoo.ENTRIES[arch]
    known = entry.sha256 and sha256.startswith(entry.sha256)
    return [
        f"{workdir} holds {arch} with {len(names)} classes from {Path(weights).name}, "
        f"sha256 {sha256}" + (f" (that of {entry.address})" if known else ""),
        f"clips of {config.data.num_frames} frames, {config.data.fps:.4g} per second, "
        f"{config.data.size}x{config.data.size}; {config.eval.views} per video",
    ]

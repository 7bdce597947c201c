"""`vid3d export`: a checkpoint becomes a file that is proved in its own runtime, or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from vid3d import __version__, checkpoint as checkpoints, storage
from vid3d.checkpoint import Address, Workdir
from vid3d.checkpoint.temperature import divide_logits, temperature_of
from vid3d.config import from_json
from vid3d.errors import UserError, suggest
from vid3d.export.description import describe
from vid3d.export.formats import SUFFIXES, WRITERS, Source
from vid3d.export.proof import compare
from vid3d.export.runtimes import RUNTIMES, Run

FACTS = "export.json"
PACKAGES = ("jax", "onnx", "onnxruntime", "openvino", "numpy")


def export(
    workdir: Address,
    format: str,
    output: str | Path,
    *,
    clips: Callable[[], np.ndarray],
    checkpoint: str = "best",
    evaluate: Callable[[Run], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Writes a checkpoint for another runtime, loads it there and compares its answers with JAX's.

    Beside the file appears `export.json`, with what the file takes and gives and how far its
    answers are from JAX's. Where something fails, what was there before stays as it was.

    Args:
        workdir: of the training run.
        format: one of `SUFFIXES`.
        output: the file; its folder has to exist.
        clips: gives uint8 clips to compare on, [N, T, H, W, C].
        checkpoint: "best", "latest" or a step.
        evaluate: gives figures of the exported network on test videos, if wanted.

    Returns:
        What export.json holds.

    Raises:
        UserError: no such checkpoint or format, a missing package, an operation that the format
            lacks, answers that are not those of JAX, or an output that cannot be written.
    """
    target = check_output(format, output)
    workdir = Workdir(workdir)
    step, weights, meta = checkpoints.load(workdir, checkpoint)
    config = from_json(json.dumps(meta["config"]))
    facts = describe(config, meta, step=step, digest=workdir.digest(step))
    weights = divide_logits(weights, temperature_of(meta, config))
    source = Source(weights, config, tuple(meta["classes"]), json.dumps(facts))
    clips_NTHWC = clips()
    with scratch_beside(target) as folder:
        path = folder / target.name
        WRITERS[format](source, path)
        run = RUNTIMES[format](path)
        proof = compare(source.probabilities(clips_NTHWC), run(clips_NTHWC), "f32")
        proof.check(f"the {format} file")
        files = {p.name: storage.sha256(p) for p in sorted(folder.iterdir())}
        facts |= {"format": format, "files": files, "versions": versions(), "proof": asdict(proof)}
        if evaluate:
            facts["evaluation"] = evaluate(run)
        (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
        for name in (*files, FACTS):
            (folder / name).replace(target.with_name(name))
    return facts


def check_output(format: str, output: str | Path) -> Path:
    """The path of the file, checked before anything is loaded.

    Raises:
        UserError: an unknown format, an ending of another, no such folder, a folder that cannot be
            written, or one with another export.
    """
    if format not in SUFFIXES:
        near = suggest(format, tuple(SUFFIXES))
        raise UserError(f"--format={format!r} is not one of {', '.join(SUFFIXES)}{near}")
    target = storage.require_local(output, "--output").absolute()
    if target.suffix != SUFFIXES[format]:
        ending = SUFFIXES[format]
        raise UserError(f"--output={output}: the name of a file for {format} ends in {ending}")
    if not target.parent.is_dir():
        raise UserError(f"--output={output}: there is no folder {target.parent}")
    if target.is_dir():
        raise UserError(f"--output={output} is a folder: give a file in it")
    storage.check_folder(target.parent)
    try:
        others = json.loads((target.parent / FACTS).read_text())["files"]
    except FileNotFoundError:
        return target
    except (OSError, ValueError, KeyError, TypeError):
        others = {}
    if target.name not in others:
        raise UserError(
            f"{target.parent / FACTS} belongs to another export: give each one a folder of its own"
        )
    return target


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A folder on the same disk, which is gone afterwards.

    Raises:
        UserError: the disk is full, or cannot be written.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def versions() -> dict[str, str]:
    """Of vid3d and of the packages that are installed of those that took part."""
    found = {"vid3d": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

"""Networks that OpenVINO has compiled, in the user's cache: each is compared with JAX once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d import __version__, cache, process
from vid3d.config import cache_folder, flatten
from vid3d.errors import UserError
from vid3d.export.proof import compare, sample_clips
from vid3d.export.runtimes import CPU_FACTS, OpenVinoNetwork, check_bf16, naming_extra
from vid3d.video.resize import stored_shape

Weights = Callable[[], dict[str, Any]]
MAX_BYTES = 4 * 2**30  # of all compiled networks; the ones used longest ago make room
# Of `config.data`, what the network depends on.
GEOMETRY = {
    f"data.{name}" for name in ("num_frames", "size", "stored_size", "color", "mean", "std")
}
NETWORK, FACTS = "network.blob", "facts.json"  # of an entry


def openvino_network(
    weights: Weights, config: ConfigDict, classes: tuple[str, ...], *, digest: str, precision: str
) -> OpenVinoNetwork:
    """The network in OpenVINO, from the cache or compiled now and compared with JAX.

    Args:
        weights: loads them, where there is nothing in the cache.
        config: the whole config; the network computes in `precision`, not in `model.dtype`.
        classes: class names in the order of the labels.
        digest: of the weights.
        precision: one of `engine.PRECISIONS`.

    Raises:
        UserError: OpenVINO or onnx is not installed, the processor has no bfloat16, the network has
            an operation that ONNX lacks, or its answers are not those of JAX.
    """
    process.check_fork()
    if precision == "bf16":
        check_bf16()
    with naming_extra("openvino"):
        version = metadata_version("openvino")
    made: list[OpenVinoNetwork] = []

    def build(folder: Path) -> None:
        made.append(compile_and_compare(weights(), config, classes, precision, folder))

    folder = cache_folder() / "openvino" / key_of(config, classes, digest, precision, version)
    try:
        cache.make_once(folder, build, is_whole=is_whole)
        if made:
            make_room(folder)
        elif network := load(folder, stored_shape(config.data), precision):
            return network
        else:
            shutil.rmtree(folder, ignore_errors=True)
    except UserError as error:
        if not isinstance(error.__cause__, OSError):  # there is nowhere to keep anything
            raise
    if not made:
        with tempfile.TemporaryDirectory() as scratch:
            build(Path(scratch))
    return made[0]


def load(folder: Path, clip_shape: tuple[int, ...], precision: str) -> OpenVinoNetwork | None:
    """The network of an entry, which is noted as used; None where OpenVINO refuses it."""
    with contextlib.suppress(OSError):  # of another user
        os.utime(folder)
    content = (folder / NETWORK).read_bytes()
    try:
        return OpenVinoNetwork(content, clip_shape=clip_shape, precision=precision)
    except RuntimeError:  # whatever the key says
        return None


def metadata_version(package: str) -> str:
    """The version of an installed package.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError(f"no {package}", name=package) from None


def compile_and_compare(
    weights: dict[str, Any],
    config: ConfigDict,
    classes: tuple[str, ...],
    precision: str,
    folder: Path,
) -> OpenVinoNetwork:
    """Fills an entry of the cache.

    Raises:
        UserError: see `openvino_network`.
    """
    with process.without_gc():
        from vid3d.export import formats

    source = formats.Source(weights, config, classes)
    path = folder / "network.onnx"
    print("compiling the network for OpenVINO, once per checkpoint", file=sys.stderr, flush=True)
    formats.write_onnx(source, path)
    network = OpenVinoNetwork(path, clip_shape=source.clip_shape, precision=precision)
    for written in folder.iterdir():
        written.unlink()
    clips = sample_clips(source.clip_shape)
    proof = compare(source.probabilities(clips), network(clips), precision)
    proof.check(f"OpenVINO in {precision}")
    content = network.export()
    (folder / NETWORK).write_bytes(content)
    facts = asdict(proof) | {"sha256": hashlib.sha256(content).hexdigest()}
    (folder / FACTS).write_text(json.dumps(facts))
    return network


def key_of(
    config: ConfigDict, classes: tuple[str, ...], digest: str, precision: str, version: str
) -> str:
    """The name of an entry: a hash of all that a compiled network depends on."""
    try:
        lines = CPU_FACTS.read_text().splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("flags", "Features"))]
    values = {k: v for k, v in flatten(config).items() if k.startswith(("model.", "data."))}
    geometry = {k: v for k, v in values.items() if k.startswith("model.") or k in GEOMETRY}
    facts = [__version__, version, precision, process.cores(), features[:1], digest, len(classes)]
    text = json.dumps([*facts, geometry], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def is_whole(folder: Path) -> bool:
    """Whether an entry of the cache is there and as it was written."""
    try:
        facts = json.loads((folder / FACTS).read_text())
        with (folder / NETWORK).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == facts["sha256"]
    except (OSError, ValueError, KeyError):
        return False


def make_room(newest: Path) -> None:
    """Deletes the entries used longest ago while all of them take more than `MAX_BYTES`."""
    entries = [path for path in newest.parent.iterdir() if (path / NETWORK).exists()]
    left = MAX_BYTES
    for entry in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True):
        left -= (entry / NETWORK).stat().st_size
        if left < 0 and entry != newest:
            shutil.rmtree(entry, ignore_errors=True)

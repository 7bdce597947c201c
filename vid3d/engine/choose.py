"""Which engine runs a network: the one that was asked for, or with "auto" the faster one."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vid3d import process
from vid3d.config import cache_folder
from vid3d.engine import ENGINES, PRECISIONS, Network
from vid3d.engine.cached import Weights, key_of, metadata_version, openvino_network
from vid3d.errors import UserError, suggest
from vid3d.export.proof import sample_clips
from vid3d.storage import write_whole
from vid3d.video.resize import stored_shape

ROUNDS = 3  # of the comparison of speeds
BATCH, QUICK_SECONDS = 8, 0.1  # networks that take less per clip are compared on whole batches


def load_libraries(engine: str) -> None:
    """Imports JAX and what reads checkpoints, for a program that will need them."""
    if engine != "openvino":
        importlib.import_module("vid3d.engine.jax_network")
        importlib.import_module("orbax.checkpoint")


def check(engine: str, precision: str) -> None:
    """Raises a UserError for another engine or precision than there is, or both at odds."""
    for name, value, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in known:
            near = suggest(str(value), known)
            raise UserError(f"{name}={value!r} is not one of {', '.join(known)}{near}")
    if precision == "bf16" and engine == "jax":
        raise UserError("precision='bf16' is for engine='openvino': JAX keeps config.model.dtype")


def open_network(
    weights: Weights,
    config: ConfigDict,
    classes: tuple[str, ...],
    *,
    digest: str,
    engine: str,
    precision: str = "f32",
) -> Network:
    """The network in an engine; see `cached.openvino_network`.

    "auto" is OpenVINO where it is installed, JAX has no accelerator, and OpenVINO was the faster
    when both were measured here, once per checkpoint.

    Raises:
        UserError: see `check` and `cached.openvino_network`.
    """
    check(engine, precision)
    if engine == "openvino":
        return openvino_network(weights, config, classes, digest=digest, precision=precision)
    if engine == "auto" and all(map(importlib.util.find_spec, ("openvino", "onnx"))):
        return _faster(weights, config, classes, digest=digest, precision=precision)
    return _jax_network(weights(), config, classes)


def _jax_network(weights: dict[str, Any], config: ConfigDict, classes: tuple[str, ...]) -> Network:
    with process.without_gc():
        from vid3d import compilation
        from vid3d.engine.jax_network import JaxNetwork

    compilation.set_up()
    return JaxNetwork(weights, config, len(classes))


def _faster(
    weights: Weights, config: ConfigDict, classes: tuple[str, ...], *, digest: str, precision: str
) -> Network:
    """The engine that a measurement chose, which is made now if there is none."""
    key = key_of(config, classes, digest, precision, metadata_version("openvino"))
    note = cache_folder() / "openvino" / f"{key}.json"
    try:
        seconds = json.loads(note.read_text())
        is_openvino = seconds["openvino"] < seconds["jax"]
    except (OSError, ValueError, KeyError):
        ours = _jax_network(weights(), config, classes)
        if _has_accelerator():
            return ours
        try:
            theirs: Network = openvino_network(
                weights, config, classes, digest=digest, precision=precision
            )
        except UserError as error:
            print(f"engine: JAX, as OpenVINO cannot be used: {error}", file=sys.stderr)
            return ours
        seconds = measure({"jax": ours, "openvino": theirs}, stored_shape(config.data))
        is_openvino = seconds["openvino"] < seconds["jax"]
        _keep(note, seconds)
        return theirs if is_openvino else ours
    if is_openvino:
        return openvino_network(weights, config, classes, digest=digest, precision=precision)
    return _jax_network(weights(), config, classes)


def _has_accelerator() -> bool:
    import jax

    return jax.default_backend() != "cpu"


def _keep(note: Any, seconds: dict[str, float]) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_whole(note, json.dumps(seconds))
    except OSError:
        return  # nowhere to keep it: measure each time


def measure(networks: dict[str, Network], clip_shape: tuple[int, ...]) -> dict[str, float]:
    """Seconds per clip of each, the best of interleaved rounds."""
    clips = sample_clips(clip_shape)[:1]
    for network in networks.values():
        network(clips)  # compiles
    began = time.perf_counter()
    networks["jax"](clips)
    if time.perf_counter() - began < QUICK_SECONDS:
        clips = np.repeat(clips, BATCH, axis=0)
        networks["jax"](clips)
    best = dict.fromkeys(networks, float("inf"))
    for _ in range(ROUNDS):
        for name, network in networks.items():
            began = time.perf_counter()
            network(clips)
            best[name] = min(best[name], (time.perf_counter() - began) / len(clips))
    return best

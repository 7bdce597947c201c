"""A checkpoint with its network in an engine; weights are read when something needs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from vid3d import checkpoint as checkpoints, process
from vid3d.checkpoint import Address, DamagedError, Workdir
from vid3d.checkpoint.temperature import divide_logits, temperature_of
from vid3d.config import from_json
from vid3d.engine import Network, choose


class Opened(NamedTuple):
    """A checkpoint.

    Attributes:
        step: optimizer steps done.
        meta: see `Workdir.meta`.
        config: of the training run.
        weights: loads {"params", "batch_stats"}, whose logits are divided by the temperature.
        network: with these weights.
    """

    step: int
    meta: dict[str, Any]
    config: ConfigDict
    weights: Callable[[], dict[str, Any]]
    network: Network


def open_checkpoint(
    workdir: Address, checkpoint: str = "best", *, engine: str = "jax", precision: str = "f32"
) -> Opened:
    """Opens a checkpoint, whatever a training run deletes meanwhile.

    Args:
        workdir: of the training run.
        checkpoint: "best", "latest" or a step.
        engine: one of `ENGINES`.
        precision: of OpenVINO, one of `PRECISIONS`.

    Raises:
        UserError: see `checkpoint.load` and `choose.open_network`.
    """
    choose.check(engine, precision)
    workdir = Workdir(workdir)
    while True:
        step = checkpoints.resolve(workdir, checkpoint)
        try:
            return _open(workdir, step, engine, precision)
        except Exception:  # of Orbax as well
            if step in workdir.checkpoints():
                raise


def _open(workdir: Workdir, step: int, engine: str, precision: str) -> Opened:
    def weights() -> dict[str, Any]:
        with process.without_gc():
            from vid3d import compilation
        compilation.set_up()  # before Orbax starts JAX
        found, _ = checkpoints.restore_weights(workdir, step)
        return divide_logits(found, temperature_of(meta, config))

    try:
        meta = workdir.meta(step)
    except DamagedError as error:
        others = [other for other in workdir.checkpoints() if other != step]
        raise DamagedError(f"{error}: {checkpoints.remedy(others)}") from None
    config = from_json(json.dumps(meta["config"]))
    network = choose.open_network(
        weights,
        config,
        tuple(meta["classes"]),
        digest=workdir.digest(step),
        engine=engine,
        precision=precision,
    )
    return Opened(step, meta, config, weights, network)

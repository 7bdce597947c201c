"""The temperature of a checkpoint: what logits are divided by, so that probabilities are true.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017. It is fitted
at every validation of a training run (`vid3d.evaluation.temperature`) and kept in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict


def temperature_of(meta: Mapping[str, Any], config: ConfigDict) -> float:
    """That of `model.temperature`, else the fitted one; 1 where none was fitted.

    Args:
        meta: of the checkpoint; imported and older ones have no temperature.
        config: of the training run, perhaps with overrides.
    """
    fitted = (meta.get("metrics") or {}).get("temperature", 1.0)
    return float(config.model.temperature or fitted)


def divide_logits(weights: dict[str, Any], temperature: float) -> dict[str, Any]:
    """The weights of a network whose logits are divided by a temperature.

    All that computes probabilities is given these weights: evaluation, prediction and every format
    of an export. As the last layer is linear, dividing its weights is dividing the logits.
    """
    if temperature == 1:
        return weights
    from vid3d.models.layers import HEAD  # where weights are, JAX is loaded

    params = dict(weights["params"])
    params[HEAD] = {name: np.asarray(w) / temperature for name, w in params[HEAD].items()}
    return weights | {"params": params}

"""A network by JAX, on its default device."""

from __future__ import annotations

import threading
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vid3d import compilation, parallel
from vid3d.models.on_clips import logits_of
from vid3d.process import check_fork


class JaxNetwork:
    """See `Network`.

    Attributes:
        weights: {"params"} and, with batch normalisation, {"batch_stats"}, on the device.
    """

    engine = "jax"

    def __init__(self, weights: dict[str, Any], config: ConfigDict, num_classes: int):
        """Takes weights in memory; compiles at the first call.

        Raises:
            UserError: this process was forked after JAX had started.
        """
        check_fork()
        self.precision: str = config.model.dtype
        self.weights = jax.device_put(weights)
        logits = logits_of(config, num_classes)
        network = jax.jit(lambda weights, clips: jax.nn.softmax(logits(weights, clips)))
        self._network = parallel.in_shares(network)
        self._compiled: set[int] = set()  # batch sizes
        self._compiling = threading.Lock()

    def __call__(self, clips_BTHWC: np.ndarray) -> np.ndarray:
        check_fork()
        # Batches are padded to a power of two: few shapes, few compilations.
        size = 1 << (len(clips_BTHWC) - 1).bit_length()
        padding = [(0, size - len(clips_BTHWC))] + [(0, 0)] * 4
        padded_BTHWC = np.pad(clips_BTHWC, padding)
        if size in self._compiled:
            probabilities_BK = self._network(self.weights, padded_BTHWC)
        else:
            with self._compiling, compilation.calmly():  # once, not in every thread
                probabilities_BK = self._network(self.weights, padded_BTHWC)
                self._compiled.add(size)
        return np.asarray(probabilities_BK)[: len(clips_BTHWC)]

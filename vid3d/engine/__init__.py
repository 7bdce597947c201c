"""CLIPS -> PROBABILITIES, by JAX or by OpenVINO. Start with `choose.py`.

A `Network` is all that evaluation and inference need of either. OpenVINO gets the network as ONNX
(`vid3d.export`), once per checkpoint: it is compiled, compared with JAX and kept in the cache. With
a full cache neither JAX nor the weights are loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

ENGINES = ("jax", "openvino", "auto")
PRECISIONS = ("f32", "bf16")


class Network(Protocol):
    """A network with its weights; any number of threads may call it.

    Attributes:
        engine: "jax" or "openvino".
        precision: one of `PRECISIONS`, or the config's `model.dtype` with JAX.
    """

    engine: str
    precision: str

    def __call__(self, clips_BTHWC: np.ndarray) -> np.ndarray:
        """Class probabilities of uint8 clips of the stored size: float32 [B, K]."""

"""The sides of `zoo.py`: one network in one runtime, each in a process of its own.

A side imports its runtime and gets ready when it is made, so that `seconds_to_first` holds all that
a program waits for. Networks have random weights, which cost as much as trained ones.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 400


def config_of(name: str) -> Any:
    """The network on the clips that its published weights take, or the preset of this name."""
    from vid3d import config as configs
    from vid3d.weights import zoo

    if name == "tutorial":
        config = configs.default()
        config.data.size = 112
        return config
    return configs.load("videos") if name == "videos" else zoo.preset(name)


def random_weights(config: Any) -> Any:
    import jax

    from vid3d import models
    from vid3d.models.normalise import clip_shape

    rng = np.random.default_rng(0)

    def fill(path: tuple, leaf: Any) -> np.ndarray:
        name = path[-1].key
        if name in ("var", "scale"):
            return np.ones(leaf.shape, np.float32)
        wide = np.sqrt(2 / np.prod(leaf.shape[:-1])) if name == "kernel" else 0.1
        return rng.normal(scale=wide, size=leaf.shape).astype(np.float32)

    blank = models.shapes(models.build(config.model, CLASSES), clip_shape(config.data))
    return jax.tree_util.tree_map_with_path(fill, blank)


class Side:
    """A network that is ready."""

    def __init__(self, name: str, network: Callable[[np.ndarray], np.ndarray], began: float):
        from vid3d.video.resize import stored_shape

        rng = np.random.default_rng(1)
        self.clips = rng.integers(0, 256, (8, *stored_shape(config_of(name).data)), np.uint8)
        self.network = network
        network(self.clips[:1])
        self.first = time.perf_counter() - began

    def predict(self, batch: int, times: int) -> None:
        for _ in range(times):
            self.network(self.clips[:batch])

    def facts(self) -> tuple[float, float]:
        """Seconds to the first answer, and the largest resident memory in MiB."""
        return self.first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Files:
    """Makes the files that other sides load; its process ends before they are measured."""

    def write(self, name: str, folder: str, precisions: tuple[str, ...]) -> None:
        from vid3d.export import formats
        from vid3d.export.runtimes import OpenVinoNetwork

        config = config_of(name)
        weights = random_weights(config)
        source = formats.Source(weights, config, tuple(map(str, range(CLASSES))))
        formats.write_onnx(source, Path(folder) / f"{name}.onnx")
        np.save(Path(folder) / f"{name}.npy", np.array(weights, object), allow_pickle=True)
        for precision in precisions:
            network = OpenVinoNetwork(
                Path(folder) / f"{name}.onnx", clip_shape=source.clip_shape, precision=precision
            )
            (Path(folder) / f"{name}.{precision}").write_bytes(network.export())


def files() -> Files:
    return Files()


def jax(name: str, folder: str) -> Side:
    """vid3d with JAX, as it predicts by default."""
    began = time.perf_counter()
    from vid3d import compilation
    from vid3d.engine.jax_network import JaxNetwork

    compilation.set_up()
    weights = np.load(Path(folder) / f"{name}.npy", allow_pickle=True).item()
    return Side(name, JaxNetwork(weights, config_of(name), CLASSES), began)


def openvino(name: str, folder: str, precision: str) -> Side:
    """vid3d with OpenVINO, from its cache."""
    began = time.perf_counter()
    from vid3d.export.runtimes import OpenVinoNetwork
    from vid3d.video.resize import stored_shape

    blob = (Path(folder) / f"{name}.{precision}").read_bytes()
    shape = stored_shape(config_of(name).data)
    return Side(name, OpenVinoNetwork(blob, clip_shape=shape, precision=precision), began)


def onnxruntime(name: str, folder: str) -> Side:
    """ONNX Runtime with the exported file."""
    began = time.perf_counter()
    from vid3d.export.runtimes import onnx_runtime

    return Side(name, onnx_runtime(Path(folder) / f"{name}.onnx"), began)

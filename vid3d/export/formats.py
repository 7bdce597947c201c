"""A checkpoint's network in each format: `onnx`, `openvino`, `stablehlo`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vid3d.export import stablehlo
from vid3d.export.runtimes import import_openvino, naming_extra
from vid3d.models.on_clips import Logits, logits_of
from vid3d.ops import convolution
from vid3d.video.resize import stored_shape

if TYPE_CHECKING:
    import onnx

ABOUT = "vid3d"  # the name of the description in the metadata
LARGEST_ONNX = 2**31 - 2**20  # bytes of one Protocol Buffers message, with room for the nodes


@dataclass(frozen=True)
class Source:
    """A network that is exported; it computes in float32, whatever it was trained in.

    Attributes:
        weights: {"params"} and, with batch normalisation, {"batch_stats"}.
        config: of the training run.
        classes: class names in the order of the labels.
        about: JSON that goes into the file, see `description.describe`.
    """

    weights: dict[str, Any]
    config: ConfigDict
    classes: tuple[str, ...]
    about: str = "{}"

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, C) of the uint8 clips that it takes."""
        return stored_shape(self.config.data)

    def logits(self) -> Logits:
        """The function (weights, clips) -> logits."""
        config = self.config.copy_and_resolve_references()
        config.model.dtype = "float32"
        return logits_of(config, len(self.classes))

    def probabilities(self, clips_BTHWC: np.ndarray) -> np.ndarray:
        """What JAX says of clips, one at a time: float32 [B, K]."""
        logits, weights = self.logits(), jax.device_put(self.weights)
        # The same program as that of `engine.jax_network`: it may be in JAX's cache.
        call = jax.jit(lambda weights, clips: jax.nn.softmax(logits(weights, clips)))
        rows = [np.asarray(call(weights, clip_THWC[None])) for clip_THWC in clips_BTHWC]
        return np.concatenate(rows)


def to_onnx(source: Source) -> onnx.ModelProto:
    """The network as an ONNX model.

    Raises:
        UserError: onnx is not installed, or the network has an operation without a form in ONNX.
    """
    with naming_extra("export"):
        from vid3d.export import onnx_writer
    weights = jax.tree.map(np.asarray, source.weights)
    logits = source.logits()

    def network(clips_BTHWC: jax.Array) -> jax.Array:
        with convolution.library_form():
            return logits(weights, clips_BTHWC)

    return onnx_writer.to_onnx(network, source.clip_shape, metadata={ABOUT: source.about})


def write_onnx(source: Source, path: Path, *, largest: int = LARGEST_ONNX) -> None:
    """Writes `path` and, where the weights are too large for it, PATH.data beside it."""
    save_onnx(to_onnx(source), path, largest=largest)


def save_onnx(model: onnx.ModelProto, path: Path, *, largest: int = LARGEST_ONNX) -> None:
    """Saves a model, see `write_onnx`."""
    import onnx

    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    onnx.save_model(model, path, save_as_external_data=size > largest, location=f"{path.name}.data")


def write_openvino(source: Source, path: Path) -> None:
    """Writes `path`, an .xml, and the weights beside it in a .bin; both in float32."""
    ov = import_openvino()
    whole = path.with_suffix(".onnx")
    save_onnx(to_onnx(source), whole)
    model = ov.Core().read_model(whole)
    model.set_rt_info(source.about, ABOUT)
    ov.save_model(model, path, compress_to_fp16=False)
    del model  # it reads from the file
    for leftover in (whole, whole.with_name(f"{whole.name}.data")):
        leftover.unlink(missing_ok=True)


def write_stablehlo(source: Source, path: Path) -> None:
    """Writes `path`, an .npz."""
    stablehlo.write(path, source.logits(), source.weights, source.clip_shape, source.about)


SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "stablehlo": ".npz"}
WRITERS: dict[str, Callable[[Source, Path], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "stablehlo": write_stablehlo,
}

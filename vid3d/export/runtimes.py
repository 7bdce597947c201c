"""Exported files in the runtimes that they are for: path -> function(clips) -> probabilities."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vid3d import process
from vid3d.errors import UserError

Run = Callable[[np.ndarray], np.ndarray]  # uint8 clips [B, T, H, W, C] -> float32 [B, K]
CPU_FACTS = Path("/proc/cpuinfo")
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last on ARM


def import_openvino() -> Any:
    """The module openvino, which would send an event to Google when it is imported.

    Raises:
        UserError: it is not installed.
    """
    name = "openvino_telemetry"
    was_there = name in sys.modules
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # as if it was not installed
    try:
        with naming_extra("openvino"):
            import openvino
    finally:
        if not was_there:
            del sys.modules[name]
    process.note_network()
    return openvino


@contextlib.contextmanager
def naming_extra(extra: str) -> Iterator[None]:
    """Says what to install where a runtime is missing.

    Raises:
        UserError: it names the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("onnx", "onnxruntime", "openvino"):
            raise
        raise UserError(
            f"{missing} is not installed: pip install 'vid3d[{extra}]' or, in a clone, "
            f"pip install -e '.[{extra}]'"
        ) from error


class OpenVinoNetwork:
    """A network compiled by OpenVINO for this CPU; any number of threads may call it.

    Clips run one at a time, on all cores, so that an answer does not depend on the others of its
    batch.
    """

    engine = "openvino"

    def __init__(self, source: bytes | Path, *, clip_shape: tuple[int, ...], precision: str):
        """Compiles a model, or loads a compiled one.

        Args:
            source: the path of an ONNX file or of an OpenVINO .xml, or what `export` has given.
            clip_shape: (T, H, W, C).
            precision: "f32" or "bf16".

        Raises:
            UserError: OpenVINO is not installed, or the processor has no bfloat16.
            RuntimeError: the model is of another version or processor, or is damaged.
        """
        if precision == "bf16":
            check_bf16()
        ov = import_openvino()
        self.precision = precision
        core = ov.Core()
        # Where nothing is said, OpenVINO takes bfloat16 on processors that have it.
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": process.cores(),
        }
        if isinstance(source, bytes):
            self._compiled = core.import_model(source, "CPU", options)
        else:
            model = core.read_model(source)
            model.reshape([1, *clip_shape])
            self._compiled = core.compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()
        self._lock = threading.Lock()  # of the request, which threads cannot share

    def __call__(self, clips_BTHWC: np.ndarray) -> np.ndarray:
        process.check_fork()
        rows = []
        for clip_THWC in clips_BTHWC:
            clip = np.ascontiguousarray(clip_THWC[None])
            with self._lock:
                rows.append(self._request.infer([clip])[0][0].copy())  # overwritten by the next
        return np.stack(rows)

    def export(self) -> bytes:
        """The compiled network, for this version of OpenVINO and this processor."""
        return self._compiled.export_model().getvalue()


def check_bf16() -> None:
    """Raises a UserError where the processor computes bfloat16 slowly or not at all."""
    try:
        flags = set(CPU_FACTS.read_text().split())
    except OSError:
        flags = set()
    if not flags & BF16_FLAGS:
        raise UserError(
            "this processor has no bfloat16 (avx512_bf16 or amx_bf16): leave --precision at f32"
        )


def onnx_runtime(path: Path) -> Run:
    """An ONNX file in ONNX Runtime, on the CPU.

    Raises:
        UserError: ONNX Runtime is not installed.
    """
    with naming_extra("export"):
        import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda clips_BTHWC: session.run(None, {"clips": clips_BTHWC})[0]


def openvino_runtime(path: Path) -> Run:
    """A file in OpenVINO, on the CPU in float32, for any batch.

    Raises:
        UserError: OpenVINO is not installed.
    """
    ov = import_openvino()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(path, "CPU", options)
    return lambda clips_BTHWC: compiled([clips_BTHWC])[0].copy()


def stablehlo_runtime(path: Path) -> Run:
    """A file of `stablehlo.write` in JAX, on its default device."""
    import jax

    with np.load(path) as file:
        program = jax.export.deserialize(bytearray(file["program"]))
        weights: Any = [file[f"weight{number}"] for number in range(len(file.files) - 2)]
    weights = jax.device_put(weights)
    call = jax.jit(program.call)
    return lambda clips_BTHWC: np.asarray(call(weights, clips_BTHWC))


RUNTIMES: dict[str, Callable[[Path], Run]] = {
    "onnx": onnx_runtime,
    "openvino": openvino_runtime,
    "stablehlo": stablehlo_runtime,
}

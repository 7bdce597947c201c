"""Reads tensors from PyTorch files, without PyTorch and without running code from the file.

The formats are `.pth` and `.pyth` as written by `torch.save`, in its present zip format or the one
before PyTorch 1.6, and `.safetensors`. A pickle may only name the entries of `ALLOWED`, which build
arrays and dictionaries; any other name is an error.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from vid3d.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
SAFETENSORS_DTYPES = {
    "F64": "DoubleStorage",
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "I64": "LongStorage",
    "I32": "IntStorage",
    "I16": "ShortStorage",
    "I8": "CharStorage",
    "U8": "ByteStorage",
    "BOOL": "BoolStorage",
}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a file by their PyTorch names.

    Tensors under `model_state`, `state_dict` or `model` of a checkpoint are found, and the prefix
    `module.` of distributed training is removed.

    Raises:
        UserError: the file does not exist, has another format, is damaged, or is a pickle that
            names anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no weights file {path}")
    try:
        with path.open("rb") as file:
            content = read_content(file)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # a damaged file can break a reader in any way
        raise UserError(f"{path} cannot be read: {error or type(error).__name__}") from error
    for key in ("model_state", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = (
        {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise UserError(f"{path} holds no tensors by name: it has to be a state_dict")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def read_content(file: io.BufferedReader) -> Any:
    """The content of a file in one of the three formats, recognised by its first bytes."""
    if zipfile.is_zipfile(file):
        return read_zip(file)
    file.seek(0)
    start = file.read(9)
    file.seek(0)
    if start[8:] == b"{":
        return read_safetensors(file)
    if start[:1] == b"\x80":
        return read_legacy(file)
    if start[:2] == b"PK":
        raise UserError("is cut off or damaged: it begins like a file of PyTorch and has no end")
    raise UserError("is neither a PyTorch file (.pth, .pyth) nor .safetensors")


def read_zip(file: BinaryIO) -> Any:
    """PyTorch 1.6 and later: a zip archive of one pickle and one entry per storage."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickled = next((name for name in names if name.endswith("/data.pkl")), None)
        if pickled is None:
            raise UserError("is a zip archive without data.pkl: not a PyTorch file")
        folder = pickled.removesuffix("data.pkl")
        if folder + "byteorder" in names and archive.read(folder + "byteorder") != b"little":
            raise UserError("was written on a big-endian machine")

        def storage(identity: tuple) -> np.ndarray:
            _, dtype, key, _, count = identity
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype, int(count))

        return TensorUnpickler(io.BytesIO(archive.read(pickled)), storage).load()


def read_legacy(file: io.BufferedReader) -> Any:
    """Before PyTorch 1.6: five pickles, then the storages.

    The pickles are the magic number, version, machine, content and storage keys.
    """

    def refuse(identity: tuple) -> np.ndarray:
        raise UserError("is damaged: a storage outside of the content")

    if TensorUnpickler(file, refuse).load() != LEGACY_MAGIC:
        raise UserError("is a pickle, but not one that torch.save wrote")
    TensorUnpickler(file, refuse).load()
    machine = TensorUnpickler(file, refuse).load()
    if not machine.get("little_endian", True):
        raise UserError("was written on a big-endian machine")

    storages: dict[str, np.ndarray] = {}

    def storage(identity: tuple) -> np.ndarray:
        _, dtype, key, _, count, view = identity
        if view is not None:
            raise UserError("keeps views of storages, which no published file does")
        # The values come after the pickle: this array is filled then.
        return storages.setdefault(key, np.empty(int(count), dtype))

    content = TensorUnpickler(file, storage).load()
    for key in TensorUnpickler(file, refuse).load():
        count = int.from_bytes(file.read(8), "little")
        values = storages[key]
        if count != values.size or file.readinto(values.view(np.uint8).data) != values.nbytes:
            raise UserError("ends too early")
    return content


def read_safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """A JSON header (name -> type, shape, offsets), then the bytes."""
    header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    body = file.read()
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            dtype = DTYPES[SAFETENSORS_DTYPES[entry["dtype"]]]
            if end > len(body):
                raise UserError("ends too early")
            tensors[name] = np.frombuffer(body[begin:end], dtype).reshape(entry["shape"])
    return tensors


class Entries(dict):
    """Stands in for a pickled OrderedDict; drops its attributes (PyTorch's metadata)."""

    def __setstate__(self, state: Any) -> None:
        pass


def rebuild_tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, *rest):
    """`torch._utils._rebuild_tensor_v2` for a storage that is a NumPy array."""
    if min([offset, *shape, *strides], default=0) < 0:
        raise UserError("is damaged: a tensor with a negative shape")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= storage.size:
        raise UserError("is damaged: a tensor reaches beyond its storage")
    steps = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


def rebuild_parameter(tensor, requires_grad=False, hooks=None):
    return tensor


# Everything that a pickle may name.
ALLOWED = {
    ("collections", "OrderedDict"): Entries,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    **{("torch", name): dtype for name, dtype in DTYPES.items()},
}


class TensorUnpickler(pickle.Unpickler):
    """An unpickler that can build arrays, dictionaries, lists and numbers, and nothing else."""

    def __init__(self, file: BinaryIO, storage: Any) -> None:
        super().__init__(file, encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise UserError(
                f"names {module}.{name}: only tensors by name are read, no code and no other "
                "objects (in PyTorch, save model.state_dict())"
            )
        return ALLOWED[module, name]

    def persistent_load(self, identity: tuple) -> np.ndarray:
        if identity[0] != "storage":
            raise UserError(f"refers to an unknown kind of data, {identity[0]!r}")
        return self.storage(identity)

"""The sha256 of every file of a checkpoint, written last: Orbax restores a flipped byte without a word."""

from __future__ import annotations

import json
from pathlib import Path

from vid3d import storage
from vid3d.errors import UserError

MANIFEST = "manifest.json"


class DamagedError(UserError):
    """A file of a checkpoint is not the one that was written."""


def read_manifest(folder: Path, where: str) -> dict[str, str]:
    """Relative path -> sha256 of the files that were written; `where` begins the error."""
    try:
        return dict(json.loads((folder / MANIFEST).read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DamagedError(f"{where}: {MANIFEST} cannot be read") from None


def verify(workdir: str | Path, step: int) -> None:
    """Compares each file of a checkpoint with its manifest.

    Raises:
        DamagedError: names the first file that is missing, was added or differs.
    """
    folder = storage.place(workdir) / "checkpoints" / str(step)
    where = f"checkpoint {step} of {workdir} is damaged"
    expected, found = read_manifest(folder, where), digests(folder)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise DamagedError(f"{where}: {name} is missing")
        if found[name] != expected.get(name):
            raise DamagedError(f"{where}: {name} differs from what was written")


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below a checkpoint, its manifest left out."""
    files = sorted(storage.files(folder).items())
    return {name: storage.sha256(path) for name, path in files if path.name != MANIFEST}

"""The sha256 of every file of a checkpoint: Orbax restores a flipped byte silently."""

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


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below a checkpoint, its manifest left out."""
    files = sorted(storage.files_below(folder).items())
    return {name: storage.sha256(path) for name, path in files if path.name != MANIFEST}

"""Finds the videos that lists name: by path, by name, and by name without suffix."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from vid3d.video.files import VIDEO_SUFFIXES, walk
from vid3d.video.frame_folder import PICTURES


class Library:
    """The videos, and the folders of pictures, below a folder."""

    def __init__(self, root: Path):
        """Looks for all of them.

        Raises:
            UserError: a folder cannot be read.
        """
        self.root = root
        self._places: dict[str, set[str]] = defaultdict(set)  # name, with and without suffix
        for path in walk(root):
            stem, suffix = os.path.splitext(path)
            if suffix.lower() in VIDEO_SUFFIXES:
                self._places[os.path.basename(path)].add(path)
                self._places[os.path.basename(stem)].add(path)
            elif suffix.lower() in PICTURES and "/" in path:
                folder = os.path.dirname(path)
                self._places[os.path.basename(folder)].add(folder)

    def find(self, name: str) -> Path | str | None:
        """Where a video is: its path, None where it is missing, or why it is not known which.

        Args:
            name: a path, absolute or from the folder on, or a name, with or without suffix.
        """
        path = self.root / name
        if path.exists() and (path.is_file() or os.path.dirname(name)):
            return path
        base = os.path.basename(name.replace("\\", "/").rstrip("/"))
        found = self._places.get(base) or self._places.get(os.path.splitext(base)[0], set())
        if len(found) > 1:
            ending = [p for p in found if p.endswith(name) or os.path.splitext(p)[0].endswith(name)]
            found = set(ending) if len(ending) == 1 else found
        if len(found) > 1:
            first, second = sorted(found)[:2]
            return f"{name} may be {first} or {second}"
        return self.root / next(iter(found)) if found else None

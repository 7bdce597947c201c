"""Jester, and Something-Something version 1: `id;label`, with a folder of frames per id."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import Found, Options, Wrong, not_this, numbered_lines, whole


def read(file: Path, options: Options, what: str = "a list of Jester") -> Found:
    """A video, or a folder of frames, per line."""
    for number, (where, line) in enumerate(numbered_lines(file, what)):
        name, semicolon, label = line.strip().partition(";")
        if not semicolon:
            if not number:
                raise not_this(file, what, "its first line has no semicolon")
            yield Wrong(where, "it has no label")
        else:
            yield whole(name.strip(), label.strip(), where)

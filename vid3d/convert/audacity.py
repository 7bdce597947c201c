"""Audacity: exported labels, a line each with its beginning, its end and its text."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import Found, Options, Wrong, not_this, numbered_lines, stretch

WHAT = "a file of Audacity labels"


def read(file: Path, options: Options) -> Found:
    """A stretch per label, of the video that is called like the file."""
    for number, (where, line) in enumerate(numbered_lines(file, WHAT)):
        cells = line.split("\t")
        if cells[0] == "\\":  # frequencies of the label above
            continue
        if len(cells) < 3:
            if not number:
                raise not_this(file, WHAT, "its first line has no three columns with tabs")
            yield Wrong(where, "it has no label")
            continue
        found = stretch(file.stem, "\t".join(cells[2:]).strip(), where, *cells[:2])
        if isinstance(found, Wrong) and not number and "not two numbers" in found.why:
            raise not_this(file, WHAT, f"its first line begins with {cells[0]!r}")
        yield found

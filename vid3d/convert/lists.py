"""Lists with a path and a class in a line: of PySlowFast, pytorchvideo and mmaction2."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import (
    Entry,
    Found,
    Options,
    Wrong,
    name_of,
    not_this,
    numbered_lines,
)

WHAT = "a list with a path and the number of a class in each line"


def read(file: Path, options: Options) -> Found:
    """`path label`, or `folder number_of_frames label` for folders of frames.

    They are separated by blanks, commas or tabs; labels are whole numbers.
    """
    for number, (where, line) in enumerate(numbered_lines(file, WHAT)):
        separator = next((mark for mark in "\t," if mark in line), None)
        parts = [part.strip() for part in line.strip().rsplit(separator, 2)]
        if len(parts) > 2 and not (parts[-2].isdecimal() and not Path(parts[-3]).suffix):
            parts = [part.strip() for part in line.strip().rsplit(separator, 1)]
        if len(parts) < 2 or not parts[-1].isdecimal():
            if not number:
                raise not_this(file, WHAT, f"its first line is {line.strip()[:80]!r}")
            yield Wrong(where, "it does not end with the number of a class")
            continue
        label = name_of(parts[-1], options, where)
        if isinstance(label, Wrong):
            yield label
        else:
            frames = int(parts[1]) if len(parts) > 2 else 0
            yield Entry((parts[0],), label, where, frames=frames)

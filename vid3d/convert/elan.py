"""ELAN: annotations as tab-delimited text, with or without column names."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from vid3d.convert.entries import Found, Options, Wrong, not_this, numbered_lines, stretch

WHAT = "an ELAN export as tab-delimited text"
CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
DECIMAL = re.compile(r"\d+\.\d+")


def read(file: Path, options: Options) -> Found:
    """A stretch per annotation, of the video that is called like the file.

    In an export of several files a line names each. Of the notations of time that an export may
    have side by side one is read; whole numbers are milliseconds.
    """
    video = file.stem
    for number, (where, line) in enumerate(numbered_lines(file, WHAT)):
        if line.lstrip('"').startswith("#file:"):
            video = PurePosixPath(line.strip('"\r\n ')).stem
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        times = find_times(cells[1:])
        if len(times) < 2:
            if number:
                yield Wrong(where, "it has no two times")
            elif len(cells) < 4:
                raise not_this(file, WHAT, "its first line has fewer than four columns with tabs")
            continue
        yield stretch(video, cells[-1], where, *times[:2])


def find_times(cells: list[str]) -> list[float]:
    """Begin, end and maybe duration, in seconds, in the first notation that has two of them."""
    clocks = [match for cell in cells if (match := CLOCK.fullmatch(cell))]
    if len(clocks) > 1:
        return [int(m[1]) * 3600 + int(m[2]) * 60 + float(m[3]) for m in clocks]
    decimals = [float(cell) for cell in cells if DECIMAL.fullmatch(cell)]
    return decimals if len(decimals) > 1 else [int(c) / 1000 for c in cells if c.isdecimal()]

"""DeepEthogram: a table per video with a row per frame and a column of 0 and 1 per behaviour."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import Entry, Found, Options, Wrong, not_this, read_table, runs

WHAT = "a DeepEthogram table of labels"


def read(file: Path, options: Options) -> Found:
    """A stretch of frames per run of 1, of the video whose name comes before `_labels.csv`."""
    rows = list(read_table(file, WHAT, "background", lower=False))
    video = file.stem.removesuffix("_labels")
    for name in rows[0][1] if rows else ():
        if not name:  # the numbers of the frames
            continue
        column = []
        for where, row in rows:
            value = row.get(name, "")
            if value in ("-1", "-1.0"):
                yield Wrong(where, f"{name} is not labelled (-1): the whole table is left out")
                return
            if value not in ("0", "1", "0.0", "1.0"):
                raise not_this(file, WHAT, f"{where} has {value!r} in {name!r}, and not 0 or 1")
            column.append(float(value) == 1)
        for span in runs(column):
            yield Entry((video,), name, f"{file} line {int(span.start) + 2}", spans=(span,))

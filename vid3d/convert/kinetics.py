"""Kinetics-400, -600 and -700: a CSV per split, for cut and for uncut videos."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import Entry, Found, Options, Wrong, not_this, read_table, stretch

WHAT = "a CSV of Kinetics"
NEEDED = ("youtube_id", "time_start", "time_end")


def read(file: Path, options: Options) -> Found:
    """A cut video, `ID_000012_000022`, or where there is only `ID`, its stretch."""
    rows = read_table(file, WHAT, *NEEDED)
    for where, row in rows:
        if "label" not in row:
            raise not_this(
                file, WHAT, "it has no column 'label': that of the test set has no labels"
            )
        name = row.get("youtube_id", "")
        found = stretch(name, row["label"], where, row.get("time_start"), row.get("time_end"))
        if isinstance(found, Wrong):
            yield found
            continue
        (span,) = found.spans
        assert span
        cut = f"{name}_{int(span.start):06d}_{int(span.end):06d}"
        split = row.get("split", "")
        yield Entry((cut, name), row["label"], where, split, (None, span))

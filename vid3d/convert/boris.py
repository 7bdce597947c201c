"""BORIS: aggregated events, as CSV or with tabs."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import Found, Options, Wrong, read_table, stretch

WHAT = "a BORIS export of aggregated events"
NEEDED = ("behavior", "behavior type", "start (s)", "stop (s)")


def read(file: Path, options: Options) -> Found:
    """A stretch per state event; point events have no length."""
    for where, row in read_table(file, WHAT, *NEEDED):
        names = [name for name in row if name.startswith("media file")]
        video = row[names[0]] if names else ""
        if row["behavior type"].upper().startswith("POINT"):
            yield Wrong(where, f"the point event {row['behavior']!r} has no length")
        elif not video or ";" in video:
            yield Wrong(where, "it names no video, or several, and not which")
        else:
            yield stretch(video, row["behavior"], where, row["start (s)"], row["stop (s)"])

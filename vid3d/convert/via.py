"""VIA 3 (VGG Image Annotator): the CSV of a project with videos."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from vid3d.convert.entries import Found, Options, Wrong, not_this, read_text, stretch

WHAT = "a CSV of VIA 3"
HEADER = "# CSV_HEADER = "
ATTRIBUTE = "# ATTRIBUTE = "
NEEDED = ("file_list", "temporal_coordinates", "metadata")


def read(file: Path, options: Options) -> Found:
    """A stretch per row with two times; its label is the value of its first attribute."""
    lines = read_text(file, WHAT).splitlines()
    header: list[str] = []
    attributes: dict = {}
    for line in lines:
        if line.startswith(HEADER):
            header = [name.strip() for name in line.removeprefix(HEADER).split(",")]
        elif line.startswith(ATTRIBUTE):
            attributes = json.loads(line.removeprefix(ATTRIBUTE))
    if not set(NEEDED) <= set(header):
        raise not_this(file, WHAT, f"no line {HEADER.strip()!r} names {', '.join(NEEDED)}")
    for number, line in enumerate(lines, start=1):
        if line.startswith("#") or not line.strip():
            continue
        where = f"{file} line {number}"
        row = dict(zip(header, next(csv.reader([line])), strict=False))
        try:
            videos, times = json.loads(row["file_list"]), json.loads(row["temporal_coordinates"])
            metadata = json.loads(row["metadata"])
        except (KeyError, ValueError):
            yield Wrong(where, "its cells are not JSON")
            continue
        if len(times) != 2 or len(videos) != 1 or not metadata:
            yield Wrong(where, "it has no two times, no single file or no attribute")
            continue
        key, value = next(iter(metadata.items()))
        label = attributes.get(key, {}).get("options", {}).get(value, value)
        yield stretch(videos[0], str(label), where, *times)

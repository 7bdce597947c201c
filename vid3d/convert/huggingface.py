"""Hugging Face: `metadata.csv` or `metadata.jsonl` beside the videos, in a folder per split."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from vid3d.convert.entries import (
    Entry,
    Found,
    Options,
    Wrong,
    name_of,
    not_this,
    numbered_lines,
    read_table,
)
from vid3d.datasets.split_names import parse_name

WHAT = "a folder with metadata.csv or metadata.jsonl, or such a file"
LABELS = ("label", "labels", "class", "category", "action")


def read(file: Path, options: Options) -> Found:
    """A video per row; the name of the folder of the metadata is the split, if it names one."""
    files = [file]
    if file.is_dir():
        files = sorted((*file.rglob("metadata.csv"), *file.rglob("metadata.jsonl")))
    if not files:
        raise not_this(file, WHAT, "there is none")
    for path in files:
        for where, row in rows(path):
            names = [k for k in row if k == "file_name" or k.endswith("_file_name")]
            labels = [k for k in LABELS if k in row]
            if not names or not labels:
                missing = "file_name" if not names else f"of {', '.join(LABELS)}"
                raise not_this(path, WHAT, f"{where} has no column {missing}")
            label = name_of(str(row[labels[0]]), options, where)
            if isinstance(label, Wrong) or not label.strip():
                yield label if isinstance(label, Wrong) else Wrong(where, "it has no label")
                continue
            place = str(path.parent / row[names[0]])
            split = parse_name(path.parent.name)[0] if path.parent != file else ""
            yield Entry((place, row[names[0]]), label, where, split, (None, None))


def rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of either kind of file."""
    if path.suffix == ".csv":
        yield from read_table(path, WHAT)
        return
    for where, line in numbered_lines(path, WHAT):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise not_this(path, WHAT, f"{where} is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise not_this(path, WHAT, f"{where} is no object")
        yield where, row

"""Diving48: the JSON of a split, with numbers of classes; its vocabulary names them."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import Found, Options, Wrong, name_of, not_this, read_json, whole

WHAT = "a JSON of Diving48"


def read(file: Path, options: Options) -> Found:
    """A video per element: the frames that it names are those of the cut video."""
    content = read_json(file, WHAT)
    if not isinstance(content, list) or not all(
        isinstance(v, dict) and {"vid_name", "label"} <= v.keys() for v in content
    ):
        raise not_this(file, WHAT, "it is no list of objects with 'vid_name' and 'label'")
    for number, video in enumerate(content, start=1):
        where = f"{file} element {number}"
        label = name_of(str(video["label"]), options, where)
        yield label if isinstance(label, Wrong) else whole(video["vid_name"], label, where)

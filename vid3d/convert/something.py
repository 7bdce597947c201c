"""Something-Something: the JSON of version 2, and the table with semicolons of version 1."""

from __future__ import annotations

import re
from pathlib import Path

from vid3d.convert import jester
from vid3d.convert.entries import Found, Options, Wrong, not_this, read_json, whole

WHAT = "a JSON or CSV of Something-Something"


def read(file: Path, options: Options) -> Found:
    """A video per element; the class is the template, without its brackets."""
    if file.suffix.lower() != ".json":
        yield from jester.read(file, options, what=WHAT)
        return
    content = read_json(file, WHAT)
    if not isinstance(content, list) or not all(isinstance(v, dict) and "id" in v for v in content):
        raise not_this(file, WHAT, "it is no list of objects with an 'id'")
    for number, video in enumerate(content, start=1):
        where = f"{file} element {number}"
        if "template" not in video:
            yield Wrong(where, f"the video {video['id']} has no template, as in the test set")
        else:
            yield whole(str(video["id"]), re.sub(r"[\[\]]", "", video["template"]), where)

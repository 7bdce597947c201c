"""ActivityNet, and what is published in its form, such as THUMOS and HACS."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import Entry, Found, Options, Wrong, not_this, read_json, stretch

WHAT = "a JSON file as of ActivityNet"


def read(file: Path, options: Options) -> Found:
    """A stretch per annotation; videos without one, as of the test set, give none."""
    content = read_json(file, WHAT)
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict):
        raise not_this(file, WHAT, "it has no 'database'")
    for name, video in database.items():
        split = str(video.get("subset", ""))
        if not video.get("annotations"):
            yield Wrong(f"{file} {name}", "it has no annotation")
        for number, annotation in enumerate(video.get("annotations", []), start=1):
            where = f"{file} {name} annotation {number}"
            segment = annotation.get("segment", ())
            if len(segment) != 2:
                yield Wrong(where, "it has no segment of two times")
                continue
            found = stretch(name, str(annotation.get("label", "")), where, *segment)
            if isinstance(found, Entry):
                found = Entry((name, f"v_{name}"), found.label, where, split, found.spans * 2)
            yield found

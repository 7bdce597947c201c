"""Label Studio: the JSON export of tasks with videos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from vid3d.convert.entries import Entry, Found, Options, Wrong, not_this, read_json, stretch, whole
from vid3d.video.spans import Span

WHAT = "a JSON export of Label Studio"
UPLOAD = re.compile(r"[0-9a-f]{8}-")  # which it puts before the name of an uploaded file


def read(file: Path, options: Options) -> Found:
    """Stretches of time line labels (in frames) and labels with times; choices for whole videos."""
    tasks = read_json(file, WHAT)
    if not isinstance(tasks, list) or not all(isinstance(t, dict) and "data" in t for t in tasks):
        raise not_this(file, WHAT, "it is no list of tasks with 'data'")
    for number, task in enumerate(tasks, start=1):
        where = f"{file} task {task.get('id', number)}"
        addresses = [v for v in task["data"].values() if isinstance(v, str) and "." in v]
        results = [
            result
            for annotation in task.get("annotations", [])
            if not annotation.get("was_cancelled")
            for result in annotation.get("result", [])
        ]
        if not addresses or not results:
            yield Wrong(where, "it has no annotation" if addresses else "it names no video")
            continue
        name = PurePosixPath(addresses[0].split("?")[0]).name
        for result in results:
            yield from entries(name, result, where)


def entries(name: str, result: dict[str, Any], where: str) -> Iterator[Entry | Wrong]:
    """What one result says."""
    value, kind = result.get("value", {}), result.get("type", "")
    labels = value.get(kind) or value.get("labels") or []
    names = (name, UPLOAD.sub("", name, count=1))
    if not labels:
        yield Wrong(where, f"a result of the type {kind!r} has no label")
    elif kind == "choices":
        found = whole(name, labels[0], where)
        yield Entry(names, labels[0], where, spans=(None, None)) if found else found
    elif "ranges" in value:
        for part in value["ranges"]:  # frames from 1 on, the last one included
            span = Span(int(part["start"]) - 1, int(part["end"]), "frames")
            yield Entry(names, labels[0], where, spans=(span, span))
    else:
        found = stretch(name, labels[0], where, value.get("start"), value.get("end"))
        yield (
            found
            if isinstance(found, Wrong)
            else Entry(names, labels[0], where, spans=found.spans * 2)
        )

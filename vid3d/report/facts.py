"""What a page says of the data, the config, the versions and the commands."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from ml_collections import ConfigDict

from vid3d import config as configs
from vid3d.checkpoint import Workdir, provenance
from vid3d.data.prepared import Prepared
from vid3d.report.html import e
from vid3d.schema import BY_NAME
from vid3d.text import shorten

SPLITS = {"train": "training", "val": "validation", "test": "test"}
MOST_SIZES = 3


def table(head: Sequence[str], rows: Iterable[Sequence[object]], kind: str = "") -> Element:
    """A table whose first column names the rows."""
    top = e("tr", (e("th", text, scope="col") for text in head))
    body = (
        e("tr", e("th", str(first), scope="row"), (e("td", str(cell)) for cell in rest))
        for first, *rest in rows
    )
    built = e("table", e("thead", top), e("tbody", body), class_=kind or None)
    return e("div", built, class_="scroll")


def data(prepared: Prepared | None, workdir: Workdir) -> Element:
    """Counts of each split and, where the prepared frames are there, lengths, rates and sizes."""
    if prepared is None:
        rows = workdir.videos()
        counted = []
        for split, name in SPLITS.items():
            pairs = [(row["label"], row["group"]) for row in rows if row["split"] == split]
            counted.append((name, *counts(pairs)))
        return table(("split", "videos", "classes", "sources"), counted)
    lines = []
    for split, name in SPLITS.items():
        videos = [v for v in prepared.index.split(split) if v.name in prepared.facts]
        if not videos:
            continue
        facts = [prepared.facts[video.name] for video in videos]
        sizes = Counter(f"{f.size[1]}x{f.size[0]}" for f in facts).most_common()
        more = f" and {len(sizes) - MOST_SIZES} more" if len(sizes) > MOST_SIZES else ""
        lines.append(
            (
                name,
                *counts([(video.label, video.group) for video in videos]),
                spread([f.times_N[-1] + 1 / f.fps for f in facts]),
                spread([f.num_frames for f in facts]),
                spread([f.fps for f in facts]),
                ", ".join(size for size, _ in sizes[:MOST_SIZES]) + more,
            )
        )
    head = ("split", "videos", "classes", "sources", "seconds", "frames", "frames per second",
            "size")  # fmt: skip
    return table(head, lines)


def counts(videos: Sequence[tuple[str, str]]) -> tuple[int, int, str]:
    """Videos, classes and sources of videos with these labels and groups."""
    groups = {group for _, group in videos if group}
    known = all(group for _, group in videos) and bool(videos)
    return (
        len(videos),
        len({label for label, _ in videos}),
        str(len(groups)) if known else "unknown",
    )


def spread(values: Sequence[float]) -> str:
    """The median, and the smallest and the largest where they differ."""
    low, middle, high = (f"{f(values):.4g}" for f in (min, statistics.median, max))
    return low if low == high else f"{middle} ({low} to {high})"


def config(values: ConfigDict) -> Element:
    """The keys whose values are not the defaults."""
    flat = configs.flatten(values)
    rows = [
        (key, shorten(show(value)), shorten(show(BY_NAME[key].default)), BY_NAME[key].help)
        for key, value in flat.items()
        if value != BY_NAME[key].default and key not in ("data.root", "data.cache_dir")
    ]
    return table(("key", "value", "default", "what it is"), rows, "config")


def show(value: Any) -> str:
    """A value as it is written on the command line."""
    return ",".join(map(str, value)) or "()" if isinstance(value, tuple) else str(value)


def versions(workdir: Workdir, environment: dict[str, Any]) -> Element:
    """Of the training and of the evaluation."""
    entries = provenance.read(workdir)
    trained = facts_of(entries[-1]) if entries else {}
    tested = facts_of(environment)
    rows = [(name, trained.get(name, "unknown"), tested[name]) for name in tested]
    return table(("", "training", "evaluation"), rows)


def facts_of(environment: dict[str, Any]) -> dict[str, str]:
    """What `provenance.environment` found, by name."""
    devices = environment.get("devices", {})
    if isinstance(devices, dict):
        devices = " ".join(str(devices[key]) for key in ("count", "kind") if key in devices)
    commit = environment.get("commit") or ""
    return {
        "vid3d": f"{environment.get('vid3d')} {commit[:12]}".strip(),
        "Python": str(environment.get("python")),
        **environment.get("versions", {}),
        "devices": str(devices),
        "system": str(environment.get("platform")),
    }


def commands(workdir: Workdir, figures: dict[str, Any]) -> list[Element]:
    """How the run was trained, and the commands that repeat it."""
    entries = provenance.read(workdir)
    name = workdir.path.name
    lines = [entry["command"] for entry in entries[:1]]
    checkpoint = "" if figures["checkpoint"] == "best" else f" --checkpoint={figures['checkpoint']}"
    split = "" if figures["split"] == "test" else f" --split={figures['split']}"
    again = [
        f"vid3d train --like={name} --workdir={name}-again",
        f"vid3d evaluate --workdir={name}-again{split}{checkpoint}",
    ]
    said = [e("p", "Trained by"), e("pre", "\n".join(lines))] if lines else []
    return [*said, e("p", "The same again, in a new workdir"), e("pre", "\n".join(again))]


def last_part(path: str) -> str:
    """The name of a folder or file, without where it is on this machine."""
    return Path(path).name or path

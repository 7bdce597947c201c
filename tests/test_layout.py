"""The map holds: arrows between the rooms point down only, and each heavy library has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted(Path("vid3d").rglob("*.py"))
FLOORS = {
    "cli": 5, "sweep": 4, "training": 3, "evaluation": 2, "inference": 2,
    "data": 1, "models": 1, "checkpoint": 1, "parallel": 1, "rendezvous": 1, "config": 1, "config_file": 1,
    "compilation": 1, "checks": 1, "storage": 1, "terminal": 1, "text": 1, "arguments": 1, "process": 1, "__init__": 5, "__main__": 6,
}  # fmt: skip
# What every room stands on.
GROUND = {"config", "config_file", "checks", "storage", "process", "text"}
BESIDE = {
    ("checkpoint", "parallel"),
    ("parallel", "rendezvous"),
}  # rooms of the first floor that may lean on each other
HOMES = {
    "cv2": {
        "data/frames.py",
        "data/resize.py",
        "data/sources.py",
        "data/synthetic.py",
        "inference/overlay.py",
        "inference/writer.py",
    },
    "av": {
        "data/container.py",
        "data/damage.py",
        "data/picture.py",
        "data/reader.py",
        "inference/writer.py",
    },
    "orbax": {"checkpoint/__init__.py", "checkpoint/writing.py"},
    "ray": {"sweep/cluster.py"},
    "etils": {"storage.py"},
    "fsspec": {"storage.py"},
    "apache_beam": {"data/beam.py"},
    "tensorflow": {"data/shards.py"},
    "tensorflow_datasets": {"data/shards.py", "data/builders.py"},
    "tensorboardX": {"training/tensorboard.py"},
}


def room(path: Path) -> str:
    parts = path.relative_to("vid3d").with_suffix("").parts
    return parts[0]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_arrows_point_down(path):
    here = room(path)
    for name in imports(path):
        if not name.startswith("vid3d."):
            continue
        there = name.split(".")[1]
        if there not in FLOORS or there == here or there in GROUND:
            continue
        assert FLOORS[there] < FLOORS[here] or (here, there) in BESIDE, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_heavy_libraries_stay_at_home(path):
    inside = path.relative_to("vid3d").as_posix()
    for name in imports(path):
        library = name.split(".")[0]
        if library in HOMES:
            assert inside in HOMES[library], f"{path} imports {name}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import vid3d", {"jax", "numpy", "tensorflow", "cv2"}),
        ("import vid3d.cli", {"jax", "tensorflow", "cv2"}),
        (
            "import vid3d.inference.classifier, vid3d.inference.live",
            {"tensorflow", "tensorflow_datasets"},
        ),
        ("import vid3d.training.loop, vid3d.evaluation.evaluate", {"tensorflow", "torch"}),
        ("from vid3d.data import shards; shards.quiet_tensorflow()", {"keras", "sklearn", "torch"}),
    ],
)
def test_start_up_does_not_load_what_it_does_not_need(statement, absent):
    code = f"import sys; {statement}; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout.strip() == ""


def test_no_large_rooms():
    large = {str(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 360}
    assert not large

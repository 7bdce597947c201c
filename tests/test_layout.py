"""The map of docs/architecture.md holds: who may import whom, and where libraries are used."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(Path("vid3d").rglob("*.py"))
FOLDERS = [path.parent.name for path in FILES if path.match("vid3d/*/__init__.py")]

# Every folder and file imports only what stands before it.
ORDER = [
    "text",
    "errors",
    "process",
    "rendezvous",
    "parallel",
    "program",
    "terminal",
    "tf",
    "cache",
    "schema",
    "checks",
    "config_file",
    "config",
    "schema_text",
    "storage",
    "compilation",
    "ops",
    "models",
    "continual",
    "weights",
    "video",
    "datasets",
    "convert",
    "data",
    "checkpoint",
    "export",
    "engine",
    "evaluation",
    "inference",
    "serve",
    "judge",
    "training",
    "sweep",
    "arguments",
    "commands",
    "cli",
    "__main__",
]
ONLY = {"ops": set(), "video": {"errors", "process", "text"}}  # they import nothing else
NEVER = {  # so: no TensorFlow
    "export": {"data", "datasets", "evaluation", "tf"},
    "engine": {"data", "datasets", "evaluation", "tf"},
    "inference": {"data", "datasets", "evaluation", "tf"},
    "serve": {"data", "datasets", "evaluation", "tf"},
}
HOMES = {
    "cv2": {
        "video/resize.py",
        "video/records.py",
        "video/sources.py",
        "datasets/synthetic.py",
        "inference/heat.py",
        "inference/overlay.py",
        "video/writer.py",
    },
    "av": {
        "video/container.py",
        "video/damage.py",
        "video/picture.py",
        "video/reader.py",
        "video/writer.py",
    },
    "orbax": {"checkpoint/__init__.py", "checkpoint/writing.py"},
    "ray": {"sweep/cluster.py"},
    "etils": {"storage.py"},
    "fsspec": {"storage.py"},
    "apache_beam": {"data/beam.py"},
    "tensorflow": {"tf.py"},
    "tensorflow_datasets": {"data/shards.py", "datasets/tfds.py"},
    "tensorboardX": {"training/tensorboard.py"},
    "onnx": {
        "export/elementwise.py",
        "export/formats.py",
        "export/graph.py",
        "export/onnx_writer.py",
    },
    "onnxruntime": {"export/runtimes.py"},
    "openvino": {"export/runtimes.py"},
    "fastapi": {"serve/app.py", "serve/server.py", "serve/upload.py"},
    "starlette": {"serve/app.py", "serve/metrics.py", "serve/upload.py"},
    "uvicorn": {"serve/server.py"},
    "prometheus_client": {"serve/metrics.py"},
}
LARGEST = 360  # lines


def place(path: Path) -> str:
    """The folder or file right below vid3d/ that a file belongs to."""
    return path.relative_to("vid3d").with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, in functions, too, but not for type checkers alone."""
    nodes = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        nodes += ast.iter_child_nodes(node)


def file_of(name: str) -> Path | None:
    """The file of vid3d that a dotted name stands in."""
    for parts in (name.split("."), name.split(".")[:-1]):
        stem = "/".join(parts)
        for path in (Path(f"{stem}.py"), Path(stem, "__init__.py")):
            if path in FILES:
                return path
    return None


def test_imports_follow_the_order_and_the_libraries_stay_at_home():
    wrong = []
    for path in FILES:
        here = place(path)
        for name in imports(path):
            library, _, rest = name.partition(".")
            inside = path.relative_to("vid3d").as_posix()
            if library in HOMES and inside not in HOMES[library]:
                wrong.append(f"{path} imports {name}")
            there = rest.split(".")[0]
            if library != "vid3d" or there == here or there not in ORDER or here == "__init__":
                continue
            allowed = ORDER.index(there) < ORDER.index(here) and there in ONLY.get(here, {there})
            if not allowed or there in NEVER.get(here, ()):
                wrong.append(f"{path} imports {name}")
    assert not wrong


def test_there_is_no_import_circle_and_no_large_file():
    graph = {p: {found for name in imports(p) if (found := file_of(name))} - {p} for p in FILES}
    graphlib.TopologicalSorter(graph).prepare()  # raises a CycleError
    assert not [str(p) for p in FILES if len(p.read_text().splitlines()) > LARGEST]
    assert {place(path) for path in FILES} <= {*ORDER, "__init__"}


def test_every_folder_says_what_it_is_and_has_its_tests():
    for name in FOLDERS:
        text = ast.get_docstring(ast.parse(Path("vid3d", name, "__init__.py").read_text()))
        assert text and re.search(r"`\w+\.py`", text), (
            f"vid3d/{name}: no docstring that names the file to start with"
        )
        assert list(Path("tests", name).glob("test_*.py")), f"tests/{name} has no tests"


def test_paths_in_documents_exist():
    """Files move; what a reader is sent to has to be there."""
    for document in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("*/*/*.md")]:
        named = re.findall(
            r"(?<![\w/])(?:vid3d(?!/configs)|tests|experiments|configs|docs)/[\w/]+\.\w+",
            document.read_text(),
        )
        assert not [name for name in named if not (ROOT / name).exists()], document


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import vid3d", {"jax", "numpy", "tensorflow", "cv2"}),
        ("import vid3d.cli", {"jax", "tensorflow", "cv2"}),
        ("import vid3d.video.decoder_child", {"jax", "tensorflow", "ml_collections", "rich"}),
        (
            "import vid3d.inference.classifier, vid3d.inference.live",
            {"tensorflow", "tensorflow_datasets"},
        ),
        ("import vid3d.commands.predict, vid3d.inference.predict", {"jax", "flax", "openvino"}),
        ("import vid3d.training.loop, vid3d.evaluation.evaluate", {"tensorflow", "torch"}),
        (
            "from vid3d.tf import quiet_tensorflow; quiet_tensorflow()",
            {"keras", "sklearn", "torch"},
        ),
    ],
)
def test_start_up_does_not_load_what_it_does_not_need(statement, absent):
    code = f"import sys; {statement}; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout.strip() == ""

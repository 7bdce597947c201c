"""What is built from this checkout carries all that its commands need."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from vid3d import process

ROOT = Path(__file__).parents[1]
BUILD = "import setuptools.build_meta as backend; backend.build_{what}({folder!r})"


def build(what: str, source: Path, folder: Path) -> Path:
    """Runs the build backend, as `python -m build` does; returns what it has made."""
    folder.mkdir()
    command = [sys.executable, "-c", BUILD.format(what=what, folder=str(folder))]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """An unpacked wheel that was built from the source distribution of this checkout."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("packaging")
    copy = folder / "checkout"
    copy.mkdir()
    for name in ("vid3d", "configs"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    with tarfile.open(build("sdist", copy, folder / "sdist")) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    with zipfile.ZipFile(build("wheel", source, folder / "wheel")) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_a_wheel_has_every_module_every_preset_and_nothing_else(installed):
    found = {str(p.relative_to(installed)) for p in installed.rglob("*") if p.is_file()}
    wanted = {str(path) for path in Path("vid3d").rglob("*.py")}
    wanted |= {f"vid3d/presets/{path.name}" for path in Path("configs").glob("*.py")}
    wanted |= {"vid3d/py.typed", "vid3d/serve/page.html"}
    wanted |= {"vid3d/report/page.css", "vid3d/report/page.js"}
    wanted |= set(map(str, Path("vid3d/weights").glob("*.txt")))
    assert {name for name in found if ".dist-info/" not in name} == wanted
    assert (ROOT / "vid3d" / "presets").resolve() == (ROOT / "configs").resolve()


@pytest.mark.slow
def test_a_wheel_trains_from_an_empty_folder(installed, tmp_path, two_classes):
    """The preset of the embedded data set, and the one for videos of one's own."""
    empty = tmp_path / "empty"
    empty.mkdir()
    tiny = ["--config.train.epochs=1", "--config.model.features=4", "--config.data.size=16"]
    small = ["--config.data.synthetic.groups=10", "--config.data.num_frames=4"]
    own = [f"--config.data.root={two_classes}", "--config.data.num_frames=4"]
    commands = [
        ["train", "--config=demo:smoke", "--workdir=runs/demo", *tiny, *small],
        ["train", "--config=videos", "--workdir=runs/mine", *tiny, *own],
    ]
    program = (
        "import sys, vid3d; from vid3d import cli; print(vid3d.__file__); "
        f"sys.exit(any(cli.main(command) for command in {commands}))"
    )
    environment = os.environ | {"PYTHONPATH": str(installed), "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=empty, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(installed / "vid3d" / "__init__.py")
    for name in ("demo", "mine"):
        assert (empty / "runs" / name / "metrics.jsonl").read_text().count("\n") == 1


def of_training() -> set[str]:
    """The packages that the extra `train` installs, as they are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"]["train"]
    names = {re.split(r"[<>=\[]", line)[0].lower() for line in lines}
    found = packages_distributions()
    return {
        module
        for module, distributions in found.items()
        if names & {name.lower().replace("_", "-") for name in distributions}
        and not module.startswith("_")
    }


# Labels a video in all three ways and then tries to train, in a Python without these packages.
PROGRAM = """
import json, sys
absent, workdir, video, out = json.loads(sys.argv[1])
sys.modules |= dict.fromkeys(absent)
import vid3d
from vid3d import cli
print(vid3d.load(workdir).predict(video).label)
run = f"--workdir={workdir}"
codes = [
    cli.main(["predict", run, "--csv", video]),
    cli.main(["live", run, f"--source={video}", f"--output={out}/live.mp4"]),
    cli.main(["summary", "--config=demo"]),
    cli.main(["train", "--config=demo:smoke", f"--workdir={out}/run"]),
    cli.main(["evaluate", run]),
    cli.main(["sweep", "--config=sweep_depth_width", f"--workdir={out}/sweep"]),
]
try:
    vid3d.train
except vid3d.UserError as error:
    print(error, file=sys.stderr)
print(codes)
"""


@pytest.mark.slow
def test_labelling_needs_nothing_of_the_extra_and_training_names_it(smoke_run, tmp_path, cache):
    absent = of_training()
    assert absent >= process.OF_TRAINING - {"scipy"} and "jax" not in absent
    absent = sorted({*absent - {"scipy"}, "keras", "h5py", "pyarrow"})  # JAX needs SciPy itself
    video = next(cache.glob("vid3d/synthetic-*/*/*.avi"))
    arguments = json.dumps([absent, str(smoke_run), str(video), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, arguments],
        env=os.environ | {"XLA_FLAGS": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 1, 1, 1]", done.stderr
    errors = [line for line in done.stderr.splitlines() if "vid3d[train]" in line]
    assert len(errors) == 4
    for command, line in zip(("train", "evaluate", "sweep"), errors, strict=False):
        assert line.startswith(f"vid3d {command}: error: training and evaluation need ")
        assert line.endswith(", which is not installed: pip install 'vid3d[train]'")
    assert (tmp_path / "live.mp4").stat().st_size > 1000

"""What all tests share: eight host devices, a cache folder of their own, real data where it is at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Before anything imports jax or tensorflow.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's cache folder of this test run, for the tests and for the processes they start."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    from vid3d import compilation

    compilation.use_cache()
    yield folder
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real videos; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real videos at {SHARED}")
    return SHARED


def vid3d(
    *arguments: str, check: int | None = 0, env: dict[str, str] | None = None, timeout: float = 300
):
    """Runs the command line in a process of its own, on one device; returns it with its output as text."""
    environment = os.environ | {"XLA_FLAGS": "", "COLUMNS": "200"} | (env or {})
    done = subprocess.run(
        [sys.executable, "-m", "vid3d.cli", *map(str, arguments)],
        cwd=ROOT, env=environment, text=True, capture_output=True, timeout=timeout,
    )  # fmt: skip
    if check is not None and done.returncode != check:
        raise AssertionError(
            f"vid3d {' '.join(map(str, arguments))} exited {done.returncode}, expected {check}:\n"
            f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
    return done


@pytest.fixture(scope="session")
def run():
    """`run("train", ...)`: see `vid3d` above."""
    return vid3d


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A workdir that `vid3d train --config=configs/demo.py:smoke` really trained."""
    workdir = tmp_path_factory.mktemp("smoke") / "run"
    vid3d("train", "--config=configs/demo.py:smoke", f"--workdir={workdir}")
    return workdir

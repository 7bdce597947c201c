"""Without X libraries everything but a window works, or one line says what to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

# Hides libxcb.so.1 in its folder, in a separate mount namespace.
HIDE = """
set -e
mount -t tmpfs none "$2"
mkdir "$2/upper" "$2/work"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" overlay "$1"
rm "$1"/libxcb.so.1*
shift 2
exec "$@"
"""


def without_x(folder: Path, *command: str) -> subprocess.CompletedProcess:
    """Runs a command without libxcb.so.1; skips if the library cannot be hidden."""
    if not (libraries := sorted(Path("/usr/lib").glob("*/libxcb.so.1"))):
        pytest.skip("the system has no libxcb.so.1 to hide")
    if os.getuid() or not shutil.which("unshare"):
        pytest.skip("hiding a library needs root and unshare")
    prefix = ["unshare", "--mount", "sh", "-c", HIDE, "sh", str(libraries[0].parent), str(folder)]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("mounting an overlay is not permitted here")
    return subprocess.run([*prefix, *command], text=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.skipif(not cv2.currentUIFramework(), reason="this OpenCV needs no X libraries")
def test_missing_x_libraries_are_named_in_one_line(tmp_path):
    program = [sys.executable, "-m", "vid3d.cli"]
    done = without_x(tmp_path, *program, "train", "--config=configs/demo.py", "--workdir=w")
    assert done.returncode == 1
    assert done.stderr.startswith("vid3d train: error: cv2 needs libxcb.so.1, which this system")
    assert "libgl1" in done.stderr and "`pip install opencv-python-headless`" in done.stderr
    assert len(done.stderr.splitlines()) == 1

    load = "import vid3d\ntry: vid3d.load('w')\nexcept vid3d.config.UserError as e: print(e)"
    done = without_x(tmp_path, sys.executable, "-c", load)
    assert done.stdout.startswith("cv2 needs libxcb.so.1"), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(bool(cv2.currentUIFramework()), reason="this OpenCV opens windows")
def test_live_without_window_support_says_so_and_writes_files(smoke_run, tmp_path, call):
    video = next(Path(os.environ["XDG_CACHE_HOME"]).glob("vid3d/synthetic-*/*/*.avi"))
    done = call("live", f"--workdir={smoke_run}", f"--source={video}", check=1)
    assert done.stderr.startswith("vid3d live: error: this OpenCV opens no windows (opencv-python-")
    assert len(done.stderr.splitlines()) == 1
    annotated = tmp_path / "annotated.mp4"
    call("live", f"--workdir={smoke_run}", f"--source={video}", f"--output={annotated}")
    assert annotated.stat().st_size > 1000

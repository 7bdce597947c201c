"""Videos and folders that the data tests make for themselves."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from ml_collections import ConfigDict

from vid3d import config


def write_video(
    path: Path,
    num_frames: int = 12,
    *,
    size: tuple[int, int] = (48, 64),
    fps: float = 25.0,
    shade: int = 0,
) -> Path:
    """A video whose k-th frame is grey with the value shade + 10 (k + 1), so that a frame tells its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = {".avi": "MJPG", ".mp4": "mp4v", ".mkv": "MJPG", ".mov": "mp4v"}[path.suffix]
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), fps, size[::-1]
    )
    assert writer.isOpened()
    for k in range(num_frames):
        writer.write(np.full((*size, 3), (shade + 10 * (k + 1)) % 256, np.uint8))
    writer.release()
    return path


@pytest.fixture
def video() -> Callable[..., Path]:
    """See `write_video`."""
    return write_video


@pytest.fixture
def ffmpeg() -> Callable[..., None]:
    """Runs ffmpeg with these arguments; skips the test where there is none."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")

    def run(*arguments: object) -> None:
        command = ["ffmpeg", "-y", "-v", "error", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)

    return run


@pytest.fixture
def settings(tmp_path: Path) -> ConfigDict:
    """A whole config with small frames and a cache of its own."""
    c = config.default()
    with c.unlocked():
        c.data.cache_dir = str(tmp_path / "cache")
        c.data.root = str(tmp_path / "videos")
        c.data.size = 32
        c.data.num_frames = 4
        c.data.decode_timeout = 20.0
    return c


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """tmp_path/videos with the classes up and down, ten videos each, named g0 to g4 by source."""
    root = tmp_path / "videos"
    for label, shade in (("down", 0), ("up", 100)):
        for k in range(10):
            write_video(root / label / f"g{k // 2}_{k}.avi", 5 + k, shade=shade + k)
    return root

"""Is this checkout as fast as another one? Ingest and prediction of both, in turns.

    git worktree add ../before COMMIT
    python experiments/benchmarks/trees.py ../before [--rounds=5]

Files: 320x240 Xvid of 150 frames (1,000, of which 64 are predicted) and 1920x1080 H.264 of 90
frames (12; written by FFmpeg's command). Ingest stores the first 10 frames of Xvid at 112x112 and
at 224x224, and all frames of H.264; prediction is that of the tutorial's network on 10x112x112
clips. Every figure is that of a process of its own, which does the work twice and counts the second
time. Prints the medians in seconds and the median ratio, other / this: above 1, this one is faster.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
FULL_HD, CLIPS = "testsrc2=s=1920x1080:r=30:d=3", 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--videos", type=int, default=1000)
    options = parser.parse_args()
    trees = (options.other.resolve(), HERE.parents[2])
    with tempfile.TemporaryDirectory() as name:
        xvid, hd, few = Path(name, "xvid"), Path(name, "hd"), Path(name, "few")
        write_files(xvid, hd, few, options.videos)
        for task, folder in (
            ("ingest 112", xvid), ("ingest 224", xvid), ("predict 112", few),
            ("ingest-all 112", hd), ("predict 112", hd),
        ):  # fmt: skip
            seconds = [[run(tree, task, folder) for tree in trees] for _ in range(options.rounds)]
            other, this = np.median(seconds, axis=0)
            ratio = statistics.median(a / b for a, b in seconds)
            print(f"{task:16} {folder.name:5} {other:7.2f} {this:7.2f} {ratio:6.2f}", flush=True)


def write_files(xvid: Path, hd: Path, few: Path, videos: int) -> None:
    from data import write_videos

    write_videos(xvid, videos)
    for number, path in enumerate(sorted(xvid.rglob("*.avi"))[:64]):
        (few / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, few / path.parent.name / f"{number}.avi")
    for number in range(CLIPS):
        (hd / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        path = hd / "ab"[number % 2] / f"{number}.mp4"
        given = ("-f", "lavfi", "-i", FULL_HD, "-vf", f"noise=alls=4:allf=t:all_seed={number}")
        coded = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "28", "-pix_fmt", "yuv420p")
        subprocess.run(["ffmpeg", "-v", "error", *given, *coded, str(path)], check=True)


def run(tree: Path, task: str, folder: Path) -> float:
    """Seconds that a checkout takes for a task."""
    environment = os.environ | {"PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(HERE.with_name("trees_work.py")), *task.split(), str(folder)]
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{tree}: {task}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()

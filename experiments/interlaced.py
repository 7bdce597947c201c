"""Is interlaced video seen at all? The same clips, progressive and interlaced.

    python experiments/interlaced.py WORKDIR

Two classes that differ in the direction alone in which a block moves, 40 clips each, encoded by
FFmpeg's command (`ffmpeg`) as progressive MPEG-2, and as MPEG-2, H.264 and DV that are coded
interlaced, of two moments a frame as cameras record them. Trains vid3d's small network on each with
one recipe and prints the test accuracies.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

CLIPS, FRAMES = 40, 16
FIRST_OF = {"train": 0, "val": 22, "test": 26}
CLASSES = {"left": -1, "right": 1}
FORMATS = {
    "progressive.mpg": "-c:v mpeg2video -q:v 2",
    "mpeg2.mpg": "-c:v mpeg2video -q:v 2 -flags +ildct+ilme -top 1",
    "h264.mp4": "-c:v libx264 -preset veryfast -crf 12 -flags +ildct+ilme -x264-params tff=1",
    "dv.avi": "-c:v dvvideo",
}
CONFIG = """\
from vid3d.config import default


def get_config(arg=""):
    c = default()
    c.data.num_frames, c.data.size, c.data.color = 16, 32, "gray"
    c.data.sampling = "uniform"
    c.model.features, c.model.pool, c.model.input = (16, 32, 64), (2, 2, 2), "log_speed"
    c.model.norm, c.model.head, c.model.hidden = "batch", "statistics", 0
    c.model.feature_dropout, c.model.dropout = 0.0, 0.3
    c.optim.name, c.optim.learning_rate, c.optim.schedule = "adamw", 5e-3, "cosine"
    c.train.epochs, c.eval.every, c.checkpoint.every = 30, "30 epochs", "30 epochs"
    return c
"""


def clip(seed: int, sign: int, width: int, height: int, later: int | None) -> np.ndarray:
    """uint8 [T, H, W]: a block that moves.

    The lines from `later` on, every second one, are half a frame later.
    Place, speed and brightness are those of `seed`, the same in both classes and in all formats.
    """
    random = np.random.default_rng(seed)
    start, row = random.uniform(), random.uniform(0.05, 0.7)
    speed, level = random.uniform(0.015, 0.045), random.integers(120, 235)
    frames = np.full((FRAMES, height, width), 30, np.uint8)
    columns = np.arange(width) / width
    for time_index in range(2 * FRAMES):
        left = (start + sign * speed * time_index / 2) % 1
        inside = ((columns - left) % 1) < 0.2
        picture = np.full((height, width), 30, np.uint8)
        picture[int(row * height) : int((row + 0.25) * height), inside] = level
        frame, half = divmod(time_index, 2)
        if not half:
            frames[frame] = picture
        elif later is not None:
            frames[frame, later::2] = picture[later::2]
    return frames


def encode(folder: Path, name: str) -> None:
    """Writes the clips of a format with their manifest, the classes in turns.

    What a buffer keeps tells nothing then.
    """
    width, height = (720, 576) if name == "dv.avi" else (96, 96)
    # DV has the lower lines first.
    later = {"progressive.mpg": None, "dv.avi": 0}.get(name, 1)
    folder.mkdir(parents=True)
    rows = ["path,label,split"]
    for seed in range(CLIPS):
        split = [split for split, first in FIRST_OF.items() if seed >= first][-1]
        for label, sign in CLASSES.items():
            file = f"{seed:02d}-{label}{Path(name).suffix}"
            rows.append(f"{file},{label},{split}")
            command = f"ffmpeg -v error -f rawvideo -pix_fmt gray -s {width}x{height} -r 25 -i -"
            command += f" -pix_fmt yuv420p {FORMATS[name]} {folder / file}"
            raw = clip(seed, sign, width, height, later).tobytes()
            subprocess.run(command.split(), input=raw, check=True)
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


def vid3d(*arguments: str) -> str:
    """Standard output of a vid3d command."""
    command = [sys.executable, "-m", "vid3d.cli", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def main(workdir: str) -> None:
    """Trains and tests on every format."""
    started = time.monotonic()
    place = Path(workdir)
    place.mkdir(parents=True)
    (place / "config.py").write_text(CONFIG)
    rows = []
    for name in FORMATS:
        folder, run = place / "videos" / name, place / name
        encode(folder, name)
        cache = f"--config.data.cache_dir={place}/cache"
        vid3d(
            "train",
            f"--config={place}/config.py",
            f"--config.data.root={folder}",
            cache,
            f"--workdir={run}",
        )
        figures = json.loads(vid3d("evaluate", f"--workdir={run}", cache, "--json"))
        low, high = figures["interval"]
        rows.append(
            f"{name:16} accuracy {figures['accuracy']:.3f} (95% interval {low:.3f} to {high:.3f}), "
            f"{figures['num_videos']} test videos, protocol: {figures['protocol']}"
        )
    print(*rows, f"{(time.monotonic() - started) / 60:.1f} minutes", sep="\n")


if __name__ == "__main__":
    main(sys.argv[1])

"""How much faster short stretches of long recordings are prepared than the recordings are read.

    python experiments/benchmarks/stretches.py [--files=10] [--minutes=60] [--json]

Recordings: H.264 (x264, with B frames, a key frame every two seconds, `--gop` frames) of 320x240 at
25 frames per second in MP4. One minute of drifting noise is encoded and repeated by FFmpeg without
encoding it again. Stretches: `--stretches` of two seconds in each file, one at a
random place in each of as many equal parts, prepared at 112x112 by `vid3d prepare`. Compared with
reading the files through, in one process: every frame decoded, converted to RGB and resized, of the
first `--read` minutes of one file, times all minutes. Both in processor time, which other programs
on the machine change little, and in seconds. Files are in the page cache.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vid3d import config as configs, process
from vid3d.data import prepare
from vid3d.video.frames import read_frames
from vid3d.video.resize import fit

FPS, SECONDS, SIZE = 25, 2, (320, 240)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--minutes", type=int, default=60, help="of each file")
    parser.add_argument("--stretches", type=int, default=100, help="of each file")
    parser.add_argument("--gop", type=int, default=2 * FPS, help="frames between two key frames")
    parser.add_argument("--read", type=int, default=10, help="minutes of one that are read")
    options = parser.parse_args()
    process.start_program()  # as `vid3d prepare` does
    process.end_imports()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_recordings(folder / "videos", options)
        write_manifest(folder / "videos" / "manifest.csv", paths, options)
        config = config_of(folder)
        sought_cpu, sought = measure(lambda: prepare.prepare(config, quiet=True))
        read_cpu, read = measure(lambda: read_minutes(paths[0], options.read))
    scale = options.files * options.minutes / options.read
    figures = {
        "files": options.files,
        "minutes_each": options.minutes,
        "stretches": options.files * options.stretches,
        "key_frame_every": options.gop,
        "prepare_cpu_seconds": sought_cpu,
        "prepare_seconds": sought,
        "read_through_cpu_seconds": read_cpu * scale,
        "read_through_one_process_seconds": read * scale,
        "cpu_ratio": read_cpu * scale / sought_cpu,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }
    if options.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:34} {value:.2f}" if isinstance(value, float) else f"{key:34} {value}")


def write_recordings(root: Path, options: argparse.Namespace) -> list[Path]:
    """The files: one encoded minute, over and over."""
    root.mkdir()
    random = np.random.default_rng(0)
    noise = cv2.resize(random.integers(0, 256, (12, 16, 3), np.uint8), SIZE)
    grain = random.integers(0, 12, (8, *noise.shape), np.uint8)
    pictures = (
        cv2.add(np.roll(noise, 2 * k, axis=1), grain[k % len(grain)]).tobytes()
        for k in range(60 * FPS)
    )
    minute = root.parent / "minute.mp4"
    given = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", str(FPS))
    coded = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-bf", "2")
    keys = ("-g", str(options.gop), "-keyint_min", str(options.gop), "-sc_threshold", "0")
    command = ["ffmpeg", "-v", "error", *given, "-i", "-", *coded, *keys, str(minute)]
    encoder = subprocess.Popen(command, stdin=subprocess.PIPE)
    for picture in pictures:
        encoder.stdin.write(picture)
    encoder.communicate()
    again = ("-stream_loop", str(options.minutes - 1), "-i", str(minute), "-c", "copy")
    first = root / "0.mp4"
    subprocess.run(["ffmpeg", "-v", "error", *again, str(first)], check=True)
    others = [root / f"{number}.mp4" for number in range(1, options.files)]
    return [first, *(Path(shutil.copy(first, path)) for path in others)]


def write_manifest(path: Path, videos: list[Path], options: argparse.Namespace) -> None:
    random = np.random.default_rng(1)
    step = options.minutes * 60 / options.stretches
    lines = ["path,label,start,end"]
    for video in videos:
        places = random.uniform(0, step - SECONDS, options.stretches)
        starts = np.arange(options.stretches) * step + places
        lines += [
            f"{video.name},{'ab'[k % 2]},{start:.3f},{start + SECONDS:.3f}"
            for k, start in enumerate(starts)
        ]
    path.write_text("\n".join(lines) + "\n")


def config_of(folder: Path):
    config = configs.default()
    config.data.root = str(folder / "videos")
    config.data.cache_dir = str(folder / "cache")
    config.data.size = 112
    config.data.val_fraction = config.data.test_fraction = 0.0
    return config


def read_minutes(path: Path, minutes: int) -> None:
    for frame_HWC, _ in itertools.islice(read_frames(path), minutes * 60 * FPS):
        fit(frame_HWC, size=(112, 112), resize="squash", color="rgb")


def measure(function: Callable[[], object]) -> tuple[float, float]:
    """Processor time, of children as well, and seconds."""
    before, start = cpu(), time.perf_counter()
    function()
    return cpu() - before, time.perf_counter() - start


def cpu() -> float:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))


if __name__ == "__main__":
    main()

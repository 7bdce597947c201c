"""How fast videos become stored frames and stored frames become clips.

    python experiments/benchmarks/data.py [--videos=1000] [--json]

Ingest: XVID files of 150 frames of 320x240, the first 10 frames at 112x112 and at 224x224, by
`vid3d prepare` into shards, and as the tutorial reads them into memory (one process that seeks to
each frame), in turns; then the parts of ingest one by one in this process. Reading: clips of
10x112x112 out of the shards in a random order and in sequence, in turns, then out of memory.
Medians of the rounds; files are in the page cache.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from vid3d import config as configs, process
from vid3d.data import pipeline, prepare
from vid3d.data.shards import ShardWriter
from vid3d.video.frames import read_frames
from vid3d.video.resize import fit as fit_frame

FRAMES, STORED = 150, 10
BATCH, SIZE = 8, 112


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--videos", type=int, default=1000, help="at least 80")
    options = parser.parse_args()
    process.start_program()  # as `vid3d prepare` does
    process.end_imports()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_videos(folder / "videos", options.videos)
        figures = ingest(folder, 112, options.rounds) | ingest(folder, 224, options.rounds)
        figures |= parts(folder, 224, options.rounds) | reading(folder, options.rounds)
    figures |= {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    if options.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:38} {value:.2f}" if isinstance(value, float) else f"{key:38} {value}")


def write_videos(root: Path, videos: int) -> None:
    """Two classes of smooth noise that drifts; ten encodings, each under many names."""
    codec = cv2.VideoWriter_fourcc(*"XVID")
    for number in range(videos):
        path = root / ("left", "right")[number % 2] / f"{number}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number >= 10:
            first = root / ("left", "right")[number % 2] / f"{number % 10}.avi"
            path.write_bytes(first.read_bytes())
            continue
        random = np.random.default_rng(number)
        picture = cv2.resize(random.integers(0, 256, (12, 16, 3), np.uint8), (320, 240))
        writer = cv2.VideoWriter(str(path), codec, 25, (320, 240))
        for shift in range(FRAMES):
            noise = random.integers(0, 12, picture.shape, np.uint8)
            writer.write(cv2.add(np.roll(picture, 2 * shift, axis=1), noise))
        writer.release()


def config_of(folder: Path, *, cache: str, size: int):
    config = configs.default()
    config.data.root = str(folder / "videos")
    config.data.cache_dir = str(folder / cache)
    config.data.size = size
    config.data.stored_frames = STORED
    return config


def as_the_tutorial(path: Path, size: int) -> np.ndarray:
    """The first 10 frames, each sought."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    for number in range(STORED):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        _, frame = capture.read()
        frames.append(cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), (size, size)))
    capture.release()
    return np.stack(frames)


def ingest(folder: Path, size: int, rounds: int) -> dict[str, float]:
    paths = sorted((folder / "videos").rglob("*.avi"))
    sample = paths[:: len(paths) // 40]
    ours, theirs = [], []
    config = config_of(folder, cache="cache", size=size)
    # The first time is not counted: it loads TensorFlow, to write two small files of tfds, and
    # claims fresh memory.
    for number in range(rounds + 1):
        shutil.rmtree(folder / "cache", ignore_errors=True)
        tutorial = seconds(lambda: [as_the_tutorial(path, size) for path in sample])
        taken = seconds(lambda: prepare.prepare(config, quiet=True))
        if number:
            theirs.append(len(sample) / tutorial)
            ours.append(len(paths) / taken)
    return {
        f"ingest_{size}_videos_per_second": statistics.median(ours),
        f"ingest_{size}_tutorial_videos_per_second": statistics.median(theirs),
        f"ingest_{size}_ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
    }


def parts(folder: Path, size: int, rounds: int) -> dict[str, float]:
    """Milliseconds a video of what ingest cannot do without."""
    paths = sorted((folder / "videos").rglob("*.avi"))[:80]
    decoded = [frame for path in paths[:10] for frame in first_frames(path)]
    fit = partial(fit_frame, size=(size, size), resize="squash", color="rgb")
    records = [fit(frame).tobytes() for frame in decoded[:STORED]]

    def decode() -> None:
        for path in paths:
            first_frames(path)

    def write() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name, ShardWriter(Path(name)) as writer:
            for _ in paths:
                writer.add(0, records)
            writer.finish()

    sides = {
        "decode": (len(paths), decode),
        "resize": (10, lambda: [fit(frame) for frame in decoded]),
        "hash": (len(paths), lambda: [hashlib.sha256(path.read_bytes()) for path in paths]),
        "write": (len(paths), write),
    }
    return {
        f"ingest_{size}_{name}_ms": 1e3 * statistics.median(seconds(f) / n for _ in range(rounds))
        for name, (n, f) in sides.items()
    }


def first_frames(path: Path) -> list[np.ndarray]:
    return [frame for frame, _ in itertools.islice(read_frames(path), STORED)]


def reading(folder: Path, rounds: int) -> dict[str, float]:
    config = config_of(folder, cache="read", size=SIZE)
    prepared = prepare.prepare(config, quiet=True)
    clips = pipeline.Clips(prepared, "train", config.data)
    order = np.random.default_rng(0).permutation(len(clips))

    def read(index_N: np.ndarray) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, len(index_N) - BATCH + 1, BATCH):
                clips.read(clips.batch_records(index_N[start : start + BATCH]))

        return run

    def flow() -> None:
        batches = pipeline.train_batches(
            clips, seed=0, batch_size=BATCH, first_step=0, last_step=8 * steps
        )
        for _ in batches:
            pass

    steps = len(clips) // BATCH
    sides = {"random": read(order), "sequential": read(np.sort(order)), "tf_data": flow}
    work = {"random": steps * BATCH, "sequential": steps * BATCH, "tf_data": 8 * steps * BATCH}
    figures = {}
    for where in ("shards", "memory"):
        rates = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                rates[name].append(work[name] / seconds(side))
        for name, found in rates.items():
            figures[f"{where}_{name}_clips_per_second"] = statistics.median(found)
        figures[f"{where}_random_over_sequential"] = statistics.median(
            a / b for a, b in zip(rates["random"], rates["sequential"], strict=True)
        )
        clips.hold_in_memory(2**40)
    return figures


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

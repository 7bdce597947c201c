"""How much faster threads label files with one classifier than a single thread does.

    python experiments/benchmarks/threads.py [--json]

The demo's network labels H.264 files of 1920x1080, most of whose time goes into decoding. One
thread and several take turns with the same files, and the median of the rounds' ratios counts. All
of them call `Classifier.predict`; every answer has to be that of the single thread, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import jax
import numpy as np
import psutil

from vid3d import compilation, config as configs, models
from vid3d.inference.classifier import Classifier
from vid3d.video.writer import VideoWriter

CLASSES = tuple("abcde")
FILES, FRAMES = 8, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    compilation.set_up()
    config = configs.load("configs/demo.py")
    module = models.build(config.model, len(CLASSES))
    clips = np.zeros((1, config.data.num_frames, config.data.size, config.data.size, 3), np.float32)
    weights = jax.jit(module.init, static_argnames="train")(jax.random.key(0), clips, train=False)
    # As if trained on videos of this length: no time line.
    classifier = Classifier(weights, config, classes=CLASSES, window_seconds=FRAMES / 25)
    with tempfile.TemporaryDirectory() as folder:
        paths = [write(Path(folder) / f"{i}.mp4", seed=i) for i in range(FILES)]
        figures = measure(classifier, paths, options.rounds, options.threads)
    figures |= {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:32} {value if isinstance(value, int) else format(value, '.2f')}")


def write(path: Path, *, seed: int) -> Path:
    """A video of smooth coloured noise that drifts."""
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(0, 255, (60, 100, 3), dtype=np.uint8), (2400, 1500))
    with VideoWriter(path, fps=25) as writer:
        for i in range(FRAMES):
            writer.write(np.ascontiguousarray(scene[4 * i : 4 * i + 1080, 8 * i : 8 * i + 1920]))
    return path


def processor_seconds() -> float:
    """Processor time so far of this process and its decoding processes."""
    this = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (this, *this.children()))


def measure(
    classifier: Classifier, paths: list[Path], rounds: int, threads: int
) -> dict[str, float]:
    """Files per second of one thread and of several, and their ratio."""
    classifier.compile(batch_sizes=[1], decoders=threads)
    expected = [classifier.predict(path) for path in paths]
    rates: dict[int, list[float]] = {1: [], threads: []}
    work: dict[int, list[float]] = {1: [], threads: []}
    for number in range(rounds):
        for count in sorted(rates, reverse=bool(number % 2)):
            with ThreadPoolExecutor(count) as pool:
                began, worked = time.perf_counter(), processor_seconds()
                answers = list(pool.map(classifier.predict, paths))
                rates[count].append(len(paths) / (time.perf_counter() - began))
                work[count].append((processor_seconds() - worked) / len(paths))
            assert answers == expected
            print(f"{count} threads: {rates[count][-1]:.2f} files/s", file=sys.stderr)
    ratios = [many / one for one, many in zip(rates[1], rates[threads], strict=True)]
    return {
        "one_thread_files_per_second": statistics.median(rates[1]),
        f"{threads}_threads_files_per_second": statistics.median(rates[threads]),
        "one_thread_cpu_s_per_file": statistics.median(work[1]),
        f"{threads}_threads_cpu_s_per_file": statistics.median(work[threads]),
        "ratio": statistics.median(ratios),
        "smallest_ratio": min(ratios),
        "decoding_processes": len(psutil.Process().children()),
        "threads_left": threading.active_count(),
    }


if __name__ == "__main__":
    main()

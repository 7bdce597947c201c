"""How fast a trained network labels files and a live stream: the tutorial's network.

    python experiments/benchmarks/inference.py [--json]

Clips are 10x112x112, files are 320x240 XVID, 64 frames each, written anew and decoded for real.
`predict_many` decodes in processes beside the network; decoding alone and the network alone are
measured as well, interleaved with it, and the median of the rounds counts. The live figure is what
one thread does that fits each frame, slides the window and runs the network.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import jax
import numpy as np

from vid3d import compilation, config as configs, models
from vid3d.inference.classifier import Classifier
from vid3d.video import frames

CLASSES = tuple("abcde")
FILES, FRAMES = 64, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    compilation.set_up()
    config = configs.default()
    config.data.size = 112
    module = models.build(config.model, len(CLASSES))
    clips = np.zeros((8, config.data.num_frames, 112, 112, 3), np.uint8)
    weights = jax.jit(module.init, static_argnames="train")(
        jax.random.key(0), clips.astype(np.float32), train=False
    )
    # As if trained on videos of this length: no time line.
    classifier = Classifier(weights, config, classes=CLASSES, window_seconds=FRAMES / 25)
    with tempfile.TemporaryDirectory() as folder:
        paths = [write(Path(folder) / f"{i}.avi", seed=i) for i in range(FILES)]
        figures = measure(classifier, paths, clips, options.rounds)
    figures |= {"device": jax.devices()[0].device_kind, "cores": len(os.sched_getaffinity(0))}
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value if isinstance(value, (str, int)) else format(value, '.2f')}")


def write(path: Path, *, seed: int) -> Path:
    """A video of smooth coloured noise that drifts."""
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8), (480, 320))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 25, (320, 240))
    for i in range(FRAMES):
        writer.write(scene[i : i + 240, 2 * i : 2 * i + 320])
    writer.release()
    return path


def measure(
    classifier: Classifier, paths: list[Path], clips: np.ndarray, rounds: int
) -> dict[str, float]:
    """Median seconds of each part over the rounds, as rates."""
    seen = [frame for frame, _ in frames.read_frames(paths[0])]
    stream = classifier.stream()
    latencies: list[float] = []

    def predict_files() -> None:
        assert len(list(classifier.predict_many(paths))) == len(paths)

    def predict_one_by_one() -> None:
        for path in paths:
            classifier.predict(path)

    def decode() -> None:
        for path in paths:
            frames.read_video(path, classifier.config.data)

    def network() -> None:
        for _ in range(len(paths) // len(clips)):
            classifier.probabilities(clips)

    def live() -> None:
        for frame in seen:
            began = time.perf_counter()
            if stream.push(frame) is not None:
                latencies.append(time.perf_counter() - began)

    parts: dict[str, tuple[Callable[[], None], int]] = {
        "predict_files_per_second": (predict_files, len(paths)),
        "one_by_one_files_per_second": (predict_one_by_one, len(paths)),
        "decoded_files_per_second": (decode, len(paths)),
        "network_clips_per_second": (network, len(paths)),
        "live_labels_per_second": (live, len(seen)),
    }
    for part, _ in parts.values():
        part()  # compiles
    latencies.clear()
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, (part, _) in parts.items():
            began = time.perf_counter()
            part()
            seconds[name].append(time.perf_counter() - began)
    rates = {name: count / statistics.median(seconds[name]) for name, (_, count) in parts.items()}
    return rates | {
        "live_latency_ms": 1000 * statistics.median(latencies),
        "live_latency_p95_ms": 1000 * statistics.quantiles(latencies, n=20)[-1],
    }


if __name__ == "__main__":
    main()

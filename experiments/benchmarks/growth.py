"""What grows with the work: ingest, epoch and memory with the videos, a step with the pixels.

    python experiments/benchmarks/growth.py [--json] [--plot=FILE]

Videos: 1, 2, 4 and 8 times 100, decoded anew; an epoch through the pipeline from the shards (no
memory budget, so that all stream) with a small network; the largest resident memory of a process
that does only this. Pixels: the tutorial's network, batch 4, 10 frames of 56, 80, 112 and 160
pixels a side (1, 2, 4, 8 times the pixels). Each size is measured in every round; medians count,
and the exponent is the slope of a straight line through the logarithms (1 is linear).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from vid3d import compilation

TIMES = (1, 2, 4, 8)
SIDES = (56, 80, 112, 160)
TITLES = {
    "ingest_seconds": "ingest, s, by videos",
    "epoch_seconds": "an epoch, s, by videos",
    "largest_memory_mib": "largest memory, MiB, by videos",
    "step_seconds_by_pixels": "a step, s, by pixels",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plot", default="", metavar="FILE", help="write a picture")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", default="", help=argparse.SUPPRESS)  # one measurement
    options = parser.parse_args()
    if options.videos:
        folder, times, rounds = options.videos.split(":")
        print(json.dumps(videos(Path(folder), int(times), int(rounds))))
        return
    compilation.use_wide_vectors()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for times in TIMES:
                command = [sys.executable, __file__, f"--videos={folder}:{times}:{number}"]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                for key, value in json.loads(done.stdout.splitlines()[-1]).items():
                    rows.setdefault(key, {}).setdefault(times, []).append(value)
    rows["step_seconds_by_pixels"] = pixels(options.rounds)
    figures = {
        key: {times: statistics.median(values) for times, values in found.items()}
        for key, found in rows.items()
    }
    exponents = {key: exponent(found) for key, found in figures.items()}
    if options.plot:
        plot(figures, options.plot)
    if options.json:
        print(json.dumps({"figures": figures, "exponents": exponents}))
        return
    print(f"{'':26}" + "".join(f"{f'{times}x':>10}" for times in TIMES) + "  exponent")
    for key, found in figures.items():
        cells = "".join(f"{found[times]:10.2f}" for times in TIMES)
        print(f"{key:26}{cells}{exponents[key]:10.2f}")


def videos(folder: Path, times: int, number: int) -> dict[str, float]:
    """Ingest and one epoch of 100 * times videos in this process."""
    import jax

    from vid3d import config as configs, parallel
    from vid3d.data import pipeline, prepare
    from vid3d.datasets.index import find
    from vid3d.tf import quiet_tensorflow
    from vid3d.training.setup import set_up

    config = configs.default()
    config.data.source = "synthetic"
    config.data.synthetic.groups = 20 * times
    config.data.synthetic.videos_per_group = 1
    config.data.cache_dir = str(folder / f"{times}-{number}")
    config.data.size = 64
    config.data.memory_budget_mb = 0
    config.data.sampling = "random"
    config.model.features = (8,)
    config.model.hidden = 0
    index = find(config.data, config.seed)  # writes the videos
    quiet_tensorflow()  # its loading is no ingest
    start = time.perf_counter()
    prepared = prepare.prepare(config, index=index, quiet=True)
    ingest = time.perf_counter() - start
    setup = set_up(config, prepared)
    state = parallel.replicate(setup.state)
    steps = setup.steps_per_epoch

    def batches(first: int, last: int):
        flow = pipeline.train_batches(
            setup.train_clips, seed=0, batch_size=8, first_step=first, last_step=last
        )
        return parallel.prefetch(flow)

    for batch in batches(0, 1):
        state, sums = setup.train_step(state, batch)
    jax.block_until_ready(sums)
    start = time.perf_counter()
    for batch in batches(1, 1 + steps):
        state, sums = setup.train_step(state, batch)
    jax.block_until_ready(sums)
    return {
        "ingest_seconds": ingest,
        "epoch_seconds": time.perf_counter() - start,
        "largest_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def pixels(rounds: int) -> dict[int, list[float]]:
    """Seconds of a training step at growing sizes, by times the pixels of the smallest."""
    from train_step import vid3d

    random = np.random.default_rng(0)
    sides = {}
    for times, side in zip(TIMES, SIDES, strict=True):
        clips_BTHWC = random.integers(0, 256, (4, 10, side, side, 3), np.uint8)
        sides[times] = vid3d(clips_BTHWC, np.zeros(4, np.int32))
        sides[times].train()
    found = {times: [] for times in TIMES}
    for _ in range(3 * rounds):
        for times, side in sides.items():
            start = time.perf_counter()
            side.train()
            found[times].append(time.perf_counter() - start)
    return found


def exponent(found: dict[int, float]) -> float:
    times, values = zip(*found.items(), strict=True)
    return float(np.polyfit(np.log(times), np.log(values), 1)[0])


def plot(figures: dict[str, dict[int, float]], path: str) -> None:
    """A panel a figure: measured, and dashed what is linear from the first."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(figures), figsize=(3.2 * len(figures), 3))
    for axis, (key, found) in zip(axes, figures.items(), strict=True):
        times, values = zip(*found.items(), strict=True)
        axis.plot(times, values, marker="o")
        if not key.startswith("largest"):
            axis.plot(times, [values[0] * t for t in times], linestyle="--", color="grey")
        top = max(max(line.get_ydata()) for line in axis.lines)
        axis.set(title=TITLES[key], xlabel="times the smallest", ylim=(0, 1.1 * top))
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()

"""A whole training: `vid3d train` beside its bare step, and beside Keras `fit` on the same clips.

    python experiments/benchmarks/end_to_end.py [--json]

The tutorial's network on 10x112x112 clips, batch 8, about as many videos as the tutorial has. The
three take turns, an epoch each, Keras in a process of its own; the medians of the rounds count.
`train` reads its clips anew each epoch, shuffles, checks its numbers, keeps its records and saves a
checkpoint; the bare step gets one batch again and again; Keras holds the same uint8 clips as one
array in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
from peers import Peer
from train_step import CLASSES

from vid3d import compilation, config as configs, parallel
from vid3d.data import pipeline, prepare
from vid3d.training import loop
from vid3d.training.setup import set_up

SIZE, BATCH = 112, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Path(name), options.rounds)
    figures |= {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    if options.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:30} {value:.3f}" if isinstance(value, float) else f"{key:30} {value}")


def config_of(folder: Path, epochs: int):
    config = configs.default()
    config.data.source = "synthetic"
    config.data.synthetic.groups = 64
    config.data.synthetic.size = SIZE
    config.data.synthetic.num_frames = 10
    config.data.size = SIZE
    config.data.cache_dir = str(folder / "cache")
    config.train.epochs = epochs
    config.eval.every = "1 epoch"
    config.checkpoint.every = "100 epochs"
    return config


def measure(folder: Path, rounds: int) -> dict[str, float]:
    compilation.set_up()
    config = config_of(folder, 1)
    prepared = prepare.prepare(config, quiet=True)
    setup = set_up(config, prepared)
    clips = setup.train_clips
    batch = next(
        parallel.prefetch(
            pipeline.train_batches(clips, seed=0, batch_size=BATCH, first_step=0, last_step=1)
        )
    )
    state = parallel.replicate(setup.state)
    state, sums = jax.block_until_ready(setup.train_step(state, batch))
    steps = setup.steps_per_epoch

    clips_NTHWC = clips.read(clips.batch_records(np.arange(len(clips))))
    keras = Peer("train_step", "KerasFit", clips_NTHWC, clips.labels_N, BATCH)
    keras.call("fit", BATCH)  # compiles

    rates = {"train": [], "bare_step": [], "keras_fit": []}
    waits = []
    for number in range(rounds):
        workdir = folder / f"run{number}"
        loop.train(config_of(folder, 2), workdir)  # the first epoch compiles
        row = json.loads((workdir / "timings.jsonl").read_text().splitlines()[-1])
        rates["train"].append(row["clips_per_second"])
        waits.append(row["data_wait_fraction"])
        start = time.perf_counter()
        for _ in range(steps):
            state, sums = setup.train_step(state, batch)
        jax.block_until_ready(sums)
        rates["bare_step"].append(steps * BATCH / (time.perf_counter() - start))
        rates["keras_fit"].append(steps * BATCH / keras.call("fit", steps * BATCH).seconds)
    keras.close()

    def ratio(a: str, b: str) -> float:
        return statistics.median(x / y for x, y in zip(rates[a], rates[b], strict=True))

    return {
        "videos": len(clips),
        "classes": CLASSES,
        **{f"{name}_clips_per_second": statistics.median(found) for name, found in rates.items()},
        "train_over_bare_step": ratio("train", "bare_step"),
        "train_over_keras_fit": ratio("train", "keras_fit"),
        "data_wait_fraction": statistics.median(waits),
    }


if __name__ == "__main__":
    main()

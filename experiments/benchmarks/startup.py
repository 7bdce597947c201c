"""How long it takes to get going, and in how much memory.

    python experiments/benchmarks/startup.py [--json]

`vid3d --help`; a training of a single step (the tutorial's network, 10x112x112, batch 8, videos prepared) with an empty
compilation cache and again with a full one, each in a process of its own: its wall clock and its largest resident memory,
evaluation and checkpoint included. Then, in this process, what the training step costs before it runs: tracing, compiling,
and loading it from the cache instead. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax

from vid3d import compilation, config as configs, parallel
from vid3d.data import pipeline, prepare
from vid3d.training import loop

FIELDS = (
    "--config.data.source=synthetic", "--config.data.synthetic.groups=5",
    "--config.data.synthetic.size=112", "--config.data.size=112", "--config.train.epochs=1",
)  # fmt: skip
CONFIG = "from vid3d import config\n\n\ndef get_config():\n    return config.default()\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = processes(Path(name), options.rounds) | inside(Path(name), options.rounds)
    figures |= {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    if options.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:36} {value:.2f}" if isinstance(value, float) else f"{key:36} {value}")


def processes(folder: Path, rounds: int) -> dict[str, float]:
    """Seconds and MiB of whole processes."""
    file = folder / "startup.py"
    file.write_text(CONFIG)
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}

    def run(*arguments: str) -> tuple[float, float]:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "vid3d.cli", *arguments],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise RuntimeError(f"vid3d {' '.join(arguments)} failed")
        return time.perf_counter() - start, usage.ru_maxrss / 1024

    def train(number: str) -> tuple[float, float]:
        return run("train", f"--config={file}", *FIELDS, f"--workdir={folder / number}")

    run("prepare", f"--config={file}", *FIELDS)
    found = {"help": [], "one_step_first": [], "one_step_again": []}
    for number in range(rounds):
        found["help"].append(run("--help"))
        for entry in (folder / "cache" / "vid3d").glob("compiled*"):
            shutil.rmtree(entry)
        found["one_step_first"].append(train(f"first{number}"))
        found["one_step_again"].append(train(f"again{number}"))
    figures = {}
    for name, pairs in found.items():
        figures[f"{name}_seconds"] = statistics.median(seconds for seconds, _ in pairs)
        if name != "help":  # so small that the memory of this process, which it starts with, counts
            figures[f"{name}_mib"] = statistics.median(mib for _, mib in pairs)
    return figures


def inside(folder: Path, rounds: int) -> dict[str, float]:
    """Seconds that the training step takes before it runs."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    config = configs.default()
    for field in FIELDS:
        key, _, text = field.removeprefix("--config.").partition("=")
        configs.apply(config, key, text)
    prepared = prepare.prepare(config, quiet=True)
    found = {"trace": [], "compile": [], "trace_again": [], "load": []}
    for number in range(rounds):
        os.environ["XDG_CACHE_HOME"] = str(folder / f"cache{number}")
        compilation.set_up()
        for names in (("trace", "compile"), ("trace_again", "load")):
            jax.clear_caches()
            setup = loop.set_up(config, prepared)
            batch = next(
                parallel.prefetch(
                    pipeline.train_batches(
                        setup.train_clips, seed=0, batch_size=8, first_step=0, last_step=1
                    )
                )
            )
            state = parallel.replicate(setup.state)
            start = time.perf_counter()
            lowered = setup.train_step.lower(state, batch)
            found[names[0]].append(time.perf_counter() - start)
            start = time.perf_counter()
            lowered.compile()
            found[names[1]].append(time.perf_counter() - start)
    figures = {f"step_{name}_seconds": statistics.median(times) for name, times in found.items()}
    return figures | {"this_process_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    main()

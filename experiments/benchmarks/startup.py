"""How long it takes to get going, and in how much memory.

    python experiments/benchmarks/startup.py [--json]

`vid3d --help`; a training of a single step (the tutorial's network, 10x112x112, batch 8, videos
prepared) with an empty compilation cache and again with a full one: wall clock and largest resident
memory, evaluation and checkpoint included. Then what the training step alone costs before it runs:
tracing and compiling, and in the next start tracing and loading from the cache. Each in a process
of its own; medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIELDS = (
    "--config.data.source=synthetic", "--config.data.synthetic.groups=5",
    "--config.data.synthetic.size=112", "--config.data.size=112", "--config.train.epochs=1",
)  # fmt: skip
CONFIG = "from vid3d import config\n\n\ndef get_config():\n    return config.default()\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)  # one measurement
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step()))
        return
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Path(name), options.rounds)
    figures |= {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    if options.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:36} {value:.2f}" if isinstance(value, float) else f"{key:36} {value}")


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Seconds and MiB of whole processes, and what the step costs in two of them."""
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

    def step_alone() -> list[float]:
        command = [sys.executable, __file__, "--step"]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    def forget() -> None:
        for entry in (folder / "cache" / "vid3d").glob("compiled*"):
            shutil.rmtree(entry)

    run("prepare", f"--config={file}", *FIELDS)
    found = {"help": [], "one_step_first": [], "one_step_again": []}
    steps = {"first": [], "again": []}
    for number in range(rounds):
        found["help"].append(run("--help"))
        forget()
        found["one_step_first"].append(train(f"first{number}"))
        found["one_step_again"].append(train(f"again{number}"))
        forget()
        steps["first"].append(step_alone())
        steps["again"].append(step_alone())
    figures = {}
    for name, pairs in found.items():
        figures[f"{name}_seconds"] = statistics.median(seconds for seconds, _ in pairs)
        figures[f"{name}_mib"] = statistics.median(mib for _, mib in pairs)
    for name, second in (("first", "compile"), ("again", "load")):
        traced, rest = map(statistics.median, zip(*steps[name], strict=True))
        figures[f"step_{name}_trace_seconds"] = traced
        figures[f"step_{name}_{second}_seconds"] = rest
    return figures


def step() -> tuple[float, float]:
    """Seconds for tracing the step in a new process, and for compiling it or loading it."""
    from vid3d import process

    process.start_program()  # as the commands begin
    from vid3d import compilation, config as configs, parallel
    from vid3d.data import pipeline, prepare
    from vid3d.training.setup import set_up

    process.end_imports()
    compilation.set_up()
    config = configs.default()
    for field in FIELDS:
        key, _, text = field.removeprefix("--config.").partition("=")
        configs.apply(config, key, text)
    setup = set_up(config, prepare.prepare(config, quiet=True))
    flow = pipeline.train_batches(
        setup.train_clips, seed=0, batch_size=8, first_step=0, last_step=1
    )
    batch, state = next(parallel.prefetch(flow)), parallel.replicate(setup.state)
    start = time.perf_counter()
    lowered = setup.train_step.lower(state, batch)
    traced = time.perf_counter()
    lowered.compile()
    return traced - start, time.perf_counter() - traced


if __name__ == "__main__":
    main()

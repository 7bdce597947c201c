"""Kills a training again and again, and holds its end against that of one that was left alone.

    python experiments/soak.py [--kills=25] [--seed=0]          # or: make soak

SIGKILL comes at seeded random moments: while the process starts, while videos are being decoded, after a row of metrics.jsonl,
after the folder of a checkpoint appears and after a checkpoint is whole (so that it hits steps, evaluations, saves and the
renames in them), and while `vid3d evaluate` runs. In the end parameters and optimizer state have to be equal bit for bit, metrics.jsonl and
predictions.csv byte for byte, the best checkpoint the same step, and nothing half-written may be left. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from vid3d import checkpoint

CONFIG = (
    "--config=configs/demo.py:smoke", "--config.data.size=16", "--config.data.num_frames=6",
    "--config.data.sampling=random", "--config.model.features=4", "--config.model.dropout=0.3",
)  # fmt: skip
LATEST = 0.5  # seconds after what a kill waits for


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="vid3d-soak-") as name:
        folder = Path(name)
        epochs = f"--config.train.epochs={options.kills + 2}"
        alone, killed = (Run(folder / which, epochs) for which in ("alone", "killed"))
        alone.finish()
        moments = Counter()
        resumed = 0
        kinds = ["checkpoint", "save", "checkpoint", "row", "checkpoint", "decode", "start"]
        for number in range(options.kills):
            kind = kinds[number % len(kinds)]
            before = killed.step()
            if killed.kill(kind, chance):
                moments[kind] += 1
                resumed += before > 0
                print(f"kill {number + 1}: {kind}, at step {before} to {killed.step()}", flush=True)
        killed.finish(kill_evaluation_after=chance.uniform(1, 8))
        found = differences(alone, killed)
    for line in found:
        print(line)
    print(
        f"{sum(moments.values())} kills ({', '.join(f'{n} {k}' for k, n in moments.items())}) and one of the "
        f"evaluation; {resumed} resumes from a step above 0; "
        + ("the end differs" if found else "the end is the same, bit for bit")
    )
    return 1 if found else 0


class Run:
    """One workdir with a cache of its own."""

    def __init__(self, folder: Path, epochs: str):
        self.workdir, self.cache = folder / "run", folder / "cache"
        self.train = ("train", *CONFIG, epochs, f"--workdir={self.workdir}")
        self.environment = os.environ | {"XDG_CACHE_HOME": str(self.cache), "XLA_FLAGS": ""}

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "vid3d.cli", *arguments],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def step(self) -> int:
        return max(checkpoint.steps(self.workdir), default=0)

    def kill(self, kind: str, chance: random.Random) -> bool:
        """Starts the training and kills it; False where it ended by itself before that."""
        if kind == "decode":
            for folder in (self.cache / "vid3d").glob("frames-*"):
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        watched = self.watch(kind)
        before = watched()
        process = self.start(*self.train)
        limit = time.monotonic() + (chance.uniform(0, 8) if kind == "start" else 600)
        while watched() == before and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, LATEST))
        process.kill()
        return process.wait() < 0

    def watch(self, kind: str) -> Callable[[], object]:
        """What changes at the moment that is waited for."""
        if kind == "row":
            rows = self.workdir / "metrics.jsonl"
            return lambda: rows.stat().st_size if rows.exists() else 0
        if kind == "checkpoint":
            return self.step
        folder, pattern = {
            "start": (self.cache, "nothing"),
            "decode": (self.cache / "vid3d", "incomplete.frames-*"),
            "save": (self.workdir / "checkpoints", "*"),
        }[kind]
        # An earlier kill may have left a folder of the same name.
        seen = entries(folder, pattern)
        return lambda: bool(entries(folder, pattern) - seen)

    def finish(self, kill_evaluation_after: float = 0.0) -> None:
        """Trains to the end and evaluates."""
        evaluate = ("evaluate", f"--workdir={self.workdir}")
        if self.start(*self.train).wait():
            raise SystemExit(f"{self.workdir}: the training does not finish")
        if kill_evaluation_after:
            process = self.start(*evaluate)
            time.sleep(kill_evaluation_after)
            process.kill()
            process.wait()
        if self.start(*evaluate).wait():
            raise SystemExit(f"{self.workdir}: the evaluation does not finish")


def entries(folder: Path, pattern: str) -> set[tuple[str, int]]:
    """Name and last change of what is in a folder; an inode would be used again."""
    found = set()
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            found.add((path.name, path.stat().st_ctime_ns))
    return found


def differences(a: Run, b: Run) -> list[str]:
    """What is not the same at the end of two runs, and what is left half-written."""
    found = []
    for name in ("metrics.jsonl", "evaluation/test-best/predictions.csv"):
        if (a.workdir / name).read_bytes() != (b.workdir / name).read_bytes():
            found.append(f"{name} differs")
    if checkpoint.resolve(a.workdir) != checkpoint.resolve(b.workdir):
        found.append("another checkpoint is the best")
    if a.step() != b.step():
        return [*found, f"the last checkpoint is {b.step()} instead of {a.step()}"]
    for item in ("weights", "optimizer"):
        leaves = [
            jax.tree.leaves(checkpoint.restore_item(run.workdir, run.step(), item))
            for run in (a, b)
        ]
        if len(leaves[0]) != len(leaves[1]) or not all(map(np.array_equal, *leaves)):
            found.append(f"the {item} differ")
    for place in (b.workdir, b.cache):
        found += [f"left behind: {path}" for path in place.rglob("*incomplete*")]
    folders = [path for path in (b.workdir / "checkpoints").iterdir() if path.is_dir()]
    found += [
        f"left behind: {path}" for path in folders if not (path / checkpoint.MANIFEST).is_file()
    ]
    return found


if __name__ == "__main__":
    sys.exit(main())

"""Kills a training run again and again, and compares its end with that of one left alone.

    python experiments/soak.py [--kills=25] [--seed=0]          # or: make soak

SIGKILL comes in each place of a run in turn: while the process starts, while it decodes, in a
step, in an evaluation, in a save, between the temporary write of a checkpoint and its rename,
between that and its manifest, and while an old one is deleted. The process has to write a row of
metrics.jsonl or a checkpoint first, then goes on for a seeded random moment, and is killed when it
is in the place next. `vid3d evaluate` is killed as well. In the end parameters and optimizer state
have to be equal bit for bit, metrics.jsonl and predictions.csv byte for byte, the best checkpoint
the same step, and nothing half-written may be left. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import inspect
import os
import random
import re
import shutil
import signal
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
from vid3d.checkpoint import writing
from vid3d.data import prepare
from vid3d.training import loop

CONFIG = (
    "--config=configs/demo.py:smoke", "--config.data.size=16", "--config.data.num_frames=6",
    "--config.data.sampling=random", "--config.model.features=4", "--config.model.dropout=0.3",
)  # fmt: skip
LATEST = 0.5  # seconds that a process goes on after it has written something
ORDER = (
    "before the rename", "in a step", "in an evaluation", "before the manifest", "while decoding",
    "at the start", "in a save", "in a deletion",
)  # fmt: skip
# The place is told by the functions that the main thread is in; the first that fits.
FUNCTIONS: dict[str, Callable] = {
    "in a save": writing.CheckpointStore.save,
    "in an evaluation": loop.validate,
    "in a step": loop.run,
    "while decoding": prepare.build,
}
PROGRAM = """
import faulthandler, signal, sys
faulthandler.register(signal.SIGUSR1, file=open(sys.argv.pop(1), "w"), all_threads=True)
from vid3d.cli import main
sys.exit(main())
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="vid3d-soak-") as name:
        folder = Path(name)
        epochs = f"--config.train.epochs={2 * options.kills + 20}"
        alone, killed = (SoakedRun(folder / which, epochs) for which in ("alone", "killed"))
        alone.finish()
        places: Counter[str] = Counter()
        resumed = 0
        for number in range(options.kills):
            place = ORDER[number % len(ORDER)]
            before = killed.step()
            if killed.kill(place, chance):
                places[place] += 1
                resumed += before > 0
                print(
                    f"kill {number + 1}: {place}, at step {before} to {killed.step()}", flush=True
                )
        killed.finish(kill_evaluation_after=chance.uniform(1, 8))
        found = differences(alone, killed)
        found += [f"no kill {place}" for place in ORDER[: options.kills] if not places[place]]
    for line in found:
        print(line)
    print(
        f"{sum(places.values())} kills ({', '.join(f'{n} {k}' for k, n in places.items())}) and "
        f"one of the evaluation; {resumed} resumes from a step above 0; "
        + ("the end differs" if found else "the end is the same, bit for bit")
    )
    return 1 if found else 0


class SoakedRun:
    """One workdir with a cache of its own."""

    def __init__(self, folder: Path, epochs: str):
        self.workdir, self.cache = folder / "run", folder / "cache"
        self.stacks = folder / "stacks.txt"  # of all threads, each time they were asked for
        self.train = ("train", *CONFIG, epochs, f"--workdir={self.workdir}")
        self.environment = os.environ | {"XDG_CACHE_HOME": str(self.cache), "XLA_FLAGS": ""}
        folder.mkdir()

    def start(self, *arguments: str) -> subprocess.Popen:
        self.stacks.unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.stacks), *arguments],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def step(self) -> int:
        return max(checkpoint.Workdir(self.workdir).checkpoints(), default=0)

    def rows(self) -> int:
        """Bytes of metrics.jsonl."""
        path = self.workdir / "metrics.jsonl"
        return path.stat().st_size if path.exists() else 0

    def kill(self, place: str, chance: random.Random) -> bool:
        """Starts the training and kills it in this place; False where it ended before that."""
        if place == "while decoding":
            for folder in (self.cache / "vid3d").glob("frames-*"):
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        written = self.rows if place == "in an evaluation" else self.step
        before = written()
        process = self.start(*self.train)
        if place == "at the start":
            time.sleep(chance.uniform(0, 8))
        else:
            if place != "while decoding":
                wait_until(lambda: written() != before, process)
            time.sleep(chance.uniform(0, LATEST))
            wait_until(lambda: self.is_in(place, process), process)
        process.kill()
        return process.wait() < 0

    def is_in(self, place: str, process: subprocess.Popen) -> bool:
        """Whether the process is in this place now."""
        if place in FUNCTIONS:
            return place == self.place_of_main_thread(process)
        if not self.is_interrupted(place):
            return False
        # It shall not leave the place before it is killed.
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if self.is_interrupted(place):
            return True
        process.send_signal(signal.SIGCONT)
        return False

    def is_interrupted(self, place: str) -> bool:
        """Whether a checkpoint is half there.

        It is under its temporary name with parts that are whole, or without its manifest, which the
        newest does not have yet and an old one has no more.
        """
        folder = self.workdir / "checkpoints"
        if place == "before the rename":
            return any(folder.glob("*.orbax-checkpoint-tmp*/meta/metadata"))
        half = [
            int(p.name)
            for p in folder.iterdir()
            if p.name.isdigit() and not (p / checkpoint.MANIFEST).exists()
        ]
        is_old = place == "in a deletion"
        return any((step < self.step()) == is_old for step in half)

    def place_of_main_thread(self, process: subprocess.Popen) -> str:
        """Asks the process what it is doing."""
        if not self.stacks.exists():
            return "at the start"  # it would not survive the question
        size = self.stacks.stat().st_size
        process.send_signal(signal.SIGUSR1)
        limit = time.monotonic() + 1
        while self.stacks.stat().st_size == size and time.monotonic() < limit:
            time.sleep(0.001)
        with self.stacks.open() as file:
            file.seek(size)
            text = file.read()
        return place_in(text)

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


def place_in(stacks: str) -> str:
    """The place that stacks written by faulthandler are in, or ""."""
    for place, function in FUNCTIONS.items():
        if re.search(frame_pattern(function), stacks):
            return place
    return ""


def frame_pattern(function: Callable) -> str:
    """A regular expression for a function's line in a stack written by faulthandler."""
    code = inspect.unwrap(function).__code__
    return rf'File "{re.escape(code.co_filename)}", line \d+ in {code.co_name}\b'


def wait_until(happened: Callable[[], bool], process: subprocess.Popen) -> None:
    """Until then, or until the process has ended."""
    while process.poll() is None and not happened():
        time.sleep(0.0005)


def differences(a: SoakedRun, b: SoakedRun) -> list[str]:
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
    whole = {str(step) for step in checkpoint.Workdir(b.workdir).checkpoints()}
    found += [f"left behind: {path}" for path in folders if path.name not in whole]
    return found


if __name__ == "__main__":
    sys.exit(main())

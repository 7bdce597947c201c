"""Cross-validation over the folds of a manifest: each is tested once, the next one validates.

    python experiments/folds.py --config=configs/videos.py --root=DIR --workdir=runs/fights \
        [--config.KEY=VALUE ...]

Trains and evaluates in processes of their own and prints a table: accuracy a fold, and over all
folds the share of all videos that were right, with its 95% interval. Videos of one source are
alike, so that the interval is that over sources, not videos. The same call goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from vid3d.checkpoint import Workdir
from vid3d.checkpoint.rows import chosen_row
from vid3d.evaluation.metrics import group_interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", required=True)
    parser.add_argument("--root", required=True, help="the folder with manifest.csv")
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--seeds", type=int, default=1)
    options, overrides = parser.parse_known_args()

    with (Path(options.root) / "manifest.csv").open() as file:
        manifest = list(csv.DictReader(file))
    group_of = {row["path"]: row["group"] for row in manifest}
    folds = sorted({row["fold"] for row in manifest}, key=int)
    started = time.time()
    right: dict[str, list[bool]] = {}
    print(
        f"{'seed':>4} {'fold':>4} {'videos':>6} {'accuracy':>8} {'validation':>10} {'minutes':>7}"
    )
    for seed in range(options.seeds):
        for fold in folds:
            following = folds[(folds.index(fold) + 1) % len(folds)]
            workdir = f"{options.workdir}/seed{seed}-fold{fold}"
            clock = time.time()
            vid3d(
                "train", f"--config={options.config}", f"--config.data.root={options.root}",
                f"--config.data.test_fold={fold}", f"--config.data.val_fold={following}",
                f"--config.seed={seed}", f"--workdir={workdir}", *overrides,
            )  # fmt: skip
            figures = json.loads(vid3d("evaluate", f"--workdir={workdir}", "--json"))
            run = Workdir(workdir)
            validated = chosen_row(run.rows(), run.config().checkpoint.choose)
            with (Path(workdir) / "evaluation" / "test-best" / "predictions.csv").open() as file:
                for row in csv.DictReader(file):
                    right.setdefault(row["path"], []).append(row["true"] == row["predicted"])
            print(
                f"{seed:>4} {fold:>4} {figures['num_videos']:>6} {figures['accuracy']:>8.3f} "
                f"{validated['val/accuracy']:>10.3f} "
                f"{(time.time() - clock) / 60:>7.1f}",
                flush=True,
            )
    shares = [np.mean(answers) for answers in right.values()]
    groups = [group_of[path] for path in right]
    low, high = group_interval(shares, groups)
    mean = np.mean(shares)
    print(
        f"mean test accuracy {mean:.3f} (95% interval {low:.3f} to {high:.3f}), protocol: "
        f"{figures['protocol']}, {len(right)} videos of {len(set(group_of.values()))} sources, "
        f"{options.seeds} seed(s), {(time.time() - started) / 60:.0f} minutes"
    )


def vid3d(*arguments: str) -> str:
    """Runs one command; its progress goes to standard error."""
    command = [sys.executable, "-m", "vid3d.cli", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()

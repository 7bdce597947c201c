"""The search for the defaults of configs/videos.py: recipes, compared on validation videos alone.

    python experiments/search.py --root=DIR --workdir=runs/search [--seeds=2] [RECIPE ...]

Trains every recipe once a fold of DIR/manifest.csv and a seed, with the fold after the tested one
as validation, and prints a line a recipe: accuracy and loss on the validation videos at the end of
the training (the mean of the last quarter of the evaluations: with fifty videos a single one jumps
by chance), the accuracy of the best evaluation and of the training, and minutes of processor time.
No test video is looked at. The same call goes on where it stopped.

A video that validates one fold tests another: over all folds the choice of a recipe has seen every
label, though no network was chosen by its test.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from vid3d import compilation, config as configs
from vid3d.cli import quiet_libraries

# What configs/videos.py was before the search; a recipe is what it changes.
START = {
    "data.num_frames": 16,
    "data.size": 64,
    "data.sampling": "uniform",
    "data.color": "gray",
    "augment.flip": "auto",
    "model.features": (16, 32, 64, 64),
    "model.pool": (2, 2, 2),
    "model.input": "difference",
    "model.norm": "batch",
    "model.head": "average",
    "model.hidden": 0,
    "model.feature_dropout": 0.0,
    "model.dropout": 0.3,
    "optim.name": "adamw",
    "optim.learning_rate": 2e-3,
    "optim.weight_decay": 1e-2,
    "optim.schedule": "cosine",
    "train.epochs": 20,
}
SMALL = {"data.size": 32}
CROP = {"augment.crop": "resized", "augment.crop_scale": (0.4, 1.0)}
LONG = {"train.epochs": 40, "optim.ema": 0.98, "optim.label_smoothing": 0.1}
FEW = SMALL | CROP | {"data.num_frames": 26, "train.epochs": 16, "optim.ema": 0.98}
STATISTICS = {"model.head": "statistics"}
LOG = FEW | STATISTICS | {"model.input": "log_speed"}
RECIPES = {
    "small": SMALL,
    "small-crop": SMALL | CROP,
    "small-crop-long": SMALL | CROP | LONG,
    "small-crop-both": SMALL | CROP | {"model.input": "both"},
    "small-crop-frames": SMALL | CROP | {"data.num_frames": 32},
    "few": FEW,
    "few-statistics": FEW | STATISTICS,
    "few-speed": FEW | {"model.input": "speed"},
    "few-speed-statistics": FEW | STATISTICS | {"model.input": "speed"},
    "log": LOG,
    "log-half": LOG | {"model.features": (8, 16, 32, 32)},
    "log-smooth": LOG | {"optim.label_smoothing": 0.1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--root", required=True, help="the folder with manifest.csv")
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES), metavar="RECIPE")
    options = parser.parse_args()
    unknown = set(options.recipes) - set(RECIPES)
    if unknown:
        parser.error(f"no recipe {', '.join(sorted(unknown))}: there is {', '.join(RECIPES)}")
    quiet_libraries()
    compilation.set_up()
    print(f"{'recipe':<24} {'accuracy':>8} {'loss':>6} {'best':>6} {'train':>6} {'minutes':>7}")
    for name in options.recipes:
        clock = time.process_time()
        rows = [
            train(name, options, fold=fold, seed=seed)
            for seed in range(options.seeds)
            for fold in range(options.folds)
        ]
        accuracy, loss, best, fitted = np.mean(rows, axis=0)
        print(
            f"{name:<24} {accuracy:>8.3f} {loss:>6.3f} {best:>6.3f} {fitted:>6.3f} "
            f"{(time.process_time() - clock) / 60:>7.1f}",
            flush=True,
        )


def train(name: str, options: argparse.Namespace, *, fold: int, seed: int) -> tuple[float, ...]:
    """Trains a recipe on a fold; returns late accuracy and loss, and best and training accuracy."""
    from vid3d.process import RESUME_ME
    from vid3d.training.loop import train

    config = configs.default()
    split = {
        "seed": seed,
        "data.root": options.root,
        "data.decode_timeout": 600.0,
        "data.test_fold": fold,
        "data.val_fold": (fold + 1) % options.folds,
        "eval.every": "2 epochs",
        "checkpoint.every": "10 epochs",
    }
    for key, value in (START | RECIPES[name] | split).items():
        configs.apply(config, key, value)
    configs.validate(config)
    workdir = Path(options.workdir) / name / f"seed{seed}-fold{fold}"
    if not train(config, workdir):
        raise SystemExit(RESUME_ME)
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    late = rows[-max(len(rows) // 4, 1) :]
    return (
        np.mean([row["val/accuracy"] for row in late]),
        np.mean([row["val/loss"] for row in late]),
        max(row["val/accuracy"] for row in rows),
        rows[-1]["train/accuracy"],
    )


if __name__ == "__main__":
    main()

"""What a classifier of videos has to beat: the majority, and a ridge on nine simple statistics.

    python experiments/floors.py DIR          # a folder with manifest.csv: path,label,group,fold

Each fold is tested once. The statistics of a video, of brightness and motion, on grey 64x64 frames:
mean, deviation, minimum and maximum over time of the mean brightness; mean, deviation and maximum
over time of the mean absolute difference of neighbouring frames; the mean over space of the
deviation in time; and the number of frames. The interval is over sources, as in
`vid3d cv`.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vid3d.config import default
from vid3d.evaluation.metrics import group_interval
from vid3d.video.frames import read_video


def main(root: Path) -> None:
    with (root / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    config = default()
    config.data.size, config.data.color = 64, "gray"
    x = np.stack(
        [statistics(read_video(root / row["path"], config.data).frames_THWC) for row in rows]
    )
    labels = np.array([row["label"] for row in rows])
    folds = np.array([row["fold"] for row in rows])
    groups = [row["group"] for row in rows]
    right = {name: np.zeros(len(rows)) for name in ("majority", "ridge on nine statistics")}
    for fold in sorted(set(folds)):
        train, test = folds != fold, folds == fold
        names, counts = np.unique(labels[train], return_counts=True)
        right["majority"][test] = labels[test] == names[counts.argmax()]
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-2, 3, 11)))
        predicted = model.fit(x[train], labels[train]).predict(x[test])
        right["ridge on nine statistics"][test] = predicted == labels[test]
    for name, shares in right.items():
        low, high = group_interval(shares, groups)
        print(
            f"{name}: {shares.mean():.3f} (95% interval {low:.3f} to {high:.3f}), protocol: "
            f"manifest, {len(rows)} videos of {len(set(groups))} sources, {len(set(folds))} folds"
        )


def statistics(frames_THWC: np.ndarray) -> np.ndarray:
    frames = frames_THWC.astype(np.float32) / 255
    brightness = frames.mean(axis=(1, 2, 3))
    motion = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    return np.array(
        [
            brightness.mean(), brightness.std(), brightness.min(), brightness.max(),
            motion.mean(), motion.std(), motion.max(), frames.std(axis=0).mean(), len(frames),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))

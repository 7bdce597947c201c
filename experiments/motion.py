"""Which form of motion tells the classes apart? A linear classifier on its statistics says.

    python experiments/motion.py DIR          # a folder with manifest.csv: path,label,group,fold

For each fold the one after it is the validation fold, and the others train; the fold itself, which
would be the test, is not looked at: the figures are of validation videos alone. A clip is grey,
32x32, its frames spread over the whole video, in one of the forms of `config.model.input` that show
motion. Its statistics, for each channel: mean, deviation and six quantiles over time and space;
five quantiles in time of the mean over space, and its deviation; three in time of the 0.95 quantile
over space; four in space of the mean over time. Logistic regression, standardised, C = 0.1.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vid3d.config import default
from vid3d.models.layers import input_form
from vid3d.video.clips import clip_indices
from vid3d.video.frames import read_video


def main(root: Path) -> None:
    with (root / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    config = default()
    config.data.size, config.data.color = 32, "gray"
    videos = [read_video(root / row["path"], config.data) for row in rows]
    labels = np.array([row["label"] for row in rows])
    folds = np.array([int(row["fold"]) for row in rows])
    count = folds.max() + 1
    print("frames input       accuracy   loss")
    for num_frames in (10, 16, 26, 32):
        config.data.num_frames = num_frames
        clips = [
            video.frames_THWC[clip_indices(video.times_T, config.data, sampling="uniform")]
            for video in videos
        ]
        for form in ("difference", "both", "speed", "log_speed"):
            x = np.stack([statistics(clip, form) for clip in clips])
            probabilities = np.zeros((len(rows), len(set(labels))))
            for fold in range(count):
                validation = folds == (fold + 1) % count
                train = ~validation & (folds != fold)
                model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
                model.fit(x[train], labels[train])
                probabilities[validation] = model.predict_proba(x[validation])
            accuracy = np.mean(model.classes_[probabilities.argmax(axis=1)] == labels)
            loss = log_loss(labels, probabilities)
            print(f"{num_frames:>6} {form:<11} {accuracy:>8.3f} {loss:>6.3f}", flush=True)


def statistics(frames_THWC: np.ndarray, form: str) -> np.ndarray:
    """The statistics of a clip in one form of the input, channel after channel."""
    clips_BTHWC = frames_THWC[None].astype(np.float32) / 255
    return np.concatenate(
        [
            of_channel(x_THW)
            for x_THW in np.moveaxis(np.asarray(input_form(clips_BTHWC, form))[0], -1, 0)
        ]
    )


def of_channel(x_THW: np.ndarray) -> np.ndarray:
    frame_T, place_HW = x_THW.mean(axis=(1, 2)), x_THW.mean(axis=0)
    return np.concatenate(
        [
            [x_THW.mean(), x_THW.std(), frame_T.std()],
            np.quantile(x_THW, [0.5, 0.75, 0.9, 0.95, 0.99, 0.999]),
            np.quantile(frame_T, [0, 0.25, 0.5, 0.75, 1]),
            np.quantile(np.quantile(x_THW, 0.95, axis=(1, 2)), [0, 0.5, 1]),
            np.quantile(place_HW, [0.5, 0.9, 0.99, 1]),
        ]
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

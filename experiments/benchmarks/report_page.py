"""How long the page of a large evaluation takes, and how large it is: as many videos and classes as
UCF-101's first test split has, drawn at random, with frames of 112x112.

    python experiments/benchmarks/report_page.py
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from vid3d import config
from vid3d.checkpoint import Workdir
from vid3d.evaluation import calibration, metrics
from vid3d.report import page, strips, write
from vid3d.report.answers import Answers
from vid3d.report.choose import choose

VIDEOS, CLASSES, FRAMES, SIZE = 3783, 101, strips.MOST_FRAMES, 112


def answers() -> Answers:
    """Of 3,783 videos in 101 classes, about 80% right."""
    rng = np.random.default_rng(0)
    labels_N = rng.integers(0, CLASSES, VIDEOS)
    logits_NK = rng.normal(size=(VIDEOS, CLASSES))
    logits_NK[np.arange(VIDEOS), labels_N] += 3.4
    p_NK = np.exp(logits_NK) / np.exp(logits_NK).sum(axis=1, keepdims=True)
    classes = [f"Class{k}" for k in range(CLASSES)]
    groups = [f"{label}-{i % 7}" for i, label in enumerate(labels_N)]
    names = [f"Class{label}/v_Class{label}_g{i:04d}.avi" for i, label in enumerate(labels_N)]
    losses_N = -np.log(p_NK[np.arange(VIDEOS), labels_N])
    figures = metrics.summarise(p_NK, losses_N, labels_N, classes, groups=groups)
    figures["calibration"] |= {
        "temperature": 1.5, "fitted_on": 900, "chose_checkpoint": True,
        "before": calibration.summarise(p_NK, labels_N, groups),
    }  # fmt: skip
    figures |= {
        "split": "test", "checkpoint": "best", "step": 1, "protocol": "official1", "data": "x",
        "num_expected": VIDEOS, "notes": [], "environment": {"vid3d": "", "versions": {}},
    }  # fmt: skip
    return Answers(
        figures, Path(), tuple(classes), names, groups, labels_N, p_NK.astype(np.float32)
    )


def clip(seed: int) -> np.ndarray:
    """A textured picture that moves: uint8 [T, H, W, 3]."""
    noise = np.random.default_rng(seed).integers(0, 256, (24, 40, 3), np.uint8)
    wide = cv2.resize(noise, (SIZE * 2, SIZE), interpolation=cv2.INTER_CUBIC)
    return np.stack([wide[:, 4 * t : 4 * t + SIZE] for t in range(FRAMES)])


def main() -> None:
    found = answers()
    began = time.perf_counter(), time.process_time()
    chosen = choose(found)
    side = strips.side_of(len(chosen.moving))
    uris, left = {}, write.STRIP_BYTES
    for video in chosen.moving:
        uri = strips.as_uri(clip(video), np.arange(FRAMES) / 12, side=side)
        left -= len(uri)
        if left < 0:
            break
        uris[video] = uri
    with TemporaryDirectory() as folder:
        content = page.Content(Workdir(folder), found, config.default(), chosen, uris, None, "")
        size = len(page.build(content).encode())
    wall, cpu = (
        now - then
        for now, then in zip((time.perf_counter(), time.process_time()), began, strict=True)
    )
    print(
        f"{VIDEOS} videos, {CLASSES} classes: {wall:.1f} s ({cpu:.1f} s of processor time), "
        f"{size / 1e6:.1f} MB, {len(uris)} moving clips"
    )


if __name__ == "__main__":
    main()

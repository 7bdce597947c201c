"""The embedded data set as long recordings: its five motions one after another, with pauses.

In a recording, the shape and the background stay as they are. Stretches of motion, each with its
own arc, come in a random order, and between most of them the shape rests at a point. Neighbours
with the same label always have a pause between them. Frames come at a rate that changes from
stretch to stretch and from frame to frame.

A single frame tells neither a motion nor a pause, since the shape rests where it also passes. So a
network whose answer is a mean over frames, such as the one of `demo:untrimmed-baseline`, stays at
chance in finding pauses, too.
"""

from __future__ import annotations

import csv
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from vid3d import cache
from vid3d.config import cache_folder
from vid3d.datasets import manifest
from vid3d.datasets.synthetic import (
    LABELS,
    Look,
    check_settings,
    draw_look,
    draw_path,
    paint,
)
from vid3d.process import cores
from vid3d.terminal import VideoProgress, make_console
from vid3d.video.writer import VideoWriter

VERSION = 1  # of the pictures; a change draws them again
PAUSE = ""  # the label of a pause
RATES = (20, 25, 30)  # frames per second
JITTER = 5  # milliseconds that a frame may come earlier or later
UNPAUSED = 0.25  # share of the neighbours with different labels that have no pause between them


class Part(NamedTuple):
    """A part of a recording.

    Attributes:
        label: of the motion, or `PAUSE`.
        num_frames: of the part.
    """

    label: str
    num_frames: int


def write(data: ConfigDict, seed: int) -> Path:
    """Writes the recordings into the cache, unless they are there, and returns their folder.

    It has `r001.mp4` and so on, H.264 with frame times in whole milliseconds, and a `manifest.csv`
    with `path,label,start,end` of every motion.

    Args:
        data: `config.data`; the group `synthetic` and cache_dir are read: `groups` recordings, each
            with `videos_per_group` motions of each class, of `num_frames` to twice as many.
        seed: the pictures are a function of it and of `data.synthetic`.

    Raises:
        UserError: see `synthetic.check_settings`; the cache cannot be written.
    """
    settings = data.synthetic
    check_settings(settings)
    asked = repr((VERSION, seed, sorted(settings.to_dict().items())))
    name = hashlib.sha256(asked.encode()).hexdigest()[:16]
    folder = cache_folder(data.cache_dir) / f"synthetic-recordings-{name}"
    cache.make_once(folder, lambda empty: write_all(empty, settings, seed))
    return folder


def write_all(folder: Path, settings: ConfigDict, seed: int) -> None:
    """Writes the recordings, one thread per core, and then their manifest."""
    numbers = range(1, settings.groups + 1)
    rows = []
    with (
        VideoProgress(settings.groups, make_console(), doing="drawing") as progress,
        ThreadPoolExecutor(cores()) as pool,
    ):
        for found in pool.map(lambda number: write_one(folder, settings, seed, number), numbers):
            rows += found
            progress.advance()
    with (folder / manifest.NAME).open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "label", "start", "end"), *rows])


def write_one(
    folder: Path, settings: ConfigDict, seed: int, number: int
) -> list[tuple[str, str, str, str]]:
    """Writes one recording, and returns its lines of the manifest."""
    rng = np.random.default_rng([seed, number, 1])  # other pictures than those of short videos
    look = draw_look(rng, settings.size)
    path = folder / f"r{number:03d}.mp4"
    rows, now = [], 0  # milliseconds
    with VideoWriter(path, fps=RATES[0]) as writer:
        for part in draw_parts(rng, settings.videos_per_group, settings.num_frames):
            start = now
            frames_THWC = draw_part(rng, look, part)
            for frame_HWC, interval in zip(frames_THWC, intervals(rng, part), strict=True):
                writer.write(frame_HWC, now / 1000)
                now += interval
            if part.label != PAUSE:
                rows.append((path.name, part.label, f"{start / 1000:.3f}", f"{now / 1000:.3f}"))
    return rows


def draw_parts(rng: np.random.Generator, per_class: int, fewest: int) -> list[Part]:
    """The motions of a recording in a random order, with the pauses between and around them."""
    labels = rng.permutation(np.repeat(LABELS, per_class)).tolist()
    parts: list[Part] = []
    for before, label in zip([None, *labels], labels, strict=False):
        if before is None or before == label or rng.uniform() >= UNPAUSED:
            parts.append(Part(PAUSE, int(rng.integers(fewest, 2 * fewest + 1))))
        parts.append(Part(label, int(rng.integers(fewest, 2 * fewest + 1))))
    return [*parts, Part(PAUSE, int(rng.integers(fewest, 2 * fewest + 1)))]


def draw_part(rng: np.random.Generator, look: Look, part: Part) -> np.ndarray:
    """The frames of a part, uint8 RGB [T, H, W, 3]; a pause shows a point of a motion's arc."""
    motion = part.label or str(rng.choice(LABELS))
    places_N2, visits_T, noise = draw_path(
        rng, look.background_HWC.shape[0], motion, part.num_frames
    )
    if part.label == PAUSE:
        visits_T = np.full_like(visits_T, visits_T[0])
    return paint(rng, look, places_N2, visits_T, noise)


def intervals(rng: np.random.Generator, part: Part) -> list[int]:
    """Milliseconds from each frame of a part to the next."""
    mean = round(1000 / int(rng.choice(RATES)))
    return (mean + rng.integers(-JITTER, JITTER + 1, part.num_frames)).tolist()

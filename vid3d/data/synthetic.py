"""The embedded data set: five classes that differ in motion and in nothing else, as real video files.

A coloured shape jumps between five points of a circle, round and round, and each round visits every point once. There
are 24 such rounds (cyclic orders of five points); up to turns and mirrors of the circle they fall into five kinds, and
these are the classes:

    clockwise         0 1 2 3 4
    counterclockwise  0 4 3 2 1
    leap              0 2 4 1 3    over the next point, either way round
    swing             0 2 4 3 1    out along the even points, back along the odd ones, or mirrored
    wander            0 1 2 4 3    round with one stumble, or mirrored

Any ten frames in a row, and any video as a whole, show each point equally often, in every class. So neither one frame nor
the unordered frames tell anything: a network that does not see the order stays at chance, 1 in 5. To make sure of that,
the videos of a group, five classes with `videos_per_group` each, share their background, shape and colours.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from vid3d.config import UserError
from vid3d.data import cache
from vid3d.data.report import Progress

VERSION = 1  # of the pictures; a change draws them again
GROUP_PATTERN = r"_(g\d+)_"
FPS = 25.0
POINTS = 5
ORDERS = {
    "Clockwise": ((0, 1, 2, 3, 4),),
    "Counterclockwise": ((0, 4, 3, 2, 1),),
    "Leap": ((0, 2, 4, 1, 3), (0, 3, 1, 4, 2)),
    "Swing": ((0, 2, 4, 3, 1), (0, 3, 1, 2, 4)),
    "Wander": ((0, 1, 2, 4, 3), (0, 4, 3, 1, 2)),
}
SHAPES = ("disc", "square", "triangle", "ring", "cross", "star")


@dataclass(frozen=True)
class Look:
    """What the videos of a group share.

    Attributes:
        background_HWC: float32, 0 to 255.
        shape: one of SHAPES.
        color: RGB, 0 to 255.
        extent: half the width of the shape, as a share of the frame.
    """

    background_HWC: np.ndarray
    shape: str
    color: np.ndarray
    extent: float


def write(data: ConfigDict, seed: int) -> Path:
    """Writes the videos into the cache, unless they are there, and returns their folder.

    The folder looks like UCF-101: `Clockwise/v_Clockwise_g01_c01.avi` and so on, XVID at 25 frames a second.

    Args:
        data: `config.data`; the group `synthetic` and cache_dir are read.
        seed: the pictures are a function of it and of `data.synthetic`.

    Raises:
        UserError: the videos would be too short to show one round, too small, or the cache cannot be written.
    """
    settings = data.synthetic
    if settings.num_frames < 2 * POINTS or settings.num_frames % (2 * POINTS):
        raise UserError(
            f"data.synthetic.num_frames={settings.num_frames} is no multiple of {2 * POINTS}: "
            "a video shows whole rounds"
        )
    if settings.size < 32 or settings.size % 2:
        raise UserError(f"data.synthetic.size={settings.size} has to be even and at least 32")
    asked = repr((VERSION, seed, sorted(settings.to_dict().items())))
    name = hashlib.sha256(asked.encode()).hexdigest()[:16]
    folder = cache.cache_root(data) / f"synthetic-{name}"
    cache.make_once(folder, lambda empty: write_all(empty, settings, seed))
    return folder


def write_all(folder: Path, settings: ConfigDict, seed: int) -> None:
    """Writes all videos into an empty folder, one thread a core."""
    for label in ORDERS:
        (folder / label).mkdir()
    groups = range(1, settings.groups + 1)
    console = Console(stderr=True, soft_wrap=True)
    total = settings.groups * settings.videos_per_group * len(ORDERS)
    with (
        Progress(total, console, doing="drawing") as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for count in pool.map(lambda group: write_group(folder, settings, seed, group), groups):
            for _ in range(count):
                progress.advance()


def write_group(folder: Path, settings: ConfigDict, seed: int, group: int) -> int:
    """Writes the videos of one group, and returns how many."""
    look = draw_look(np.random.default_rng([seed, group]), settings.size)
    count = 0
    for number, label in enumerate(ORDERS):
        for video in range(1, settings.videos_per_group + 1):
            rng = np.random.default_rng([seed, group, number, video])
            frames_THWC = draw_video(rng, look, label, settings.num_frames)
            name = f"v_{label}_g{group:02d}_c{video:02d}.avi"
            write_avi(folder / label / name, frames_THWC)
            count += 1
    return count


def draw_look(rng: np.random.Generator, size: int) -> Look:
    """A background of soft blobs, and a shape in a colour that stands out from it."""
    coarse = rng.uniform(0, 255, (rng.integers(2, 7), rng.integers(2, 7), 3)).astype(np.float32)
    background = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    mean = background.mean((0, 1))
    # Quieter than the shape, and away from its colour.
    background = mean + (background - mean) * rng.uniform(0.2, 0.6)
    color = np.where(mean > 127, rng.uniform(0, 60, 3), rng.uniform(195, 255, 3))
    return Look(
        background_HWC=np.clip(background, 0, 255).astype(np.float32),
        shape=str(rng.choice(SHAPES)),
        color=color,
        extent=rng.uniform(0.11, 0.16),
    )


def draw_video(rng: np.random.Generator, look: Look, label: str, num_frames: int) -> np.ndarray:
    """One video, uint8 RGB [T, H, W, 3].

    The radius and centre of the circle, where on it the points lie, the point to begin with, one or two frames at each
    point, and the noise are drawn anew for each video, in the same way for all classes.
    """
    size = look.background_HWC.shape[0]
    order = ORDERS[label][rng.integers(len(ORDERS[label]))]
    first, hold = rng.integers(POINTS), rng.integers(1, 3)
    radius = rng.uniform(0.25, 0.32) * size
    centre = size / 2 + rng.uniform(-0.04, 0.04, 2) * size
    turn = rng.uniform(0, 2 * np.pi)
    noise = np.float32(rng.uniform(2, 8))
    # Image rows go down, so that ascending angles are clockwise.
    angles = turn + 2 * np.pi * np.arange(POINTS) / POINTS
    places = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    pictures = [stamp(look, place) for place in places]
    visits = [pictures[order[(first + t // hold) % POINTS]] for t in range(num_frames)]
    frames_THWC = rng.standard_normal((num_frames, size, size, 3), np.float32)
    frames_THWC *= noise
    frames_THWC += np.stack(visits) + 0.5
    return np.clip(frames_THWC, 0, 255, out=frames_THWC).astype(np.uint8)


def stamp(look: Look, place: np.ndarray) -> np.ndarray:
    """The background with the shape at a place (x, y in pixels), float32 [H, W, 3]."""
    size = look.background_HWC.shape[0]
    grid = np.arange(size) + 0.5
    x, y = np.meshgrid(grid - place[0], grid - place[1])
    outside = DISTANCES[look.shape](x, y, look.extent * size)
    cover = np.clip(0.5 - outside, 0, 1)[:, :, None]
    return (look.background_HWC * (1 - cover) + look.color * cover).astype(np.float32)


def triangle(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """Signed distance to an equilateral triangle, about."""
    corners = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
    return np.max([np.cos(c) * x + np.sin(c) * y for c in corners], axis=0) - r / 1.6


def star(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """Signed distance to a five-pointed star, about."""
    return np.hypot(x, y) - r * (0.85 + 0.3 * np.sin(5 * np.arctan2(y, x)))


# Signed distance in pixels from the outline of each shape of half width r, negative inside.
DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "disc": lambda x, y, r: np.hypot(x, y) - r,
    "square": lambda x, y, r: np.maximum(abs(x), abs(y)) - 0.9 * r,
    "triangle": triangle,
    "ring": lambda x, y, r: abs(np.hypot(x, y) - 0.8 * r) - 0.3 * r,
    "cross": lambda x, y, r: np.minimum(
        np.maximum(abs(x) - r, abs(y) - 0.4 * r), np.maximum(abs(y) - r, abs(x) - 0.4 * r)
    ),
    "star": star,
}


def write_avi(path: Path, frames_THWC: np.ndarray) -> None:
    """Writes uint8 RGB frames as an XVID AVI.

    Raises:
        OSError: the file cannot be written.
    """
    height, width = frames_THWC.shape[1:3]
    codec = cv2.VideoWriter_fourcc(*"XVID")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, FPS, (width, height))
    if not writer.isOpened():
        raise OSError(5, f"cannot write {path.name}")
    for frame_HWC in frames_THWC:
        writer.write(cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR))
    writer.release()


def rounds() -> dict[tuple[int, ...], str]:
    """Each of the 24 rounds of five points, from point 0, with its class."""
    kinds = {}
    for order in itertools.permutations(range(1, POINTS)):
        for label, patterns in ORDERS.items():
            turned = [
                tuple((p + shift) % POINTS for p in pattern)
                for pattern in patterns
                for shift in range(POINTS)
            ]
            if any((0, *order) == t[t.index(0) :] + t[: t.index(0)] for t in turned):
                kinds[(0, *order)] = label
    return kinds

"""The embedded data set: five classes that differ in motion alone, as real video files.

A coloured shape visits ten points on an arc, one per frame, over and over. Each round visits every
point once, and the class is the order in which it does:

    Clockwise         0 1 2 3 4 5 6 7 8 9
    Counterclockwise  9 8 7 6 5 4 3 2 1 0
    Leap              0 5 1 6 2 7 3 8 4 9    to and fro over half the arc, or mirrored
    Swing             0 2 4 6 8 9 7 5 3 1    out along the even points, back along the odd ones
    Wander            0 3 6 9 2 5 8 1 4 7    or another of the 16 rounds with steps of 3, 4 and 7

Any ten frames in a row, and any video as a whole, show each point equally often, in every class. So
neither one frame nor the unordered frames tell anything: a network that does not see the order
stays at chance, 1 in 5. To make sure of that, the videos of a group, five classes with
`videos_per_group` each, share their background, shape and colours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from ml_collections import ConfigDict

from vid3d import cache
from vid3d.config import cache_folder
from vid3d.errors import UserError
from vid3d.process import cores
from vid3d.terminal import VideoProgress, make_console

VERSION = 3  # of the pictures; a change draws them again
GROUP_PATTERN = r"_(g\d+)_"
FPS = 25.0
POINTS = 10
LABELS = ("Clockwise", "Counterclockwise", "Leap", "Swing", "Wander")
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

    The folder looks like UCF-101: `Clockwise/v_Clockwise_g01_c01.avi` and so on, XVID at 25 frames
    per second.

    Args:
        data: `config.data`; the group `synthetic` and cache_dir are read.
        seed: the pictures are a function of it and of `data.synthetic`.

    Raises:
        UserError: see `check_settings`; the cache cannot be written.
    """
    settings = data.synthetic
    check_settings(settings)
    read = {name: settings[name] for name in settings if name != "untrimmed"}
    asked = repr((VERSION, seed, sorted(read.items())))
    name = hashlib.sha256(asked.encode()).hexdigest()[:16]
    folder = cache_folder(data.cache_dir) / f"synthetic-{name}"
    cache.make_once(folder, lambda empty: write_all(empty, settings, seed))
    return folder


def check_settings(settings: ConfigDict) -> None:
    """Raises a UserError where videos would not show whole rounds, or would be too small."""
    if settings.num_frames < POINTS or settings.num_frames % POINTS:
        raise UserError(
            f"data.synthetic.num_frames={settings.num_frames} is not a multiple of {POINTS}: a "
            "video shows whole rounds"
        )
    if settings.size < 32 or settings.size % 2:
        raise UserError(f"data.synthetic.size={settings.size} has to be even and at least 32")


def write_all(folder: Path, settings: ConfigDict, seed: int) -> None:
    """Writes all videos into an empty folder, one thread per core."""
    for label in LABELS:
        (folder / label).mkdir()
    groups = range(1, settings.groups + 1)
    total = settings.groups * settings.videos_per_group * len(LABELS)
    with (
        VideoProgress(total, make_console(), doing="drawing") as progress,
        ThreadPoolExecutor(cores()) as pool,
    ):
        for count in pool.map(lambda group: write_group(folder, settings, seed, group), groups):
            for _ in range(count):
                progress.advance()


def write_group(folder: Path, settings: ConfigDict, seed: int, group: int) -> int:
    """Writes the videos of one group, and returns how many."""
    look = draw_look(np.random.default_rng([seed, group]), settings.size)
    count = 0
    for number, label in enumerate(LABELS):
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
        extent=rng.uniform(0.13, 0.17),
    )


def order(rng: np.random.Generator, label: str) -> np.ndarray:
    """The points in the order of a round, int64 [POINTS]; ascending points are clockwise."""
    points = np.arange(POINTS)
    if label == "Counterclockwise":
        return points[::-1]
    if label == "Leap":
        to_and_fro = points.reshape(2, -1).T.ravel()
        return to_and_fro if rng.integers(2) else POINTS - 1 - to_and_fro
    if label == "Swing":
        return np.concatenate([points[::2], points[::-2]])
    if label == "Wander":
        return np.array(WANDERINGS[rng.integers(len(WANDERINGS))])
    return points


def rounds(steps: frozenset[int], path: tuple[int, ...] = (0,)) -> list[tuple[int, ...]]:
    """Every round that begins with this path and has only these distances between neighbours.

    The last point and the first are neighbours, too.
    """
    if len(path) == POINTS:
        return [path] if abs(path[-1] - path[0]) in steps else []
    following = [p for p in range(POINTS) if p not in path and abs(p - path[-1]) in steps]
    return [found for p in following for found in rounds(steps, (*path, p))]


WANDERINGS = rounds(frozenset({3, 4, 7}))


def draw_video(rng: np.random.Generator, look: Look, label: str, num_frames: int) -> np.ndarray:
    """One video, uint8 RGB [T, H, W, 3].

    Where the arc begins, its radius, centre and length (and with it the speed), the point to begin
    with and the noise are drawn anew for each video, in the same way for all classes.
    """
    size = look.background_HWC.shape[0]
    places_N2, visits_T, noise = draw_path(rng, size, label, num_frames)
    return paint(rng, look, places_N2, visits_T, noise)


def paint(
    rng: np.random.Generator,
    look: Look,
    places_N2: np.ndarray,
    visits_T: np.ndarray,
    noise: np.float32,
) -> np.ndarray:
    """Frames with the shape at the places that they visit, uint8 RGB [T, H, W, 3]."""
    size = look.background_HWC.shape[0]
    pictures = np.stack([stamp(look, place) for place in places_N2])
    frames_THWC = rng.standard_normal((len(visits_T), size, size, 3), np.float32)
    frames_THWC *= noise
    frames_THWC += pictures[visits_T] + 0.5
    return np.clip(frames_THWC, 0, 255, out=frames_THWC).astype(np.uint8)


def draw_path(
    rng: np.random.Generator, size: int, label: str, num_frames: int
) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """The points (x, y in pixels), float64 [POINTS, 2]; which one each frame shows; the noise."""
    begin, spacing = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(26, 36))
    radius = rng.uniform(0.2, 0.27) * size
    centre = size / 2 + rng.uniform(-0.05, 0.05, 2) * size
    noise = np.float32(rng.uniform(2, 8))
    first = rng.integers(POINTS)
    # Image rows go down, so that ascending angles are clockwise.
    angles = begin + spacing * np.arange(POINTS)
    places_N2 = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    visits_T = np.roll(order(rng, label), -first)[np.arange(num_frames) % POINTS]
    return places_N2, visits_T, noise


def stamp(look: Look, place: np.ndarray) -> np.ndarray:
    """The background with the shape at a place (x, y in pixels), float32 [H, W, 3]."""
    cover = cover_of(look, place)[:, :, None]
    return (look.background_HWC * (1 - cover) + look.color * cover).astype(np.float32)


def cover_of(look: Look, place: np.ndarray) -> np.ndarray:
    """How much of each pixel the shape covers at a place, from 0 to 1: float64 [H, W]."""
    size = look.background_HWC.shape[0]
    grid = np.arange(size) + 0.5
    x, y = np.meshgrid(grid - place[0], grid - place[1])
    return np.clip(0.5 - DISTANCES[look.shape](x, y, look.extent * size), 0, 1)


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
    codec = cv2.VideoWriter.fourcc(*"XVID")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, FPS, (width, height))
    if not writer.isOpened():
        raise OSError(5, f"cannot write {path.name}")
    for frame_HWC in frames_THWC:
        writer.write(cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR))
    writer.release()

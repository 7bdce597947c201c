"""Video files decoded in child processes: a file that hangs or crashes one affects no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from ml_collections import ConfigDict

from vid3d.errors import UserError
from vid3d.video import decoding
from vid3d.video.picture import decode_options
from vid3d.video.records import Settings
from vid3d.video.resize import stored_size

# For fitted frames of files that wait for their turn; files beyond it are decoded twice.
HELD_BYTES = 256 * 2**20


@dataclass(frozen=True)
class File:
    """A decoded file.

    Attributes:
        times: the times of its frames, in seconds.
        size: height and width of the upright video.
        damage: what is wrong with a file that can still be read, or "".
        frames: returns its fitted frames from the first on, at each call; raises a UserError if
            they have to be decoded again and that fails.
    """

    times: list[float]
    size: tuple[int, int]
    damage: str
    frames: Callable[[], Iterable[np.ndarray]]


def read_many(
    paths: Sequence[str], data: ConfigDict, *, workers: int, kept: decoding.Pool | None = None
) -> Generator[File | UserError, None, None]:
    """Decodes files in parallel; yields each file, or its error, in the order of `paths`.

    Args:
        paths: video files.
        data: `config.data`; the geometry and `decode_timeout` are read.
        workers: number of decoding processes.
        kept: processes of earlier calls with the same `data`, kept for the next call.
    """
    settings = Settings(
        stored_size(data),
        data.resize,
        data.color,
        max_frames=0,
        store="raw",
        decode=decode_options(data),
    )
    timeout, shape = data.decode_timeout, settings.frame_shape
    held: dict[int, list[np.ndarray] | None] = {}  # by job; None if they are too many
    ready: dict[int, File | UserError] = {}
    due = 0
    events = decoding.decode(paths, settings, workers=workers, timeout=timeout, kept=kept)
    with contextlib.closing(events):
        for event in events:
            job = event.job
            if isinstance(event, decoding.Frames):
                kept_frames = held.setdefault(job, [])
                if kept_frames is None:
                    continue
                count = len(event.records) + sum(len(kept or ()) for kept in held.values())
                if count * np.prod(shape) <= HELD_BYTES:
                    kept_frames += [unpack(record, shape) for record in event.records]
                else:
                    held[job] = None
            elif isinstance(event, decoding.Again):
                held.pop(job, None)
            elif isinstance(event, decoding.Failed):
                ready[job] = UserError(f"{paths[job]}: {event.reason}")
            else:
                count = len(event.times)
                again = partial(fitted, paths[job], settings, timeout=timeout, count=count)
                frames = again if held[job] is None else partial(iter, held[job])
                ready[job] = File(event.times.tolist(), event.size, event.damage, frames)
            while due in ready:
                held.pop(due, None)
                yield ready.pop(due)
                due += 1


def fitted(path: str, settings: Settings, *, timeout: float, count: int) -> Iterator[np.ndarray]:
    """The frames of `stream` without their times.

    Raises:
        UserError: the decoder fails, or the number of frames is no longer `count`.
    """
    left = count
    for frame_HWC, _ in stream(path, settings, timeout=timeout):
        left -= 1
        yield frame_HWC
    if left:
        raise UserError(
            f"{path}: it had {count} frames, and {count - left} when it was decoded again"
        )


def stream(path: str, settings: Settings, *, timeout: float) -> Iterator[tuple[np.ndarray, float]]:
    """Decodes one file in a child process and yields its frames and their seconds.

    Raises:
        UserError: the decoder fails.
    """
    with contextlib.closing(
        decoding.decode([path], settings, workers=1, timeout=timeout)
    ) as events:
        for event in events:
            if isinstance(event, decoding.Frames):
                for record, seconds in zip(event.records, event.times, strict=True):
                    yield unpack(record, settings.frame_shape), seconds
            elif not isinstance(event, decoding.Done):
                raise UserError(f"{path}: {getattr(event, 'reason', 'the decoder crashed')}")


def unpack(record: bytes | memoryview, shape: tuple[int, int, int]) -> np.ndarray:
    """A copy of the frame at the end of a raw record."""
    return np.frombuffer(record, np.uint8)[-int(np.prod(shape)) :].reshape(shape).copy()

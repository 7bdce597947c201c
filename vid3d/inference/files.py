"""Video files for a classifier, decoded in child processes: one that hangs or crashes the decoder costs only itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from ml_collections import ConfigDict

from vid3d.config import UserError
from vid3d.data import decoding
from vid3d.data.frames import stored_size
from vid3d.data.records import Settings

HELD_BYTES = 256 * 2**20  # fitted frames of files whose turn comes; what is more is decoded twice


@dataclass(frozen=True)
class File:
    """A decoded file: the seconds of its frames, and its fitted frames from the first on, as often as asked for.

    `frames()` raises a UserError where they have to be decoded again and cannot be.
    """

    times: list[float]
    frames: Callable[[], Iterable[np.ndarray]]


def read_many(
    paths: Sequence[str], data: ConfigDict, *, workers: int
) -> Iterator[File | UserError]:
    """Decodes files side by side; gives them, or what is wrong with them, in the order of `paths`.

    Args:
        paths: video files.
        data: `config.data`; the geometry and `decode_timeout` are read.
        workers: decoding processes.
    """
    decode = partial(
        decoding.decode,
        settings=Settings(stored_size(data), data.resize, data.color, max_frames=0, store="raw"),
        timeout=data.decode_timeout,
    )
    shape = decode.keywords["settings"].frame_shape
    held: dict[int, list[np.ndarray] | None] = {}  # by job; None where they are too many
    ready: dict[int, File | UserError] = {}
    due = 0
    with contextlib.closing(decode(paths, workers=workers)) as events:
        for event in events:
            job = event.job
            if isinstance(event, decoding.Frames):
                frames = held.setdefault(job, [])
                if frames is None:
                    continue
                count = len(event.records) + sum(len(kept or ()) for kept in held.values())
                if count * np.prod(shape) <= HELD_BYTES:
                    frames += [unpack(record, shape) for record in event.records]
                else:
                    held[job] = None
            elif isinstance(event, decoding.Again):
                held.pop(job, None)
            elif isinstance(event, decoding.Failed):
                ready[job] = UserError(f"{paths[job]}: {event.reason}")
            elif held[job] is None:
                ready[job] = File(event.times.tolist(), partial(stream, decode, paths[job], shape))
            else:
                ready[job] = File(event.times.tolist(), partial(iter, held[job]))
            while due in ready:
                held.pop(due, None)
                yield ready.pop(due)
                due += 1


def stream(
    decode: Callable[..., Iterator[decoding.Event]], path: str, shape: tuple[int, int, int]
) -> Iterator[np.ndarray]:
    """The frames of one file as they are decoded.

    Raises:
        UserError: the decoder fails, this time.
    """
    with contextlib.closing(decode([path], workers=1)) as events:
        for event in events:
            if isinstance(event, decoding.Frames):
                yield from [unpack(record, shape) for record in event.records]
            elif not isinstance(event, decoding.Done):
                raise UserError(f"{path}: {getattr(event, 'reason', 'the decoder crashed')}")


def unpack(record: bytes | memoryview, shape: tuple[int, int, int]) -> np.ndarray:
    """A copy of the frame that a raw record ends with."""
    return np.frombuffer(record, np.uint8)[-int(np.prod(shape)) :].reshape(shape).copy()

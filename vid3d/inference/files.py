"""The files of `predict` as `video/decoder_pool` reads them: options, fitted frames, memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vid3d.errors import LimitError, UserError
from vid3d.inference.stretch import Stretches
from vid3d.video import decoder_pool
from vid3d.video.decoder_handle import OpenVideo
from vid3d.video.kept_decoders import KEPT
from vid3d.video.picture import decode_options
from vid3d.video.records import Limits, Settings
from vid3d.video.resize import stored_size

# For fitted frames of files that wait for their turn; files beyond it are decoded twice.
HELD_BYTES = 256 * 2**20
NO_LIMITS = Limits()


@dataclass(frozen=True)
class File:
    """A decoded file.

    Attributes:
        times: the times of its frames, in seconds.
        size: height and width of the upright video.
        damage: what is wrong with a file that can still be read, or "".
        frames: returns its fitted frames from the first on, at each call; raises a UserError if
            they have to be decoded again and that fails.
        start: seconds of its first frame: of a stretch, in the file.
    """

    times: list[float]
    size: tuple[int, int]
    damage: str
    frames: Callable[[], Iterable[np.ndarray]]
    start: float = 0.0


def path_of(path: str | os.PathLike[str]) -> str:
    """A path as text.

    Raises:
        UserError: it is something else, such as the content of a file.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UserError(f"predict_many takes paths alone, not {type(path).__name__}: call predict")
    return os.fsdecode(path)


def check_frames(source: Any) -> None:
    """Raises a UserError where what `predict` was given is not a list of frames, or is empty."""
    if not hasattr(source, "__len__"):
        raise UserError(
            "give a video in bytes, an open file, a video's path or a list of frames, not "
            f"{type(source).__name__}"
        )
    if not len(source):
        raise UserError("there are no frames to predict from")
    if isinstance(source, (list, tuple)) and isinstance(source[0], (str, os.PathLike)):
        raise UserError(
            f"predict labels one video, and {len(source)} paths were given: predict_many(paths) "
            "yields a path and a prediction for each"
        )


def settings_of(data: ConfigDict, limits: Limits = NO_LIMITS) -> Settings:
    """The frames that a network with this `config.data` takes."""
    return Settings(
        stored_size(data),
        data.resize,
        data.color,
        max_frames=0,
        store="raw",
        decode=decode_options(data),
        limits=limits,
    )


def start(
    decoders: decoder_pool.Decoders, count: int, data: ConfigDict, limits: Limits = NO_LIMITS
) -> None:
    """Starts decoding processes before the first file comes; see `Decoders.start`."""
    decoders.start(count, settings_of(data, limits), timeout=data.decode_timeout)


def read_one(
    video: str | OpenVideo | Stretches,
    data: ConfigDict,
    decoders: decoder_pool.Decoders,
    limits: Limits = NO_LIMITS,
) -> File:
    """Decodes a video in one of the processes that threads share.

    Raises:
        LimitError: it is beyond the limits, or the decoder hangs.
        UserError: it cannot be decoded.
    """
    (file,) = read_many([video], data, workers=1, decoders=decoders, limits=limits)
    if isinstance(file, UserError):
        raise file
    return file


def read_many(
    videos: Sequence[str | OpenVideo | Stretches],
    data: ConfigDict,
    *,
    workers: int,
    decoders: decoder_pool.Lender = KEPT,
    limits: Limits = NO_LIMITS,
) -> Generator[File | UserError, None, None]:
    """Decodes files in parallel; yields each file, or its error, in their order.

    Args:
        videos: their paths, or open files, or a stretch of each.
        data: `config.data`; the geometry and `decode_timeout` are read.
        workers: number of decoding processes.
        decoders: lend the processes.
        limits: beyond which a file is a `LimitError`.
    """
    settings = settings_of(data, limits)
    timeout, shape = data.decode_timeout, settings.frame_shape
    held: dict[int, list[np.ndarray] | None] = {}  # by job; None if they are too many
    ready: dict[int, File | UserError] = {}
    due = 0
    events = decoder_pool.decode(
        videos, settings, workers=workers, timeout=timeout, decoders=decoders
    )
    with contextlib.closing(events):
        for event in events:
            job = event.job
            if isinstance(event, decoder_pool.Frames):
                kept_frames = held.setdefault(job, [])
                if kept_frames is None:
                    continue
                count = len(event.records) + sum(len(kept or ()) for kept in held.values())
                if count * np.prod(shape) <= HELD_BYTES:
                    kept_frames += [unpack(record, shape) for record in event.records]
                else:
                    held[job] = None
            elif isinstance(event, decoder_pool.Again):
                held.pop(job, None)
            elif isinstance(event, decoder_pool.Failed):
                said = f"{videos[job]}: {event.reason}"
                ready[job] = LimitError(said, event.limit) if event.limit else UserError(said)
            else:
                count = len(event.times)
                again = partial(
                    fitted, videos[job], settings, count=count, timeout=timeout, decoders=decoders
                )
                kept = held.get(job)  # none, too, of a stretch without frames
                frames = again if kept is None else partial(iter, kept)
                ready[job] = read(str(videos[job]), event, frames)
            while due in ready:
                held.pop(due, None)
                yield ready.pop(due)
                due += 1


def read(
    name: str, event: decoder_pool.Done, frames: Callable[[], Iterable[np.ndarray]]
) -> File | UserError:
    """A file that was decoded, or the stretch of it, from whose first frame times are counted."""
    wrong = event.places[0][2] if event.places else ""
    if wrong:
        return UserError(f"{name}: the stretch cannot be used: {wrong}")
    start = float(event.times[0]) if event.places else 0.0
    times = (event.times - start).tolist() if event.places else event.times.tolist()
    return File(times, event.size, event.damage, frames, start)


def fitted(
    video: str | OpenVideo | Stretches, settings: Settings, *, count: int, **options: Any
) -> Iterator[np.ndarray]:
    """The frames of `stream` without their times.

    Raises:
        UserError: the decoder fails, or the number of frames is no longer `count`.
    """
    left = count
    for frame_HWC, _ in stream(video, settings, **options):
        left -= 1
        yield frame_HWC
    if left:
        raise UserError(
            f"{video}: it had {count} frames, and {count - left} when it was decoded again"
        )


def stream(
    video: str | OpenVideo | Stretches,
    settings: Settings,
    *,
    timeout: float,
    decoders: decoder_pool.Lender = KEPT,
) -> Iterator[tuple[np.ndarray, float]]:
    """Decodes one file in a child process and yields its frames and their seconds.

    Raises:
        UserError: the decoder fails.
    """
    with contextlib.closing(
        decoder_pool.decode([video], settings, workers=1, timeout=timeout, decoders=decoders)
    ) as events:
        for event in events:
            if isinstance(event, decoder_pool.Frames):
                for record, seconds in zip(event.records, event.times, strict=True):
                    yield unpack(record, settings.frame_shape), seconds
            elif not isinstance(event, decoder_pool.Done):
                raise UserError(f"{video}: {getattr(event, 'reason', 'the decoder crashed')}")


def unpack(record: bytes | memoryview, shape: tuple[int, int, int]) -> np.ndarray:
    """A copy of the frame at the end of a raw record."""
    return np.frombuffer(record, np.uint8)[-int(np.prod(shape)) :].reshape(shape).copy()

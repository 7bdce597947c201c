"""The frames of a tfds builder's videos, as the events of a decoder."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
from ml_collections import ConfigDict

from vid3d.datasets.tfds import examples, load
from vid3d.datasets.videos import Index
from vid3d.video.decoder_pool import Done, Events, Failed, Frames
from vid3d.video.records import Settings, record_header, to_payload
from vid3d.video.resize import fit

SAMPLE = 8  # examples that are read for an estimate
FPS = 25.0  # an example does not tell its rate


def decode(data: ConfigDict, index: Index, settings: Settings) -> Events:
    """The videos of an index, one at a time from the builder, as events of `decoder_pool.decode`.

    The content hash is that of the frames, since there are no files.
    """
    jobs = {video.path: job for job, video in enumerate(index.videos)}
    for path, example in examples(load(data)):
        if path not in jobs:
            continue
        frames_THWC = np.asarray(example["video"], np.uint8)
        wanted = frames_THWC[: settings.max_frames or None]
        if not len(wanted):
            yield Failed(0, jobs[path], "a video without frames")
            continue
        records = [record(frame_HWC, settings) for frame_HWC in wanted]
        yield Frames(0, jobs[path], records)
        yield Done(
            lane=0,
            job=jobs[path],
            sha256=hashlib.sha256(frames_THWC.tobytes()).hexdigest(),
            times=np.arange(len(wanted)) / FPS,
            fps=FPS,
            size=frames_THWC.shape[1:3],
            claimed=0,
            damage="",
        )


def record(frame_HWC: np.ndarray, settings: Settings) -> bytes:
    """A frame of a builder, RGB or grey, as a stored record."""
    if frame_HWC.shape[2] == 1:
        frame_HWC = np.repeat(frame_HWC, 3, axis=2)
    fitted = fit(frame_HWC, size=settings.size, resize=settings.resize, color=settings.color)
    payload = to_payload(fitted, settings.store)
    return record_header(len(payload)) + bytes(payload)


def mean_length(data: ConfigDict) -> float:
    """Mean frames per video, from the first few examples."""
    first = list(itertools.islice(examples(load(data)), SAMPLE))
    return sum(len(example["video"]) for _, example in first) / len(first)

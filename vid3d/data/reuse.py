"""Frames that are cached for another list of videos: copied, which is faster than decoding."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vid3d.data.prepared import FACTS, TIMES, Prepared
from vid3d.data.store import FrameStore
from vid3d.errors import UserError
from vid3d.video.decoder_pool import Again, Done, Events, Frames

LANE = -1  # of the copies; those of decoders are 0 and up
RECORDS = 64  # copied at once


def copy_stored(
    cache: Path, *, settings: str, marks: Sequence[str], load: Callable[[Path], Prepared | None]
) -> Events:
    """The events of videos that are stored already, as if decoded now; `Again` marks a damaged one.

    Args:
        cache: the folder with the prepared folders.
        settings: what determines a stored frame; folders with other settings are skipped.
        marks: by job, what identifies a file.
        load: reads a prepared folder; None where it is not whole.
    """
    wanted = {mark: job for job, mark in enumerate(marks)}
    for folder in sorted(cache.glob("frames-*")):
        prepared = load(folder) if folder.is_dir() else None
        if prepared is None:
            continue
        origin = json.loads((folder / FACTS).read_text())["origin"]
        if origin["settings"] != settings:
            continue
        store, times = FrameStore(prepared), np.load(folder / TIMES, mmap_mode="r")
        for stored in origin["videos"].values():
            job = wanted.pop(stored["mark"], None)
            if job is None:
                continue
            first, end = stored["first_record"], stored["first_record"] + stored["num_frames"]
            try:
                for start in range(first, end, RECORDS):
                    yield Frames(LANE, job, store.read(range(start, min(start + RECORDS, end))))
            except UserError:  # damaged, or not readable
                yield Again(LANE, job)
                continue
            yield Done(
                lane=LANE,
                job=job,
                sha256=stored["sha256"],
                times=np.array(times[first:end]),
                fps=stored["fps"],
                size=tuple(stored["size"]),
                claimed=stored["num_frames"],
                damage=stored["damage"],
                places=stored["places"],
                pixel_shape=stored.get("pixel_shape", 1.0),
            )

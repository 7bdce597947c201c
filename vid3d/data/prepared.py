"""A folder of decoded videos: what is in it, and whether it is there as it was written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vid3d.datasets.videos import Index
from vid3d.video.decoder_pool import HUNG

FACTS = "videos.json"
TIMES = "times.npy"
LEDGER = "bad_videos.csv"
FORMAT = 3  # of a prepared folder; one with another number is prepared again
# Of the files that say which record is which frame; the records have checksums of their own.
SUMS = "sha256.json"


@dataclass(frozen=True)
class Facts:
    """The facts about one decoded video.

    Attributes:
        sha256: of the file; of a stretch with its times behind it, see `content`.
        first_record: the number of its first frame in the shards; the others follow.
        num_frames: stored frames.
        times_N: their seconds, from 0, also of a stretch.
        fps: frames per second, measured.
        size: height and width of the video, upright, with square pixels.
        damage: what is wrong with a video that is used nevertheless, or "".
        pixel_shape: width : height of the pixels that were resampled to square ones; 1 for none.
    """

    sha256: str
    first_record: int
    num_frames: int
    times_N: np.ndarray
    fps: float
    size: tuple[int, int]
    damage: str = ""
    pixel_shape: float = 1.0


@dataclass(frozen=True)
class Prepared:
    """Decoded videos on disk.

    Attributes:
        directory: of the tfds data set, one record per frame.
        index: the videos with their labels and splits.
        frame_shape: height, width, channels.
        store: "raw" or "jpeg".
        shards: file name -> number of records, in the order of the records.
        facts: by name, of the readable videos.
        bad: name -> reason, of the others.
        sums: distinguishes this folder from one that another process puts in its place.
    """

    directory: Path
    index: Index
    frame_shape: tuple[int, int, int]
    store: str
    shards: dict[str, int]
    facts: dict[str, Facts]
    bad: dict[str, str]
    sums: str

    def listing(self) -> str:
        """The classes and every readable video, with its content, label and split, as one text."""
        videos = [
            (v.name, v.label, v.split, self.facts[v.name].sha256)
            for v in self.index.videos
            if v.name in self.facts
        ]
        return repr((self.index.classes, videos))

    @property
    def ledger(self) -> Path:
        """The list of the bad videos: path, reason."""
        return self.directory / LEDGER


def load(folder: Path, index: Index) -> Prepared:
    """Reads the facts of a prepared folder for the videos of an index."""
    written = (folder / SUMS).read_text()  # first: what is read after it is at least as new
    sidecar = json.loads((folder / FACTS).read_text())
    times = np.asarray(np.load(folder / TIMES, mmap_mode="r"))
    facts = {}
    for name, entry in sidecar["videos"].items():
        first, count = entry["first_record"], entry["num_frames"]
        entry["size"] = tuple(entry["size"])
        times_N = times[first : first + count]
        if times_N[0]:  # a stretch
            times_N = times_N - times_N[0]
        facts[name] = Facts(times_N=times_N, **entry)
    return Prepared(
        directory=folder,
        index=index,
        frame_shape=tuple(sidecar["frame_shape"]),
        store=sidecar["store"],
        shards=sidecar["shards"],
        facts=facts,
        bad=sidecar["bad"],
        sums=written,
    )


def is_whole(folder: Path, decode_timeout: float) -> bool:
    """Whether a prepared folder is as it was written, and no hung video would get more time now."""
    try:
        if json.loads((folder / SUMS).read_text()) != sums(folder):
            return False
        sidecar = json.loads((folder / FACTS).read_text())
        if sidecar["format"] != FORMAT:
            return False
        hung = any(HUNG in reason for reason in sidecar["bad"].values())
        if hung and decode_timeout > sidecar["decode_timeout"]:
            return False
        sizes = sidecar["bytes"].items()
        return all((folder / name).stat().st_size == size for name, size in sizes)
    except (OSError, ValueError, KeyError):
        return False


def sums(folder: Path) -> dict[str, str]:
    """sha256 of the files that say which record is which frame of which video."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (FACTS, TIMES)
    }


def is_there(prepared: Prepared) -> bool:
    """Whether the folder still is the one that was loaded."""
    try:
        return (prepared.directory / SUMS).read_text() == prepared.sums
    except OSError:
        return False

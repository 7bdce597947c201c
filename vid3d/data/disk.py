"""Disk space: what the shards will need, whether it is free, and an error before it runs out."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from vid3d.data import tfds_frames
from vid3d.errors import UserError
from vid3d.terminal import format_bytes
from vid3d.video import decoder_pool
from vid3d.video.container import DEFAULT_FPS
from vid3d.video.decoder_handle import Stretches, spans_of
from vid3d.video.decoder_pool import Done, Event, Frames
from vid3d.video.kept_decoders import KEPT
from vid3d.video.records import Settings, record_bytes
from vid3d.video.spans import Span

JPEG_SHARE = 1 / 12  # of the raw size
SAMPLE = 24  # videos whose headers are read for the estimate
UNKNOWN_LENGTH = 250  # frames, where no header tells it
RESERVE_BYTES = 128 * 2**20  # to stay free
REMEDY = "data.store=jpeg, data.stored_frames, or a smaller data.size"


def look(asked: Sequence[str | Stretches], settings: Settings, data: ConfigDict) -> dict[str, Done]:
    """Path -> what the header of a file says: of some, or of all where stretches are decoded.

    Empty where nobody needs to know.
    """
    has_stretches = any(map(spans_of, asked))
    if data.source == "tfds" or (settings.max_frames and not has_stretches):
        return {}
    sample = asked if has_stretches else asked[:: -(-len(asked) // SAMPLE)]
    paths = [str(video) for video in sample]
    events = decoder_pool.decode(
        paths,
        settings,
        workers=1,  # starting another would take longer
        timeout=data.decode_timeout,
        look=True,
        decoders=KEPT,
    )
    return {paths[event.job]: event for event in events if isinstance(event, Done)}


def estimate_bytes(
    asked: Sequence[str | Stretches],
    settings: Settings,
    data: ConfigDict,
    looks: Mapping[str, Done],
) -> int:
    """Bytes that the shards will take.

    Without a limit on the frames, from the headers of some of the files, see `look`.
    """
    counts: list[float] = [max(len(spans_of(video)), 1) * settings.max_frames for video in asked]
    if not settings.max_frames and data.source == "tfds":
        counts = [tfds_frames.mean_length(data)] * len(asked)
    elif not settings.max_frames:
        claims = [event.claimed for event in looks.values() if event.claimed]
        # A header that wrongly claims a million frames must not stop a run.
        most = 20 * statistics.median(claims or [UNKNOWN_LENGTH])
        usual = statistics.fmean(min(c, most) for c in claims or [UNKNOWN_LENGTH])
        fps = statistics.median([event.fps for event in looks.values()] or [DEFAULT_FPS])
        counts = [num_frames(spans_of(video), fps) or usual for video in asked]
    share = JPEG_SHARE if settings.store == "jpeg" else 1
    return int(sum(counts) * record_bytes(settings) * share)


def num_frames(spans: Iterable[Span], fps: float) -> float:
    """How many frames stretches have, those that they share counted once for each."""
    return sum((span.end - span.start) * (1 if span.unit == "frames" else fps) for span in spans)


def check_free(folder: Path, what: str, need: int, console: Console) -> None:
    """Says how much is needed for something, such as "20 videos", and how much is free.

    Raises:
        UserError: too little is free.
    """
    free = shutil.disk_usage(folder).free
    console.print(
        f"preparing {what} in {folder.parent}: about {format_bytes(need)}, "
        f"{format_bytes(free)} are free"
    )
    if need + RESERVE_BYTES > free:
        raise UserError(
            f"{folder.parent} has {format_bytes(free)} free, {what} need about "
            f"{format_bytes(need)}, and {format_bytes(RESERVE_BYTES)} have to stay free: set "
            f"data.cache_dir to a larger disk, {REMEDY}"
        )


def watch_free(events: Iterable[Event], folder: Path) -> Iterator[Event]:
    """Passes the events on, and stops with an error before the disk is full."""
    written = 0
    for event in events:
        yield event
        if isinstance(event, Frames):
            written += sum(map(len, event.records))
            if written > RESERVE_BYTES / 2:
                written = 0
                if shutil.disk_usage(folder).free < RESERVE_BYTES:
                    raise UserError(
                        f"the disk of {folder.parent} is full: set data.cache_dir to a larger one, "
                        f"{REMEDY}"
                    )

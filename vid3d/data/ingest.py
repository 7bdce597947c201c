"""From decoded videos to shards: where each frame went, and the facts about each video."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vid3d.data import disk
from vid3d.data.shards import Shard, ShardWriter
from vid3d.video.decoder_pool import Again, Done, Events, Failed, Frames


@dataclass
class Written:
    """Shards and the videos in them; a video is called by its number, its job.

    Attributes:
        shards: in order.
        done: job -> its facts.
        places: job -> shard, position of its first frame in it.
        bad: job -> why it cannot be read.
    """

    shards: list[Shard] = field(default_factory=list)
    done: dict[int, Done] = field(default_factory=dict)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    bad: dict[int, str] = field(default_factory=dict)


def write_events(
    folder: Path, events: Events, advance: Callable[[bool], None] = lambda is_bad: None
) -> Written:
    """Writes videos into an empty folder as they come.

    Args:
        folder: for the shards.
        events: of `decoder_pool.decode` or `tfds_frames.decode`; they are closed at the end.
        advance: is called after each video with whether it is bad.

    Raises:
        OSError: the disk does not take it.
        UserError: the disk is nearly full.
    """
    written = Written()
    with ShardWriter(folder) as writer, contextlib.closing(events):
        for event in disk.watch_free(events, folder):
            if isinstance(event, Frames):
                written.places.setdefault(event.job, writer.place(event.lane))
                writer.add(event.lane, event.records)
            elif isinstance(event, Again):
                written.places.pop(event.job, None)
            elif isinstance(event, Failed):
                written.places.pop(event.job, None)
                written.bad[event.job] = event.reason
                advance(True)
            else:
                written.done[event.job] = event
                writer.end_video(event.lane)
                advance(False)
        written.shards = writer.finish()
    return written

"""Files and the videos in them: each file is decoded once, whatever the number of its stretches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from vid3d.data import ingest
from vid3d.data.content import content_of
from vid3d.datasets.videos import Index, ListedVideo
from vid3d.video.decoder_handle import Stretches
from vid3d.video.frames import measured_fps


def recordings(index: Index) -> dict[str, list[ListedVideo]]:
    """Path -> the videos of that file, in the order of the index: itself, or its stretches."""
    found: dict[str, list[ListedVideo]] = defaultdict(list)
    for video in index.videos:
        found[video.path].append(video)
    return found


def to_decode(path: str, videos: Sequence[ListedVideo]) -> str | Stretches:
    """What to decode of a file."""
    spans = tuple(video.span for video in videos if video.span)
    return Stretches(path, spans) if spans else path


def describe_videos(
    files: Sequence[Sequence[ListedVideo]], marks: Sequence[str], decoded: ingest.Written
) -> tuple[np.ndarray, dict[str, Any], dict[str, str], dict[str, Any]]:
    """What is known of the videos once all are decoded.

    Args:
        files: by job, the videos of each file.
        marks: by job, what identifies a file.
        decoded: the shards.

    Returns:
        Seconds of every record in its file, float64 [N]; name -> facts of each readable video;
        name -> why it cannot be used, of the others; path -> what another list can copy.
    """
    starts = np.cumsum([0] + [shard.records for shard in decoded.shards])
    times_N = np.zeros(starts[-1])
    facts: dict[str, Any] = {}
    origins: dict[str, Any] = {}
    bad = {v.name: reason for job, reason in decoded.bad.items() for v in files[job]}
    for job, event in sorted(decoded.done.items()):
        shard, position = decoded.places.get(job, (0, 0))
        begin, count = int(starts[shard]) + position, len(event.times)
        times_N[begin : begin + count] = event.times
        shared = {
            "sha256": event.sha256,
            "size": event.size,
            "pixel_shape": event.pixel_shape,
            "damage": event.damage,
        }
        origins[files[job][0].path] = shared | {
            "mark": marks[job],
            "first_record": begin,
            "num_frames": count,
            "fps": event.fps,
            "places": event.places,
        }
        for video, (first, stop, wrong) in zip(
            files[job], event.places or [(0, count, "")], strict=True
        ):
            if wrong:
                bad[video.name] = wrong
                continue
            seconds_T, fps = event.times[first:stop], event.fps
            facts[video.name] = shared | {
                "first_record": begin + first,
                "num_frames": stop - first,
                "fps": measured_fps(seconds_T - seconds_T[0], fps) if video.span else fps,
            }
            if video.span:
                facts[video.name]["sha256"] = content_of(event.sha256, seconds_T[0], seconds_T[-1])
    return times_N, facts, bad, origins

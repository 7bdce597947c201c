"""Decoding on Apache Beam, where one machine is too small: the only file that knows Beam.

The videos are dealt out in parts. A worker decodes a part as this machine would, with children that
a broken video may take down, and writes its shards into a folder of their own; here they are put
together. So the videos and the cache have to lie on disks that all workers see under the same
paths, and vid3d has to be installed on them.
"""

from __future__ import annotations

import logging
import os
import pickle
import shlex
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

from vid3d.data import ingest, shards
from vid3d.errors import UserError
from vid3d.video import decoder_pool
from vid3d.video.decoder_handle import Stretches
from vid3d.video.records import Settings

PART_VIDEOS = 32
RESULT = "written.pickle"


def decode(
    folder: Path, asked: list[str | Stretches], settings: Settings, *, timeout: float, options: str
) -> ingest.Written:
    """Decodes videos on Beam into an empty folder.

    Args:
        folder: for the shards.
        asked: the files, whole or stretches of them; their numbers in this order are the jobs.
        settings: what to store.
        timeout: see `decoder_pool.decode`.
        options: of Beam's pipeline, as on a command line: "--runner=FlinkRunner
            --flink_master=host:8081".

    Raises:
        UserError: Beam is not installed, or the pipeline fails.
    """
    logging.getLogger().setLevel(logging.ERROR)  # Beam warns of parts of itself that are not used
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError("--beam needs Apache Beam: pip install 'vid3d[beam]'") from None
    absolute = [at_absolute_path(video) for video in asked]  # a worker may run in another folder
    parts = [
        (number, absolute[start : start + PART_VIDEOS])
        for number, start in enumerate(range(0, len(absolute), PART_VIDEOS))
    ]
    try:
        pipeline_options = PipelineOptions(shlex.split(options), save_main_session=False)
        with beam.Pipeline(options=pipeline_options) as pipeline:
            _ = (
                pipeline
                | beam.Create(parts)
                | beam.Reshuffle()
                | beam.Map(
                    decode_part, folder=str(folder.absolute()), settings=settings, timeout=timeout
                )
            )
    except SystemExit:
        raise UserError(f"--beam={options}: Beam does not understand these options") from None
    except Exception as error:  # of any runner
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise UserError(f"the Beam pipeline failed: {(lines or [repr(error)])[0]}") from error
    return gather(folder, len(parts))


def at_absolute_path(video: str | Stretches) -> str | Stretches:
    """The same file by its absolute path."""
    if isinstance(video, Stretches):
        return replace(video, path=os.path.abspath(video.path))
    return os.path.abspath(video)


def decode_part(
    part: tuple[int, list[str | Stretches]], *, folder: str, settings: Settings, timeout: float
) -> None:
    """A worker's share: decodes some videos into `folder/part-NUMBER`.

    The first of several attempts to finish counts.
    """
    number, paths = part
    whole = Path(folder) / f"part-{number:05d}"
    attempt = whole.with_name(f"{whole.name}.{uuid.uuid4().hex}")
    attempt.mkdir()
    events = decoder_pool.decode(paths, settings, workers=1, timeout=timeout)
    (attempt / RESULT).write_bytes(pickle.dumps(ingest.write_events(attempt, events)))
    try:
        attempt.rename(whole)
    except OSError:
        if not whole.is_dir():
            raise
        shutil.rmtree(attempt)


def gather(folder: Path, num_parts: int) -> ingest.Written:
    """Puts the parts together: one numbering of the videos, one of the shards, one folder."""
    written = ingest.Written()
    for number in range(num_parts):
        part = folder / f"part-{number:05d}"
        found: ingest.Written = pickle.loads((part / RESULT).read_bytes())
        first_job, first_shard = number * PART_VIDEOS, len(written.shards)
        for job, event in found.done.items():
            written.done[first_job + job] = event
        for job, (shard_number, position) in found.places.items():
            written.places[first_job + job] = first_shard + shard_number, position
        for job, reason in found.bad.items():
            written.bad[first_job + job] = reason
        for shard in found.shards:
            shard.path = (part / shard.path.name).rename(folder / f"{part.name}-{shard.path.name}")
            written.shards.append(shard)
    shards.name_as_tfds(folder, written.shards)
    for leftover in folder.glob("part-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
    return written

"""Every video decoded once: from an index to shards of frames and facts in the cache.

The cache holds the frames of a set of files. Labels and splits come from the index when the frames
are used, so that another protocol, sampling or augmentation decodes nothing again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from vid3d import cache, storage
from vid3d.config import cache_folder
from vid3d.data import beam, disk, ingest, page, reuse, shards, tfds_frames
from vid3d.data.advice import GroupAdvice, suggest_groups
from vid3d.data.prepared import FACTS, FORMAT, LEDGER, SUMS, TIMES, Prepared, is_whole, load, sums
from vid3d.data.recordings import describe_videos, recordings, to_decode
from vid3d.data.report import (
    bad_by_split,
    check_bad,
    report,
    summary,
    write_ledger,
    write_manifest,
)
from vid3d.datasets.index import examine, find
from vid3d.datasets.stretches import Length, beyond_the_end
from vid3d.datasets.videos import Index
from vid3d.errors import UserError
from vid3d.terminal import VideoProgress, make_console
from vid3d.text import counted
from vid3d.video import decoder_pool
from vid3d.video.decoder_handle import Stretches, spans_of
from vid3d.video.decoder_pool import Events
from vid3d.video.frame_folder import files_of, update
from vid3d.video.kept_decoders import KEPT
from vid3d.video.picture import decode_options
from vid3d.video.reader import DECODER
from vid3d.video.records import Settings
from vid3d.video.resize import OPENCV, stored_size

PAGE = "report.html"
TOUCHED = "touched.json"  # when the decoded files were last changed


def prepare(
    config: ConfigDict,
    *,
    index: Index | None = None,
    quiet: bool = False,
    strict: bool = True,
    stalled_seconds: float = cache.STALLED_SECONDS,
    beam_options: str | None = None,
) -> Prepared:
    """Decodes what is not in the cache yet, or waits while another process does.

    Args:
        config: the whole config; `config.data` and the seed are read.
        index: the videos; by default those of the config.
        quiet: print nothing.
        strict: raise where bad videos are more than the config allows.
        stalled_seconds: how long to wait for another process that prepares the same and makes no
            progress.
        beam_options: decode on Apache Beam, with these options of its pipeline; None decodes on
            this machine.

    Raises:
        UserError: the disk is too small, or too many videos, or any test video, cannot be read.
    """
    data = config.data
    index = index or find(data, config.seed)
    folder = cache_folder(data.cache_dir) / f"frames-{cache_key(index, data)}"
    console = make_console(quiet=quiet)
    is_new = cache.make_once(
        folder,
        lambda incomplete: build(incomplete, index, data, console, beam_options),
        is_whole=lambda folder: (
            is_whole(folder, data.decode_timeout)
            and (data.source == "tfds" or is_current(folder, index, console))
        ),
        stalled_seconds=stalled_seconds,
    )
    prepared = load(folder, index)
    console.print(report(prepared, data) if is_new or not strict else summary(prepared))
    if strict:
        check_bad(prepared, data.max_bad_fraction)
    return prepared


@dataclass(frozen=True)
class Checkup:
    """What `doctor` found and wrote."""

    manifest: Path  # every video, or every good one, with its label and split, ready to train from
    bad_videos: Path  # those that cannot be read, and why
    page: Path  # the report with pictures, as HTML
    groups: GroupAdvice | None  # what the names of the videos suggest
    left_out: str  # which videos the manifest lacks, by split: "3 training, 1 test"; or ""
    lacking: str  # what keeps the videos from being trained on, such as a class with too few; or ""
    all_readable: bool


def doctor(
    config: ConfigDict, output: str | Path | None = None, *, without_bad: bool = False
) -> Checkup:
    """Decodes everything, reports on the terminal, and writes what it found.

    Args:
        config: the whole config.
        output: folder for manifest.csv, bad_videos.csv and report.html; by default a folder for
            these videos in the cache.
        without_bad: leave the videos that cannot be read out of the manifest.

    Raises:
        UserError: there are no videos, or all are to be left out, or the folder cannot be written.
    """
    chosen = storage.require_local(output or "", "--output").absolute()
    if output:
        storage.check_folder(chosen)
    index, lacking = examine(config.data, config.seed)
    prepared = prepare(config, index=index, strict=False)
    frames = prepared.directory
    folder = chosen if output else frames.with_name(f"doctor-{frames.name}")
    folder.mkdir(parents=True, exist_ok=True)
    if without_bad and not prepared.facts:
        raise UserError(f"no video can be read; the reasons are in {prepared.ledger}")
    manifest = write_manifest(prepared, folder, with_bad=not without_bad)
    index = prepared.index
    write_ledger(prepared.bad, index.videos, folder / LEDGER, root=index.root)
    groups = suggest_groups(prepared.index, config.data)
    advice = [str(groups)] if groups else []
    advice += [f"not enough to train on: {lacking}"] if lacking else []
    storage.write_whole(folder / PAGE, page.render(prepared, config.data, advice))
    return Checkup(
        manifest,
        folder / LEDGER,
        folder / PAGE,
        groups,
        left_out=bad_by_split(prepared) if without_bad else "",
        lacking=lacking,
        all_readable=not prepared.bad,
    )


def cache_key(index: Index, data: ConfigDict) -> str:
    """The name of the cached frames: changes with any file and with whatever determines a frame."""
    digest = hashlib.sha256(frame_settings(data).encode())
    if data.source == "tfds":  # its videos are not files; the root tells the version
        digest.update(index.root.encode())
    for path, videos in recordings(index).items():
        asked = "".join(f"\t{video.span}" for video in videos if video.span)
        line = f"\n{path}\t{identity(index.root, path)}{asked}"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def frame_settings(data: ConfigDict) -> str:
    """Whatever determines a stored frame besides the file that it comes from."""
    decoder = (DECODER, OPENCV, *astuple(decode_options(data)))
    frame = (stored_size(data), data.resize, data.color, data.stored_frames, data.store)
    return repr((FORMAT, *decoder, *frame))


def identity(root: str, path: str) -> str:
    """Size and time, which tell a file from an older one unless a copy kept both.

    Of a folder of frames, those of all of them.
    """
    try:
        found = [os.stat(name) for name in files_of(os.path.join(root, path))]
    except OSError:
        return "missing"
    size, newest = sum(s.st_size for s in found), max((s.st_mtime_ns for s in found), default=0)
    return f"{size} {newest}" + (f" {len(found)} frames" if len(found) != 1 else "")


def changed_ns(root: str, path: str) -> int:
    """When a file or its name was last changed in any way, in nanoseconds.

    The system sets it, and no copy keeps it.
    """
    whole = os.path.join(root, path)
    try:
        return max(os.stat(name).st_ctime_ns for name in {whole, *files_of(whole)})
    except OSError:
        return 0


def is_current(folder: Path, index: Index, console: Console) -> bool:
    """Whether the files are those that were decoded; touched ones are compared by content."""
    try:
        before = json.loads((folder / TOUCHED).read_text())
    except (OSError, ValueError):  # damaged
        return False
    now = {video.path: changed_ns(index.root, video.path) for video in index.videos}
    if now.items() <= before.items():
        return True
    changed = [path for path, time in now.items() if before.get(path) != time]
    console.print(f"checking whether {len(changed)} files are those that were decoded")
    stored = json.loads((folder / FACTS).read_text())["origin"]["videos"]
    for path in changed:
        if path in stored and content(Path(index.root, path)) != stored[path]["sha256"]:
            return False
    with contextlib.suppress(OSError):  # another user's cache
        storage.write_whole(folder / TOUCHED, json.dumps(before | now))
    return True


def content(path: Path) -> str:
    """The sha256 of a file, or of the frames in a folder."""
    if not path.is_dir():
        return storage.sha256(path)
    digest = hashlib.sha256()
    update(digest, str(path))
    return digest.hexdigest()


def build(
    folder: Path, index: Index, data: ConfigDict, console: Console, beam_options: str | None
) -> None:
    """Decodes the videos of an index into an empty folder."""
    settings = decode_settings(data)
    files = recordings(index)
    asked = [to_decode(os.path.join(index.root, path), videos) for path, videos in files.items()]
    what = counted(len(index.videos), "video")
    if len(asked) != len(index.videos):
        what = f"{len(index.videos)} stretches of {counted(len(asked), 'file')}"
    looks = disk.look(asked, settings, data)
    disk.check_free(folder, what, disk.estimate_bytes(asked, settings, data, looks), console)
    lengths = {
        path: Length(found.claimed, found.fps, found.seconds)
        for path, video in zip(files, asked, strict=True)
        if (found := looks.get(str(video)))
    }
    for line in beyond_the_end(index.videos, lengths):
        console.print(line)
    times = {path: changed_ns(index.root, path) for path in files}
    marks = [
        f"{video} {identity('', str(video))} {time}" + "".join(f" {s}" for s in spans_of(video))
        for video, time in zip(asked, times.values(), strict=True)
    ]
    decoded = decode(folder, asked, marks, index, data, settings, console, beam_options)
    written = decoded.shards
    if written:
        shards.write_metadata(folder, written, frame_shape=settings.frame_shape, store=data.store)
    times_N, videos, bad, origins = describe_videos(list(files.values()), marks, decoded)
    np.save(folder / TIMES, times_N)
    write_ledger(bad, index.videos, folder / LEDGER)
    sidecar = {
        "format": FORMAT,
        "frame_shape": settings.frame_shape,
        "store": data.store,
        "decode_timeout": data.decode_timeout,
        "shards": {shard.path.name: shard.records for shard in written},
        "bytes": {shard.path.name: shard.path.stat().st_size for shard in written},
        "videos": videos,
        "bad": bad,
        "origin": {
            "settings": frame_settings(data),
            # Frames of a tfds builder come from no files and are not copied to another list.
            "videos": {} if data.source == "tfds" else origins,
        },
    }
    (folder / FACTS).write_text(json.dumps(sidecar, indent=1))
    (folder / TOUCHED).write_text(json.dumps(times))
    (folder / SUMS).write_text(json.dumps(sums(folder)))


def decode_settings(data: ConfigDict) -> Settings:
    """How videos are decoded for the cache."""
    return Settings(
        size=stored_size(data),
        resize=data.resize,
        color=data.color,
        max_frames=data.stored_frames,
        store=data.store,
        decode=decode_options(data),
    )


def decode(
    folder: Path,
    asked: list[str | Stretches],
    marks: list[str],
    index: Index,
    data: ConfigDict,
    settings: Settings,
    console: Console,
    beam_options: str | None,
) -> ingest.Written:
    """Decodes the videos on Beam, from a tfds builder, or in child processes."""
    if beam_options is not None:
        if data.source == "tfds":
            raise UserError("--beam decodes video files: data.source=tfds is prepared without it")
        console.print(f"decoding {len(asked)} files on Apache Beam")
        return beam.decode(
            folder, asked, settings, timeout=data.decode_timeout, options=beam_options
        )
    if data.source == "tfds":
        events = tfds_frames.decode(data, index, settings)
    else:
        events = copy_or_decode(folder.parent, asked, marks, settings, data)
    noun = "files" if len(asked) != len(index.videos) else "videos"
    with VideoProgress(len(asked), console, noun=noun) as progress:
        return ingest.write_events(folder, events, lambda is_bad: progress.advance(bad=is_bad))


def copy_or_decode(
    cache_dir: Path,
    asked: list[str | Stretches],
    marks: list[str],
    settings: Settings,
    data: ConfigDict,
) -> Events:
    """The events of all videos: first of those in the cache for another list, then of the rest."""
    nothing = Index(root="", videos=(), classes=(), protocol="")
    rest = set(range(len(asked)))
    for event in reuse.copy_stored(
        cache_dir,
        settings=frame_settings(data),
        marks=marks,
        load=lambda folder: load(folder, nothing) if is_whole(folder, 0) else None,
    ):
        if isinstance(event, decoder_pool.Done):
            rest.discard(event.job)
        yield event
    jobs, timeout = sorted(rest), data.decode_timeout
    events = decoder_pool.decode(
        [asked[job] for job in jobs],
        settings,
        workers=decoder_pool.num_workers(data),
        timeout=timeout,
        decoders=KEPT,
    )
    with contextlib.closing(events):
        for found in events:
            yield replace(found, job=jobs[found.job])

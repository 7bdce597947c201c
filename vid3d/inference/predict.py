"""`vid3d predict`: labels files and folders, and writes annotated copies."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import track

from vid3d import storage
from vid3d.config import apply, validate
from vid3d.errors import UserError
from vid3d.inference import files, overlay
from vid3d.inference.classifier import Classifier
from vid3d.inference.prediction import Prediction
from vid3d.inference.report import Report
from vid3d.video.files import VIDEO_SUFFIXES, find_videos, left_out
from vid3d.video.picture import decode_options
from vid3d.video.records import Settings
from vid3d.video.writer import VideoWriter

OVERRIDES = ("eval.long_videos", "eval.views")  # which clips represent a video


def predict(
    workdir: str | Path,
    paths: Sequence[str | Path],
    *,
    checkpoint: str = "best",
    output: str | Path = "",
    overrides: Iterable[tuple[str, str]] = (),
) -> Report:
    """Labels videos, and writes annotated copies of them if asked to.

    Args:
        workdir: the folder of a training run.
        paths: video files, and folders that are searched for videos at any depth.
        checkpoint: "best", "latest", or the number of a step.
        output: a folder for annotated copies of the videos.
        overrides: (key, text) pairs; the keys are those of `OVERRIDES`.

    Returns:
        The predictions, the errors of files and folders, and notes on files that are left out.

    Raises:
        UserError: the workdir does not exist, there are only folders without videos, the output
            cannot be written, or an override has another key.
    """
    found = collect(paths)
    videos = found.videos
    copies = name_copies(videos, storage.require_local(output, "--output")) if output else {}
    classifier = Classifier.load(workdir, checkpoint)
    for key, text in overrides:
        apply(classifier.config, key, text)
        if key not in OVERRIDES:
            allowed = " and ".join(OVERRIDES)
            raise UserError(
                f"config.{key} is fixed by the checkpoint: only {allowed} can be set here"
            )
    validate(classifier.config)
    predictions: dict[str, Prediction] = {}
    errors = dict(found.empty)
    sizes: dict[str, tuple[int, int]] = {}
    progress = track(
        classifier.predict_many((path for path, _ in videos), sizes=sizes),
        description="labelling",
        total=len(videos),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    for path, answer in progress:
        if isinstance(answer, UserError):
            errors[path] = str(answer)
            continue
        predictions[path] = answer
        if output:
            try:
                annotate(path, answer, copies[path], sizes[path], classifier.config.data)
            except UserError as error:
                errors[path] = f"no annotated copy of {path}: {error}"
    return Report(classifier.classes, predictions, errors, found.notes)


class Found(NamedTuple):
    """The videos behind the paths of a command line.

    Attributes:
        videos: each with its path relative to the folder of annotated copies.
        empty: folder -> why it has no videos.
        notes: sentences about files that were left out.
    """

    videos: list[tuple[str, Path]]
    empty: dict[str, str]
    notes: list[str]


def collect(paths: Sequence[str | Path]) -> Found:
    """The files to label.

    A path that is not a folder counts as a file, even if it does not exist: reading it reports
    that.

    Raises:
        UserError: there are only folders without videos.
    """
    found = Found([], {}, [])
    for given in paths:
        path = Path(given)
        if not path.is_dir():
            found.videos.append((str(given), Path(path.name)))
            continue
        below, others = find_videos(path)
        if not below:
            known = ", ".join(sorted(VIDEO_SUFFIXES))
            found.empty[str(given)] = f"{path}: no videos in this folder; looked for {known}"
        elif others:
            found.notes.append(f"{path}: {left_out(others)}")
        found.videos.extend((str(path / name), Path(name)) for name in below)
    if found.empty and not found.videos:
        raise UserError(next(iter(found.empty.values())))
    unique = {path: (path, copy) for path, copy in found.videos}
    return found._replace(videos=list(unique.values()))


def name_copies(videos: Iterable[tuple[str, Path]], folder: Path) -> dict[str, Path]:
    """The path of each video's annotated copy: an .mp4 of its name, numbered if names coincide.

    Raises:
        UserError: a copy would overwrite a video, or the folder is a file, has no parent folder, or
            cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output={folder} is a file: give a folder for the annotated videos")
    if not folder.parent.exists():
        raise UserError(f"cannot write to --output={folder}: there is no folder {folder.parent}")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to --output={folder}: {error.strerror}") from None
    videos = list(videos)
    originals = {Path(path).resolve() for path, _ in videos}
    copies: dict[str, Path] = {}
    taken: set[Path] = set()
    for path, name in videos:
        copy, number = folder / name.with_suffix(".mp4"), 1
        while copy in taken:
            number += 1
            copy = folder / name.with_name(f"{name.stem}-{number}.mp4")
        if copy.resolve() in originals:
            raise UserError(f"--output={folder} would overwrite {copy}: give another folder")
        taken.add(copy)
        copies[path] = copy
    return copies


def annotate(
    path: str, answer: Prediction, copy: Path, size: tuple[int, int], data: ConfigDict
) -> None:
    """Writes a copy of a video that shows the current label on each frame.

    Args:
        path: the video.
        answer: its prediction.
        copy: the file to write.
        size: height and width of its frames.
        data: `config.data`; the decoding options and `decode_timeout` are read.

    Raises:
        UserError: the copy cannot be written, or the video cannot be decoded again.
    """
    whole = Settings(size, "squash", "rgb", max_frames=0, store="raw", decode=decode_options(data))
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {copy.parent}: {error.strerror}") from None
    left = list(answer.segments)
    with VideoWriter(copy, fps=answer.num_frames / answer.seconds) as writer:
        for frame_HWC, seconds in files.stream(path, whole, timeout=data.decode_timeout):
            while len(left) > 1 and seconds >= left[0].end:
                left.pop(0)
            drawn = overlay.draw(frame_HWC, left[0].label, probability=left[0].probability)
            writer.write(drawn, seconds)

"""`vid3d predict`: labels videos as a table, JSON or CSV, and writes annotated copies."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from vid3d import storage, terminal
from vid3d.config import apply, validate
from vid3d.errors import UserError
from vid3d.inference import files, overlay
from vid3d.inference.classifier import Classifier
from vid3d.inference.prediction import Prediction
from vid3d.video.files import VIDEO_SUFFIXES, find_videos, left_out
from vid3d.video.picture import decode_options
from vid3d.video.records import Settings
from vid3d.video.writer import VideoWriter

OVERRIDES = ("eval.long_videos", "eval.views")  # which clips represent a video
LISTED = 12  # segments per video in the table; JSON and CSV have all


def predict(
    workdir: str | Path,
    paths: Sequence[str | Path],
    *,
    checkpoint: str = "best",
    as_json: bool = False,
    as_csv: bool = False,
    output: str | Path = "",
    overrides: Iterable[tuple[str, str]] = (),
) -> int:
    """Labels videos and prints the predictions, and a line on stderr per unreadable file.

    Args:
        workdir: the folder of a training run.
        paths: video files, and folders that are searched for videos at any depth.
        checkpoint: "best", "latest", or the number of a step.
        as_json: print one JSON object, and nothing else.
        as_csv: print one row per video, and nothing else.
        output: a folder for annotated copies of the videos.
        overrides: (key, text) pairs; the keys are those of `OVERRIDES`.

    Returns:
        The exit code: 1 if a file could not be read, otherwise 0.

    Raises:
        UserError: the workdir does not exist, there are only folders without videos, the output cannot be written,
            or an override has another key.
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
    answers: dict[str, Prediction] = {}
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
        answers[path] = answer
        if output:
            try:
                annotate(path, answer, copies[path], sizes[path], classifier.config.data)
            except UserError as error:
                errors[path] = f"no annotated copy of {path}: {error}"
    for note in found.notes:
        print(f"vid3d predict: note: {one_line(note)}", file=sys.stderr)
    for path, answer in answers.items():
        if answer.damage:
            print(f"vid3d predict: warning: {one_line(path)}: {answer.damage}", file=sys.stderr)
    for reason in errors.values():
        print(f"vid3d predict: error: {one_line(reason)}", file=sys.stderr)
    if as_json:
        predictions = [{"path": path} | as_dict(answer) for path, answer in answers.items()]
        failed = [{"path": path, "error": error} for path, error in errors.items()]
        print(json.dumps({"predictions": predictions, "errors": failed}))
    elif as_csv:
        write_csv(answers, classifier.classes)
    elif answers:
        print_table(answers)
        if output and answers.keys() - errors.keys():
            print(f"annotated videos are in {output}")
    return 1 if errors else 0


def one_line(text: str) -> str:
    """Replaces line breaks, which names of files may contain, by spaces."""
    return " ".join(text.split())


class Found(NamedTuple):
    """What the paths of a command line stand for.

    Attributes:
        videos: each with its path relative to the folder of annotated copies.
        empty: the folders without videos, with the reason.
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


def as_dict(answer: Prediction) -> dict[str, object]:
    """The fields of a prediction in JSON."""
    return asdict(answer) | {"segments": [segment._asdict() for segment in answer.segments]}


def write_csv(answers: dict[str, Prediction], classes: Sequence[str]) -> None:
    """Prints one row per video: label, time line as text, and one probability per class."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    fixed = ("path", "label", "probability", "num_frames", "seconds", "segments", "damage", "note")
    writer.writerow((*fixed, *(f"probability:{name}" for name in classes)))
    for path, answer in answers.items():
        segments = "; ".join(f"{s.start:.2f}-{s.end:.2f} {s.label}" for s in answer.segments)
        row = (path, answer.label, answer.probability, answer.num_frames, answer.seconds, segments)
        writer.writerow((*row, answer.damage, answer.note, *answer.probabilities.values()))


def print_table(answers: dict[str, Prediction]) -> None:
    """Prints the table, and below it the notes on predictions that were made in another way."""
    console = terminal.console()
    console.print(table(answers))
    paths: dict[str, list[str]] = {}
    for path, answer in answers.items():
        if answer.note:
            paths.setdefault(answer.note, []).append(path)
    for note, noted in list(paths.items())[:LISTED]:
        others = f" and {len(noted) - 1} more" * (len(noted) > 1)
        console.print(Text(f"note: {one_line(noted[0])}{others}: {note}"))
    if len(paths) > LISTED:
        console.print(f"and {len(paths) - LISTED} more notes: see --json or --csv")


def table(answers: dict[str, Prediction]) -> Table:
    """One line per video, followed by one per segment if it has several."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("video", overflow="fold")
    shown.add_column("time", justify="right", no_wrap=True)
    shown.add_column("label", overflow="fold")
    shown.add_column("probability", justify="right")
    for path, answer in answers.items():
        segments = answer.segments
        shown.add_row(
            Text(one_line(path)),
            clock(answer.seconds),
            Text(answer.label, style="bold"),
            f"{answer.probability:.3f}",
        )
        for segment in segments[:LISTED] if len(segments) > 1 else ():
            span = f"{clock(segment.start)} - {clock(segment.end)}"
            shown.add_row("", span, Text(f"  {segment.label}"), f"{segment.probability:.3f}")
        if len(segments) > LISTED:
            shown.add_row("", "", f"  and {len(segments) - LISTED} more: see --json or --csv", "")
    return shown


def clock(seconds: float) -> str:
    """Minutes and seconds, such as 1:05.3."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f}:{rest:04.1f}"

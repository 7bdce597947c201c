"""`vid3d predict`: labels files and folders, and writes annotated copies."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ml_collections import ConfigDict

from vid3d import storage, terminal
from vid3d.checkpoint import Workdir
from vid3d.config import apply, validate
from vid3d.errors import UserError
from vid3d.inference import chosen, files, overlay
from vid3d.inference.classifier import Classifier
from vid3d.inference.event_file import EventFile
from vid3d.inference.event_formats import Format
from vid3d.inference.found import Found, collect, name_copies
from vid3d.inference.prediction import Prediction
from vid3d.inference.recordings import label_recordings
from vid3d.inference.report import Report
from vid3d.inference.rows import Row, fingerprint
from vid3d.inference.stretch import Stretches, stretch
from vid3d.inference.video import check_background
from vid3d.video.picture import decode_options
from vid3d.video.records import Settings
from vid3d.video.writer import VideoWriter

# How fast folders of frames are, which clips represent a video, and what is made of their
# probabilities.
OVERRIDES = ("data.frames_fps", "eval.long_videos", "eval.views", "predict.*")
LINE_SECONDS = 60.0  # between two lines of progress where there is no terminal


@dataclass(frozen=True)
class Labelling:
    """Videos that are about to be labelled.

    Attributes:
        classifier: with the overrides in its config.
        found: the videos.
        copies: path of a video -> its annotated copy; empty where there are to be none.
        for_events: decodes each video once and labels it by itself, however long it is; otherwise
            clips of several videos share batches, which is faster for many short ones.
        span: start and end of the stretch that is labelled, in seconds; None is the whole video.
    """

    classifier: Classifier
    found: Found
    copies: dict[str, Path]
    for_events: bool = False
    span: tuple[float, float] | None = None

    def paths(self) -> Iterator[str]:
        """What gets a row: folders without videos, and the videos."""
        yield from self.found.empty
        yield from self.found.videos

    def rows(self, done: Container[str] = (), *, quiet: bool = False) -> Generator[Row]:
        """Labels the videos that are not `done`, and yields each in their order.

        Nothing that was yielded is kept, so memory does not grow with the number of videos. How far
        it is goes to standard error: a bar on a terminal, elsewhere a line a minute.
        """
        empty = {path: why for path, why in self.found.empty.items() if path not in done}
        videos = [path for path in self.found.videos if path not in done]
        sizes: dict[str, tuple[int, int]] = {}
        with terminal.VideoProgress(
            len(empty) + len(videos),
            terminal.make_console(quiet=quiet),
            doing="labelling",
            line_seconds=LINE_SECONDS,
            lasting=False,
        ) as progress:
            for path, why in empty.items():
                yield Row(path, None, why)
                progress.advance(bad=True)
            for path, answer in self._answers(videos, sizes):
                size = sizes.pop(path, (0, 0))
                row = (
                    Row(path, None, str(answer))
                    if isinstance(answer, UserError)
                    else Row(path, answer, self._copy(path, answer, size))
                )
                yield row
                progress.advance(bad=bool(row.error))

    def event_file(self, target: Path, form: Format, *, retry: bool = False) -> EventFile:
        """Opens a file of events; see `EventFile`."""
        checkpoint, classes = fingerprint(self.classifier, events=True), self.classifier.classes
        return EventFile(target, form, classes=classes, checkpoint=checkpoint, retry=retry)

    def report(self) -> Report:
        """Labels all videos and keeps their predictions."""
        report = Report({}, {}, self.found.notes)
        for row in self.rows():
            if row.prediction:
                report.predictions[row.path] = row.prediction
            if row.error:
                report.errors[row.path] = row.error
        return report

    def _answers(
        self, videos: list[str], sizes: dict[str, tuple[int, int]]
    ) -> Iterator[tuple[str, Prediction | UserError]]:
        """The answer of each video; fills in the sizes."""
        if not self.for_events:
            sources = [self._source(path) for path in videos]
            yield from self.classifier.predict_many(sources, sizes=sizes)
            return
        for path, video in label_recordings(self.classifier, videos, sizes=sizes):
            if isinstance(video, UserError):
                yield path, video
            else:
                yield path, self.classifier.prediction_of(video)

    def _source(self, path: str) -> str | Stretches:
        return stretch(path, *self.span) if self.span else path

    def _copy(self, path: str, answer: Prediction, size: tuple[int, int]) -> str:
        """Writes the annotated copy, if there is to be one; returns why there is none."""
        if not self.copies:
            return ""
        try:
            data = self.classifier.config.data
            annotate(self._source(path), answer, self.copies[path], size, data)
        except UserError as error:
            return f"no annotated copy of {path}: {error}"
        return ""


def prepare(
    workdir: str | Path,
    paths: Sequence[str | Path],
    *,
    checkpoint: str = "best",
    output: str | Path = "",
    overrides: Iterable[tuple[str, str]] = (),
    events: bool = False,
    anew: bool = False,
    engine: str = "jax",
    precision: str = "f32",
) -> Labelling:
    """Finds the videos and loads the classifier; see `predict` and `Labelling`.

    With `events` they are decoded as was chosen for the workdir; `anew` leaves that out.
    """
    folder = storage.require_local(output, "--output") if output else None
    classifier = Classifier.load(workdir, checkpoint, engine=engine, precision=precision)
    notes = [unfinished] if (unfinished := Workdir(workdir).unfinished()) else []
    if events and not anew:
        notes += chosen.apply_to(classifier, workdir)
    override(classifier.config, overrides)
    if events:
        check_events(classifier)
        notes += silence_note(classifier.config)
    found = collect(paths, classifier.config.data.frames_fps)
    found.notes.extend(notes)
    copies = name_copies(found.videos, folder) if folder else {}
    return Labelling(classifier, found, copies, events)


def predict(
    workdir: str | Path,
    paths: Sequence[str | Path],
    *,
    checkpoint: str = "best",
    output: str | Path = "",
    overrides: Iterable[tuple[str, str]] = (),
    engine: str = "jax",
    precision: str = "f32",
) -> Report:
    """Labels videos, and writes annotated copies of them if asked to.

    Args:
        workdir: the folder of a training run.
        paths: video files, and folders that are searched for videos at any depth.
        checkpoint: "best", "latest", or the number of a step.
        output: a folder for annotated copies of the videos.
        overrides: (key, text) pairs; the keys are those of `OVERRIDES`.
        engine: see `Classifier.load`.
        precision: see `Classifier.load`.

    Returns:
        The predictions, the errors of files and folders, and notes on files that are left out.

    Raises:
        UserError: the workdir does not exist, there are only folders without videos, the output
            cannot be written, or an override has another key.
    """
    return prepare(
        workdir,
        paths,
        checkpoint=checkpoint,
        output=output,
        overrides=overrides,
        engine=engine,
        precision=precision,
    ).report()


def override(config: ConfigDict, overrides: Iterable[tuple[str, str]]) -> None:
    """Sets keys of `OVERRIDES`, given as (key, text), and checks the config.

    Raises:
        UserError: a key is another one, or a value is out of range.
    """
    for key, text in overrides:
        apply(config, key, text)
        if not any(fnmatchcase(key, pattern) for pattern in OVERRIDES):
            allowed = f"{', '.join(OVERRIDES[:-1])} and {OVERRIDES[-1]}"
            raise UserError(
                f"config.{key} is fixed by the checkpoint: only {allowed} can be set here"
            )
    validate(config)


def check_events(classifier: Classifier) -> None:
    """Checks that a time line can be made and decoded.

    Raises:
        UserError: long videos are not answered by windows, or a class of
            `predict.events.background` is none of the model's.
    """
    config = classifier.config
    if config.eval.long_videos == "views":
        raise UserError(
            "config.eval.long_videos='views' cuts no recording into windows, and so gives no "
            "events: add --config.eval.long_videos=mean"
        )
    check_background(config.predict.events.background, classifier.classes)


def silence_note(config: ConfigDict) -> list[str]:
    """Says that every moment will be labelled, where nothing stands for "none of the classes"."""
    chosen = config.predict
    if chosen.threshold or chosen.events.on or chosen.events.background:
        return []
    return [
        "every moment of a recording is given one of the classes, pauses too: where a class stands "
        "for no event, such as other, name it with --config.predict.events.background=other; "
        "otherwise --threshold=0.8 leaves out what is less probable, and such a class is better "
        "(docs/timeline.md)"
    ]


def annotate(
    video: str | Stretches,
    answer: Prediction,
    copy: Path,
    size: tuple[int, int],
    data: ConfigDict,
) -> None:
    """Writes a copy of a video that shows the current label on each frame.

    Args:
        video: its path, or a stretch of it.
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
    left, start = list(answer.segments), answer.segments[0].start
    with VideoWriter(copy, fps=answer.num_frames / answer.seconds) as writer:
        for frame_HWC, seconds in files.stream(video, whole, timeout=data.decode_timeout):
            while len(left) > 1 and seconds >= left[0].end:
                left.pop(0)
            drawn = overlay.draw(frame_HWC, left[0].label, probability=left[0].probability)
            writer.write(drawn, seconds - start)

"""`vid3d live`: labels a camera or a playing file, in a window or into an annotated video.

A file is labelled window by window, however long that takes, so that the labels are reproducible. A
camera does not wait: one thread reads its frames, another labels the newest window, and the main
thread shows the newest frame with the newest label. There is no queue between them, so neither
delay nor memory grows.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from ml_collections import ConfigDict

from vid3d import storage
from vid3d.config import apply, validate
from vid3d.errors import UserError
from vid3d.inference import overlay
from vid3d.inference.camera import Camera, Worker
from vid3d.inference.classifier import Classifier
from vid3d.inference.prediction import Prediction
from vid3d.inference.stream import Stream
from vid3d.video import container
from vid3d.video.picture import DecodeOptions, decode_options
from vid3d.video.reader import check_file
from vid3d.video.sources import Source, file_path
from vid3d.video.writer import VideoWriter

LONGEST_GAP = 1.0  # seconds; longer gaps of a camera are shortened to this in the annotated video


class Label(NamedTuple):
    """A prediction and its latency."""

    prediction: Prediction
    latency: float  # seconds from the newest frame of the window to the prediction


class Sink(Protocol):
    """The target of annotated frames; `show` returns whether to go on."""

    def show(self, frame_HWC: np.ndarray, seconds: float) -> bool: ...


class Totals(NamedTuple):
    """What `live` did to a source.

    Attributes:
        num_labels: how many labels there were.
        num_frames: frames of the annotated video; 0 without one.
        damage: what is wrong with a file that can still be read, or "".
    """

    num_labels: int
    num_frames: int
    damage: str


class Display:
    """The output: labels for a caller, frames with the newest label, or both."""

    def __init__(self, sink: Sink | None, on_label: Callable[[Label], None] | None):
        """Takes the target of the frames and the caller that gets each label, or None."""
        self.sink = sink
        self.on_label = on_label
        self.num_labels = 0

    def label(self, label: Label) -> None:
        """Counts a new label and hands it to the caller."""
        self.num_labels += 1
        if self.on_label:
            self.on_label(label)

    def frame(
        self, frame_HWC: np.ndarray, seconds: float, label: Label | None, *, lost: bool
    ) -> bool:
        """Shows a frame; returns whether to go on."""
        if self.sink is None:
            return True
        if lost:
            drawn = overlay.draw(frame_HWC, "no signal")
        elif label is None:
            drawn = overlay.draw(frame_HWC, "...")
        else:
            answer, note = label.prediction, f"{1000 * label.latency:.0f} ms"
            drawn = overlay.draw(frame_HWC, answer.label, probability=answer.probability, note=note)
        return self.sink.show(drawn, seconds)


def to_json(label: Label) -> str:
    """One line of JSON."""
    fields = {
        "seconds": label.prediction.segments[-1].end,
        "label": label.prediction.label,
        "probability": label.prediction.probability,
        "probabilities": label.prediction.probabilities,
        "latency_ms": round(1000 * label.latency, 1),
    }
    return json.dumps(fields)


def live(
    workdir: str | Path,
    source: str | int,
    *,
    checkpoint: str = "best",
    output: str | Path = "",
    on_label: Callable[[Label], None] | None = None,
    overrides: Iterable[tuple[str, str]] = (),
    seconds: float = 0.0,
) -> Totals:
    """Labels a source until it ends, its window is closed, or the process is interrupted.

    A window, closed by ESC or its close button, is opened unless `output` or `on_label` is given.
    A lost camera is reopened.

    Args:
        workdir: the folder of a training run.
        source: the number of a camera, a URL, or a video file.
        checkpoint: "best", "latest", or the number of a step.
        output: the annotated video to write.
        on_label: called with each label as soon as it is known; for a camera, in another thread.
        overrides: (key, text) pairs for `live.*` of the config.
        seconds: stop a camera after this time; 0 means never.

    Raises:
        UserError: the workdir does not exist, the source cannot be opened or read, there is no
            display, or the output cannot be written.
    """
    with contextlib.ExitStack() as stack:
        name = str(source)
        file = storage.require_local(output, "--output") if output else None
        if (path := file_path(name)) is not None:
            check_source(path, file)
        if not output and not on_label:
            overlay.check_display()
        classifier = Classifier.load(workdir, checkpoint)
        configure(classifier.config, overrides)
        classifier.compile()  # before the first frame arrives
        options = decode_options(classifier.config.data)
        reader = open_source(name, options)
        camera = stack.enter_context(Camera(reader)) if reader.is_camera else None
        if camera is None:
            stack.enter_context(reader)
        sink: Sink | None = None
        writer = None
        if file:
            writer = stack.enter_context(VideoWriter(file, fps=reader.fps or container.DEFAULT_FPS))
            sink = Recording(writer, longest_gap=LONGEST_GAP if reader.is_camera else math.inf)
        elif not on_label:
            sink = stack.enter_context(overlay.DisplayWindow(paced=not reader.is_camera))
        stream = classifier.stream()
        display = Display(sink, on_label)
        every = classifier.config.live.every
        with until_interrupted():
            if camera:
                label_camera(camera, stream, display, every=every, seconds=seconds)
            else:
                every = every or classifier.config.data.frame_step
                label_file(reader, stream, display, every=every)
        damage = "" if reader.is_camera else reader.damage
    return Totals(display.num_labels, writer.num_frames if writer else 0, damage)


def label_file(reader: Source, stream: Stream, display: Display, *, every: int) -> None:
    """Labels windows that are `every` frames apart.

    A video shorter than a window has one label, from its first frame on.
    """
    label = label_if_short(reader, stream)
    if label:
        display.label(label)
    stream.clear()
    number, due = 0, 0
    while item := read(reader):
        frame_HWC, seconds = item
        taken = time.perf_counter()
        full = stream.add(frame_HWC, seconds)
        if full and number >= due and (prediction := stream.predict()):
            label = Label(prediction, time.perf_counter() - taken)
            display.label(label)
            due = number + every
        if not display.frame(frame_HWC, seconds, label, lost=False):
            return
        number += 1


def label_if_short(source: Source, stream: Stream) -> Label | None:
    """The label of a file shorter than one window; None for a longer one."""
    with open_source(source.name, source.options) as again:
        while item := read(again):
            if stream.add(*item):
                return None
    taken = time.perf_counter()
    prediction = stream.predict()
    return Label(prediction, time.perf_counter() - taken) if prediction else None


def label_camera(
    camera: Camera, stream: Stream, display: Display, *, every: int, seconds: float
) -> None:
    """Shows the newest frame and label until the display is closed or `seconds` have passed."""
    camera.stream = stream
    end = camera.clock() + seconds if seconds else math.inf
    with Labeller(camera, stream, display, every=every) as labels:
        newest = camera.newest
        while camera.clock() < end:
            newest = camera.wait(after=newest.number, timeout=0.05) or newest
            labels.check()
            if not display.frame(newest.frame_HWC, newest.seconds, labels.newest, lost=camera.lost):
                return


class Labeller(Worker):
    """Labels the newest window once the last one is done and `every` frames have arrived.

    Attributes:
        newest: the newest label; None until the window is full.
    """

    def __init__(self, camera: Camera, stream: Stream, display: Display, *, every: int):
        """Takes the source of windows and the target of labels."""
        super().__init__()
        self.camera, self.stream, self.display, self.every = camera, stream, display, every
        self.newest: Label | None = None

    def run(self) -> None:
        seen = -1
        while not self.ended.is_set():
            taken = self.camera.wait(after=seen, timeout=0.1)
            if taken is None:
                continue
            prediction = self.stream.predict() if taken.full else None
            if prediction is None:
                self.newest, seen = None, taken.number
                continue
            late = self.camera.clock() - prediction.segments[-1].end
            self.newest = Label(prediction, late)
            self.display.label(self.newest)
            seen = taken.number + max(self.every, 1) - 1

    def check(self) -> None:
        """Raises the error that ended this thread or the camera's, if any."""
        super().check()
        self.camera.check()


class Recording:
    """Writes annotated frames to a video and keeps their times."""

    def __init__(self, writer: VideoWriter, *, longest_gap: float):
        """Takes the writer, and the seconds to which longer gaps between frames are shortened."""
        self.writer = writer
        self.longest_gap = longest_gap
        self._before: float | None = None
        self._left_out = 0.0  # seconds

    def show(self, frame_HWC: np.ndarray, seconds: float) -> bool:
        """Writes a frame, unless it was written already."""
        if self._before is None:
            self._left_out = seconds
        elif seconds <= self._before:
            return True
        else:
            self._left_out += max(seconds - self._before - self.longest_gap, 0)
        self._before = seconds
        self.writer.write(frame_HWC, seconds - self._left_out)
        return True


def check_source(path: str, output: Path | None) -> None:
    """Checks a file before anything is loaded.

    Raises:
        UserError: it cannot be read, or the output would overwrite it.
    """
    try:
        check_file(path)
    except container.VideoError as error:
        raise UserError(f"{path}: {error}") from None
    if output and output.exists() and output.samefile(path):
        raise UserError(f"--output={output} would overwrite the source: give another file")


def open_source(name: str, options: DecodeOptions) -> Source:
    """Opens a camera, a URL or a file.

    Raises:
        UserError: it cannot be opened.
    """
    try:
        return Source(name, options)
    except container.VideoError as error:
        raise UserError(f"{name}: {error}") from None


def read(source: Source) -> tuple[np.ndarray, float] | None:
    """The next frame and its seconds; None at the end.

    Raises:
        UserError: there are no frames, or one cannot be converted.
    """
    try:
        return source.read()
    except container.VideoError as error:
        raise UserError(f"{source.name}: {error}") from None


def configure(config: ConfigDict, overrides: Iterable[tuple[str, str]]) -> None:
    """Applies overrides of `live.*`.

    Raises:
        UserError: another key, or an invalid value.
    """
    for key, text in overrides:
        apply(config, key, text)
        if not key.startswith("live."):
            raise UserError(
                f"config.{key} is fixed by the checkpoint: only config.live.* can be set here"
            )
    validate(config)


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM end only the block: they are the way to stop a camera."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main else None
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)

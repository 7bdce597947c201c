"""`vid3d live`: labels a camera or a playing file, in a window or into an annotated video.

A file is labelled window by window, however long that takes, so that the labels are reproducible. A
camera does not wait: one thread reads its frames, another labels the newest window, and the main
thread shows the newest frame with the newest label. There is no queue between them, so neither
delay nor memory grows.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from vid3d import storage
from vid3d.config import apply, validate
from vid3d.errors import UserError
from vid3d.inference import chosen, overlay
from vid3d.inference.camera import FIRST_PAUSE, LONGEST_PAUSE, Camera, Worker
from vid3d.inference.classifier import Classifier
from vid3d.inference.live_events import LiveEvents, check_target
from vid3d.inference.live_output import Display, Event, Label, Recording
from vid3d.inference.report import print_notes
from vid3d.inference.stream import LabelStream
from vid3d.video import container
from vid3d.video.picture import DecodeOptions, decode_options
from vid3d.video.reader import check_file
from vid3d.video.sources import Source, file_path
from vid3d.video.writer import VideoWriter

LONGEST_GAP = 1.0  # seconds; longer gaps of a camera are shortened to this in the annotated video


class Totals(NamedTuple):
    """What `live` did to a source.

    Attributes:
        num_labels: how many labels there were.
        num_frames: frames of the annotated video; 0 without one.
        damage: what is wrong with a file that can still be read, or "".
        num_events: that were written; 0 without a file of them.
    """

    num_labels: int
    num_frames: int
    damage: str
    num_events: int = 0


def live(
    workdir: str | Path,
    source: str | int,
    *,
    checkpoint: str = "best",
    output: str | Path = "",
    on_label: Callable[[Label], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    overrides: Iterable[tuple[str, str]] = (),
    seconds: float = 0.0,
    wait: float = 0.0,
    events: str | Path = "",
    engine: str = "jax",
    precision: str = "f32",
) -> Totals:
    """Labels a source until it ends, its window is closed, or the process is interrupted.

    A window, closed by ESC or its close button, is opened unless `output`, `on_label` or `events`
    is given. A lost camera is reopened.

    Args:
        workdir: the folder of a training run.
        source: the number of a camera, a URL, or a video file.
        checkpoint: "best", "latest", or the number of a step.
        output: the annotated video to write.
        on_label: called with each label as soon as it is known; for a camera, in another thread.
        on_event: called when a camera is lost, and when it is back; in another thread, and never
            at the same time as `on_label`.
        overrides: (key, text) pairs for `live.*` of the config.
        seconds: stop after this time, that of a camera from its first frame on; 0 means never.
        wait: for how many seconds to try again where a camera or a URL cannot be opened.
        events: a .csv or .jsonl to write each event into as it ends.
        engine: see `Classifier.load`.
        precision: see `Classifier.load`.

    Raises:
        UserError: the workdir does not exist, the source cannot be opened or read, there is no
            display, or the output cannot be written; `wait` is given for a file.
    """
    with contextlib.ExitStack() as stack:
        name = str(source)
        file = storage.require_local(output, "--output") if output else None
        if (path := file_path(name)) is not None:
            check_source(path, file)
            if wait:
                raise UserError(f"--wait is for cameras and streams, and {name} is a file")
        event_file = check_target(events) if events else None
        shown = not (output or on_label or event_file)
        if shown:
            overlay.check_display()
        classifier = Classifier.load(workdir, checkpoint, engine=engine, precision=precision)
        if event_file:
            decode_as_chosen(classifier, workdir)
        configure(classifier.config, overrides, events=bool(event_file))
        classifier.compile()  # before the first frame arrives
        options = decode_options(classifier.config.data)
        display = Display(on_label, on_event)
        if event_file:
            display.events = stack.enter_context(
                LiveEvents(event_file, name, classifier.classes, classifier.config)
            )
            display.events.chosen_step = chosen.step_seconds(classifier, workdir)
        opened = connect(name, options, display, wait=wait)
        stack.enter_context(opened)
        camera = opened if isinstance(opened, Camera) else None
        reader = opened.reader if isinstance(opened, Camera) else opened
        writer = None
        if file:
            writer = stack.enter_context(VideoWriter(file, fps=reader.fps or container.DEFAULT_FPS))
            gap = LONGEST_GAP if camera else math.inf
            display.sink = Recording(writer, longest_gap=gap)
        elif shown:
            display.sink = stack.enter_context(overlay.DisplayWindow(paced=not camera))
        stream = classifier.stream()
        every = classifier.config.live.every
        with until_interrupted() as interrupted:
            if camera:
                label_camera(camera, stream, display, interrupted, every=every, seconds=seconds)
            else:
                every = every or classifier.config.data.frame_step
                label_file(reader, stream, display, interrupted, every=every, seconds=seconds)
        damage = "" if camera else reader.damage
    written = display.events.num_events if display.events else 0
    return Totals(display.num_labels, writer.num_frames if writer else 0, damage, written)


def label_file(
    reader: Source,
    stream: LabelStream,
    display: Display,
    interrupted: Callable[[], bool],
    *,
    every: int,
    seconds: float,
) -> None:
    """Labels windows that are `every` frames apart, of the first `seconds` or, with 0, of all.

    A video shorter than a window has one label, from its first frame on.
    """
    end = seconds or math.inf
    label = label_if_short(reader, stream, end=end)
    if label:
        display.label(label)
    stream.clear()
    due = 0
    for number, (frame_HWC, second) in enumerate(frames_until(end, reader)):
        if interrupted():
            return
        taken = time.perf_counter()
        full = stream.add(frame_HWC, second)
        if full and number >= due and (prediction := stream.predict()):
            label = Label.made_now(prediction, latency=time.perf_counter() - taken)
            display.label(label)
            due = number + every
        if not display.frame(frame_HWC, second, label, lost=False):
            return


def label_if_short(source: Source, stream: LabelStream, *, end: float) -> Label | None:
    """The label of a file shorter than one window; None for a longer one."""
    with open_source(source.name, source.options) as again:
        for item in frames_until(end, again):
            if stream.add(*item):
                return None
    taken = time.perf_counter()
    prediction = stream.predict()
    if prediction is None:
        return None
    return Label.made_now(prediction, latency=time.perf_counter() - taken)


def label_camera(
    camera: Camera,
    stream: LabelStream,
    display: Display,
    interrupted: Callable[[], bool],
    *,
    every: int,
    seconds: float,
) -> None:
    """Shows the newest frame and label until the display is closed or `seconds` have passed."""
    camera.stream = stream
    end = camera.clock() + seconds if seconds else math.inf
    with Labeller(camera, stream, display, every=every) as labels:
        newest = camera.newest
        while camera.clock() < end and not interrupted():
            newest = camera.wait(after=newest.number, timeout=0.05) or newest
            labels.check()
            if not display.frame(newest.frame_HWC, newest.seconds, labels.newest, lost=camera.lost):
                return


class Labeller(Worker):
    """Labels the newest window once the last one is done and `every` frames have arrived.

    Attributes:
        newest: the newest label; None until the window is full.
    """

    def __init__(self, camera: Camera, stream: LabelStream, display: Display, *, every: int):
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
            self.newest = Label.made_now(prediction, latency=late)
            self.display.label(self.newest)
            seen = taken.number + max(self.every, 1) - 1

    def check(self) -> None:
        """Raises the error that ended this thread or the camera's, if any."""
        super().check()
        self.camera.check()


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


def connect(name: str, options: DecodeOptions, display: Display, *, wait: float) -> Camera | Source:
    """Opens a source, a camera with its first frame; tries again for `wait` seconds.

    Raises:
        UserError: it cannot be opened, or gives no frames.
    """
    end, pause = time.monotonic() + wait, FIRST_PAUSE
    while True:
        try:
            reader = open_source(name, options)
            return Camera(reader, display.event) if reader.is_camera else reader
        except UserError as error:
            left = end - time.monotonic()
            if left <= 0:
                raise
            if pause == FIRST_PAUSE:
                print(f"{error}; waiting {wait:g} s for it", file=sys.stderr)
        time.sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE)


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


def frames_until(end: float, source: Source) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a file whose seconds are below `end`; raises a UserError as `read` does."""
    while (item := read(source)) and item[1] < end:
        yield item


def configure(
    config: ConfigDict, overrides: Iterable[tuple[str, str]], *, events: bool = False
) -> None:
    """Applies overrides of `live.*` and, for events, of `predict.events.*`.

    Raises:
        UserError: another key, or an invalid value.
    """
    for key, text in overrides:
        apply(config, key, text)
        if not key.startswith(("live.", "predict.events.") if events else "live."):
            also = " and config.predict.events.*" if events else ""
            raise UserError(
                f"config.{key} is fixed by the checkpoint: only config.live.*{also} can be set here"
            )
    validate(config)


def decode_as_chosen(classifier: Classifier, workdir: str | Path) -> None:
    """Decodes events, and smooths labels, as was chosen for the workdir; says so."""
    print_notes("live", chosen.apply_to(classifier, workdir))
    if chosen.counts_for(classifier, workdir):
        predict, live = classifier.config.predict, classifier.config.live
        live.smoothing, live.threshold = predict.smoothing, predict.threshold


@contextlib.contextmanager
def until_interrupted() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether Ctrl-C or SIGTERM has come: the ways to stop a camera.

    The first only notes it, as an exception might come within a lock and leave it locked; the
    second raises KeyboardInterrupt, which ends the block, too.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: bool(came)
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""`vid3d live --events`: the events of a camera or a playing file, written as they end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from ml_collections import ConfigDict

from vid3d import storage
from vid3d.errors import UserError
from vid3d.inference.event_formats import FORMATS, Labelled
from vid3d.inference.live_output import Event as CameraEvent, Label
from vid3d.inference.prediction import Event
from vid3d.video.timeline import Decoder, Settings

FAR = 2.0  # times another pace of windows
ENDINGS = (".csv", ".jsonl")


class LiveEvents:
    """Decodes the labels of a source, and adds each event to a file when it ends.

    Labels are decoded as those of `predict --events` are, by `config.predict.events`, but for the
    smoothing and the threshold, which are those of `config.live`. Of what two windows share, or of
    the time between them, each answers for one half. A context manager: at its end, what is open
    ends, too, as it does where a camera is lost.

    Attributes:
        num_events: so far.
        chosen_step: seconds between the windows that the decoder was chosen on; 0 if unknown. Where
            those of a source are far from it, a warning says so, once.
    """

    def __init__(self, path: Path, source: str, classes: Sequence[str], config: ConfigDict):
        """Begins the file; `check_target` comes first.

        Args:
            path: of the file.
            source: its name in the file.
            classes: in the order of the labels.
            config: of the model; live and predict are read.
        """
        settings = dict(vars(Settings.of(config.predict)))
        settings |= {"smoothing": 0.0, "threshold": config.live.threshold}  # labels are smoothed
        self._decoder = Decoder(classes, Settings(**settings))
        self._form, self._source = FORMATS[path.suffix.lower().removeprefix(".")], source
        self._path, self.num_events = path, 0
        self.chosen_step = 0.0
        self._last_start: float | None = None  # of the newest window
        self._start: float | None = None  # of what the newest window answers for
        self._end = 0.0
        self._newest_K = np.zeros(0, np.float32)
        with storage.naming(path):
            self._file = path.open("w", errors="surrogateescape", newline="")
            self._file.write(self._form.header(classes))
            self._file.flush()

    def label(self, label: Label) -> None:
        """Takes the next label: its window's probabilities and the times of its frames."""
        answer = label.prediction
        window = answer.segments[-1]
        interval = (window.end - window.start) / max(answer.num_frames - 1, 1)
        self._check_step(window.start, interval)
        if self._start is None:
            self._start = window.start
        else:
            middle = max((window.start + self._end) / 2, self._start)
            self._push(middle)
            self._start = middle
        self._end = window.end + interval  # where the next frame would begin
        self._newest_K = np.array(list(answer.probabilities.values()), np.float32)

    def _check_step(self, start: float, interval: float) -> None:
        """Warns where windows follow each other at another pace than the decoder was chosen for.

        Args:
            start: of the newest window.
            interval: seconds between two frames.
        """
        before, self._last_start = self._last_start, start
        if before is None or not self.chosen_step:
            return
        step, chosen = start - before, self.chosen_step
        self.chosen_step = 0.0  # says it once
        if FAR * step < chosen or step > FAR * chosen:
            print(
                f"vid3d live: warning: the decoder was chosen on windows {chosen:.2f} s apart, and "
                f"these are {step:.2f} s apart, so events are shorter or longer, and more or "
                f"fewer: --every={max(round(chosen / interval), 1)} looks as often",
                file=sys.stderr,
            )

    def event(self, event: CameraEvent) -> None:
        """Ends what is open where the camera is lost."""
        self._last_start = None
        if event.kind == "lost":
            self.finish()

    def finish(self) -> None:
        """Ends what is open; what comes next has nothing to do with it."""
        if self._start is not None:
            self._push(self._end)
            self._start = None
        self._write(self._decoder.finish())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self.finish()

    def _push(self, end: float) -> None:
        assert self._start is not None
        if end > self._start:
            self._write(self._decoder.push(self._start, end, self._newest_K))

    def _write(self, events: Sequence[Event]) -> None:
        self.num_events += len(events)
        if events:
            with storage.naming(self._path):
                self._file.write(self._form.text(Labelled(self._source, events, 0.0, 0.0)))
                self._file.flush()


def check_target(path: str | Path) -> Path:
    """Checks, before anything is loaded, that a file of events can be written.

    Raises:
        UserError: it has another ending, has events already, or has no folder.
    """
    target = storage.require_local(path, "--events")
    if target.suffix.lower() not in ENDINGS:
        raise UserError(f"--events={path}: end the name in {' or '.join(ENDINGS)}")
    if not target.parent.is_dir():
        raise UserError(f"cannot write --events={path}: there is no folder {target.parent}")
    if target.is_dir() or (target.is_file() and target.stat().st_size):
        raise UserError(f"--events={path} is there already: give another name")
    return target

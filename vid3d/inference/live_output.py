"""What `vid3d live` gives out: labels and events as they come, and annotated frames."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from vid3d.inference import overlay
from vid3d.inference.prediction import Prediction
from vid3d.video.writer import VideoWriter

if TYPE_CHECKING:
    from vid3d.inference.live_events import LiveEvents


class Label(NamedTuple):
    """A prediction, its latency, and when that began."""

    prediction: Prediction
    latency: float  # seconds from the newest frame of the window to the prediction
    time: datetime  # when that frame came, with the zone

    @classmethod
    def made_now(cls, prediction: Prediction, *, latency: float) -> Label:
        """A label that is given at this moment."""
        return cls(prediction, latency, wall_clock() - timedelta(seconds=latency))


class Event(NamedTuple):
    """What happened to a camera: "lost", or "back" after that."""

    kind: str
    seconds: float  # on the camera's clock
    time: datetime  # with the zone


def wall_clock() -> datetime:
    """The time now, with the zone of this machine."""
    return datetime.now().astimezone()


class Sink(Protocol):
    """The target of annotated frames; `show` returns whether to go on."""

    def show(self, frame_HWC: np.ndarray, seconds: float) -> bool: ...


class Display:
    """The output: labels and events for a caller, frames with the newest label, or both.

    Attributes:
        sink: the target of the frames, or None.
        events: the file of events, which gets each label, too, or None.
        num_labels: so far.
    """

    def __init__(
        self,
        on_label: Callable[[Label], None] | None,
        on_event: Callable[[Event], None] | None = None,
    ):
        """Takes the callers that get each label and event, or None."""
        self.sink: Sink | None = None
        self.events: LiveEvents | None = None
        self.on_label = on_label
        self.on_event = on_event
        self.num_labels = 0
        self._one_at_a_time = threading.Lock()

    def label(self, label: Label) -> None:
        """Counts a new label and hands it to the caller."""
        with self._one_at_a_time:
            self.num_labels += 1
            if self.events:
                self.events.label(label)
            if self.on_label:
                self.on_label(label)

    def event(self, kind: str, seconds: float) -> None:
        """Hands what has just happened to the caller."""
        with self._one_at_a_time:
            event = Event(kind, seconds, wall_clock())
            if self.events:
                self.events.event(event)
            if self.on_event:
                self.on_event(event)

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


def to_json(what: Label | Event) -> str:
    """One line of JSON."""
    if isinstance(what, Event):
        fields: dict[str, object] = {"event": what.kind}
    else:
        fields = {"event": "label"}
    seconds = what.seconds if isinstance(what, Event) else what.prediction.segments[-1].end
    fields |= {"time": what.time.isoformat(timespec="milliseconds"), "seconds": seconds}
    if isinstance(what, Label):
        fields |= {
            "label": what.prediction.label,
            "probability": what.prediction.probability,
            "probabilities": what.prediction.probabilities,
            "latency_ms": round(1000 * what.latency, 1),
        }
    return json.dumps(fields)


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

"""THE TIME LINE DECODER: probabilities of successive windows -> events with a start and an end.

    1. Smoothing: each window keeps a share of the probabilities of the window before, as `live`
       does (`smoothing`).
    2. Hysteresis: an event begins where a label is reached, and goes on while its probability is
       at least (1 - `hysteresis`) times what was needed to begin.
       - One label at a time (`on` is empty): a window has its most probable class; below
         `threshold` it is unknown.
       - Every label by itself (`on`): a class is reached where its probability is at least `on`,
         whatever the others are, so events of different labels may overlap. Several values of `on`
         give several candidates for one event, of different lengths, as in temporal actionness
         grouping (Zhao et al. 2017, "Temporal action detection with structured segment networks").
    3. Minimum duration: events shorter than `shortest` are dropped.
    4. Merging: two events of a label with at most `merge` seconds between them become one. With one
       label at a time, not across an event of another label.
    5. Non-maximum suppression, per label: of two candidates whose temporal intersection over union
       is above `nms`, the more probable one stays (of equals the earlier, then the longer one).

Classes of `background` are no events; neither is what is unknown, unless `unknown` keeps it. An
event's probability is the mean of its label's smoothed probability from its start to its end, a
closed gap included, by time; of an unknown one, that of the most probable class.

`Decoder` takes one window after the other and gives each event as soon as no later window can
change it; `decode` takes a whole recording. Both are the same code, so files and cameras get the
same events from the same windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from vid3d.video.plan import NO_LABEL

UNKNOWN = "unknown"  # the label where no class is probable enough
EXACT = 1e-6  # seconds: what sums of rounded times may be off by


class Event(NamedTuple):
    """A stretch of time with a label, in seconds from the first frame."""

    start: float
    end: float
    label: str
    probability: float


@dataclass(frozen=True)
class Settings:
    """How the decoder works; `config.predict` has the same by `predict.events.NAME`, but for
    `smoothing` and `threshold`, which the timeline shares (`predict.NAME`).
    """

    smoothing: float = 0.0
    threshold: float = 0.0
    on: tuple[float, ...] = ()
    hysteresis: float = 0.0
    shortest: float = 0.0
    merge: float = 0.0
    nms: float = 0.5
    background: tuple[str, ...] = ()
    unknown: bool = False

    @classmethod
    def of(cls, predict: Any) -> Settings:
        """Those of `config.predict`."""
        own = {name: predict.events[name] for name in predict.events}
        return cls(smoothing=predict.smoothing, threshold=predict.threshold, **own)


@dataclass
class Stretch:
    """A stretch in the making.

    Attributes:
        label: the class, or `NO_LABEL`.
        start: seconds.
        end: seconds.
        before: integral of the probabilities up to the start: of the class, or of all [K].
        until: the same up to the end.
    """

    label: int
    start: float
    end: float
    before: Any
    until: Any


@dataclass
class Slot:
    """What is open and what waits to be merged, of one label or, one at a time, of all labels."""

    level: float  # that has to be reached
    open: Stretch | None = None
    waiting: Stretch | None = None


@dataclass
class Found:
    """Candidates of one label that may still suppress each other."""

    slots: list[Slot] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class Decoder:
    """Decodes windows as they come."""

    def __init__(self, classes: Sequence[str], settings: Settings):
        """Takes the class names in the order of the labels."""
        self.classes, self.settings = tuple(classes), settings
        self._silent = {k for k, name in enumerate(classes) if name in settings.background}
        if not settings.unknown:
            self._silent.add(NO_LABEL)
        self._smooth_K: np.ndarray | None = None
        self._integral_K = np.zeros(len(self.classes))
        self._one = Slot(0.0)
        levels = sorted(settings.on)
        self._found = {
            k: Found([Slot(level) for level in levels])
            for k in range(len(self.classes) if levels else 0)
            if k not in self._silent
        }
        self._lowest = levels[0] if levels else 0.0
        self._active: set[int] = set()  # labels of `_found` with anything open or waiting

    def push(self, start: float, end: float, probabilities_K: np.ndarray) -> list[Event]:
        """Takes the next window.

        Args:
            start: seconds at which the stretch begins that the window answers for; the end of the
                one before.
            end: seconds at which it ends.
            probabilities_K: float32 [K], not smoothed.

        Returns:
            The events that are over and that nothing can change any more.
        """
        now_K = np.array(probabilities_K)
        if self._smooth_K is not None and self.settings.smoothing:
            now_K += self.settings.smoothing * (self._smooth_K - now_K)
        self._smooth_K = now_K
        done: list[Event] = []
        if self.settings.on:
            reached = set(np.flatnonzero(now_K >= self._lowest).tolist()) & self._found.keys()
            labels = sorted(self._active | reached)
            for label in labels:
                for slot in self._found[label].slots:
                    self._step(slot, self._by_itself(slot, label, now_K[label]), start, done)
        else:
            labels = []
            self._step(self._one, self._one_of_all(now_K), start, done)
        self._integral_K = self._integral_K + (end - start) * now_K.astype(np.float64)
        for slot in [self._one, *(slot for label in labels for slot in self._found[label].slots)]:
            if slot.open:
                slot.open.end, slot.open.until = end, self._integral(slot.open.label)
            self._release(slot, end, done)
        self._suppress(labels, done)
        return done

    def finish(self) -> list[Event]:
        """Ends what is open, and starts anew: the rest of the events."""
        done: list[Event] = []
        labels = sorted(self._active)
        for slot in [self._one, *(slot for label in labels for slot in self._found[label].slots)]:
            self._close(slot, done)
            if slot.waiting:
                self._give(slot.waiting, done)
                slot.waiting = None
        self._suppress(labels, done)
        self._smooth_K = None
        return done

    def _one_of_all(self, now_K: np.ndarray) -> int:
        """The label of a window, one at a time."""
        best, hysteresis = int(now_K.argmax()), self.settings.hysteresis
        needed = max(float(now_K[best]), self.settings.threshold)
        current = self._one.open.label if self._one.open else NO_LABEL
        is_event = current != NO_LABEL and current not in self._silent
        if hysteresis and is_event and now_K[current] >= (1 - hysteresis) * needed:
            return current
        return best if now_K[best] >= self.settings.threshold else NO_LABEL

    def _by_itself(self, slot: Slot, label: int, probability: float) -> int | None:
        """The label where it begins or goes on, otherwise None."""
        share = 1 - self.settings.hysteresis if slot.open else 1.0
        return label if probability >= share * slot.level else None

    def _step(self, slot: Slot, label: int | None, start: float, done: list[Event]) -> None:
        """Goes on with what is open, or ends it and begins another."""
        if slot.open and slot.open.label == label:
            return
        self._close(slot, done)
        if label is not None:
            integral = self._integral(label)
            slot.open = Stretch(label, start, start, integral, integral)
            if self.settings.on:
                self._active.add(label)

    def _integral(self, label: int) -> Any:
        return self._integral_K if label == NO_LABEL else self._integral_K[label]

    def _close(self, slot: Slot, done: list[Event]) -> None:
        """Ends the open stretch: drops it, merges it, or lets it wait for another."""
        ended, slot.open = slot.open, None
        if not ended or ended.label in self._silent:
            return
        if ended.end - ended.start < self.settings.shortest - EXACT:
            return
        before = slot.waiting
        if before and before.label == ended.label and self._is_near(before, ended.start):
            before.end, before.until = ended.end, ended.until
            return
        if before:
            self._give(before, done)
        slot.waiting = ended

    def _is_near(self, before: Stretch, start: float) -> bool:
        return bool(self.settings.merge) and start - before.end <= self.settings.merge + EXACT

    def _release(self, slot: Slot, now: float, done: list[Event]) -> None:
        """Gives the waiting event where nothing can be merged with it any more."""
        waiting, opened = slot.waiting, slot.open
        if not waiting or self._is_near(waiting, now):
            return
        if opened and opened.label == waiting.label and self._is_near(waiting, opened.start):
            return
        self._give(waiting, done)
        slot.waiting = None

    def _give(self, stretch: Stretch, done: list[Event]) -> None:
        """Makes an event; with several candidates for one, it waits for the others."""
        mean = np.max(stretch.until - stretch.before) / (stretch.end - stretch.start)
        name = UNKNOWN if stretch.label == NO_LABEL else self.classes[stretch.label]
        event = Event(stretch.start, stretch.end, name, min(float(mean), 1.0))
        (self._found[stretch.label].events if self.settings.on else done).append(event)

    def _suppress(self, labels: Iterable[int], done: list[Event]) -> None:
        """Gives the best candidates of labels of which nothing is open or waiting."""
        for label in labels:
            found = self._found[label]
            if any(slot.open or slot.waiting for slot in found.slots):
                continue
            done += suppress(found.events, self.settings.nms)
            found.events = []
            self._active.discard(label)


def decode(
    bounds: Sequence[float],
    probabilities_NK: np.ndarray,
    classes: Sequence[str],
    settings: Settings,
) -> tuple[Event, ...]:
    """The events of a recording, by start, then end, then the order of the classes.

    Args:
        bounds: seconds at which the stretches begin that the windows answer for, and the end of the
            last: N + 1 of them, ascending.
        probabilities_NK: of the windows, float32, not smoothed.
        classes: names, in the order of the labels.
        settings: see `Settings`.
    """
    decoder = Decoder(classes, settings)
    events: list[Event] = []
    for (start, end), row_K in zip(pairwise(bounds), probabilities_NK, strict=True):
        events += decoder.push(start, end, row_K)
    order = {name: k for k, name in enumerate(classes)}
    return tuple(
        sorted(
            [*events, *decoder.finish()],
            key=lambda event: (event.start, event.end, order.get(event.label, -1)),
        )
    )


def suppress(events: Sequence[Event], overlap: float) -> list[Event]:
    """Non-maximum suppression: the events, by start, that no more probable one overlaps too much.

    Args:
        events: of one label.
        overlap: the temporal intersection over union up to which two of them are kept.
    """
    kept: list[Event] = []
    for event in sorted(events, key=lambda e: (-e.probability, e.start, -e.end)):
        if all(temporal_iou(event, other) <= overlap for other in kept):
            kept.append(event)
    return sorted(kept)


def temporal_iou(one: Any, other: Any) -> float:
    """Intersection over union of two stretches of time; 0 where they do not overlap."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    if shared <= 0:
        return 0.0
    return shared / (one.end - one.start + other.end - other.start - shared)

"""Stretches of a video, and which of its frames they take as these come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

TOLERANCE = 1e-6  # seconds: sums of rounded times are not exact
SLACK = 0.1  # seconds that a stretch may end after its video: players round


class Span(NamedTuple):
    """A stretch of a video, without its end.

    Attributes:
        start: seconds from the first frame, or the number of a frame, from 0.
        end: likewise; the first moment, or frame, that is no longer in the stretch.
        unit: "s" or "frames".
    """

    start: float
    end: float
    unit: str = "s"

    def __str__(self) -> str:
        return f"{plain(self.start)}-{plain(self.end)} {self.unit}"


def plain(number: float) -> str:
    """A number to the microsecond, without zeros at its end."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


class Selection:
    """Takes the frames of some spans out of those of a video, each frame once.

    Attributes:
        spans: in any order, all in one unit; they may overlap.
        places: of each span among the frames that were taken: (first, one past the last).
        in_frames: whether the spans are in numbers of frames.
        end: where the video ends, in their unit; None where that was not reached.
    """

    def __init__(self, spans: Sequence[Span], max_frames: int = 0):
        """Takes the spans, and how many frames of each are wanted; 0 is all."""
        self.spans = tuple(spans)
        self.max_frames = max_frames
        self.in_frames = self.spans[0].unit == "frames"
        self.places = [(0, 0)] * len(self.spans)
        self.end: float | None = None
        self._waiting = deque(sorted(range(len(self.spans)), key=lambda k: self.spans[k].start))
        self._active: list[int] = []
        self._taken = 0

    @property
    def is_done(self) -> bool:
        """Whether no frame that is still to come can be wanted."""
        return not self._waiting and not self._active

    @property
    def following(self) -> float | None:
        """Where the next wanted frame is, at the earliest; None where the next frame may be."""
        return None if self._active or not self._waiting else self.spans[self._waiting[0]].start

    def takes(self, number: int, seconds: float) -> bool:
        """Whether the next frame is wanted; the frames have to come in order."""
        at = number if self.in_frames else seconds + TOLERANCE
        while self._waiting and self.spans[self._waiting[0]].start <= at:
            self._active.append(self._waiting.popleft())
        self._active = [k for k in self._active if at < self.spans[k].end and self._has_room(k)]
        for k in self._active:
            first, stop = self.places[k]
            self.places[k] = (first, stop + 1) if stop > first else (self._taken, self._taken + 1)
        self._taken += bool(self._active)
        return bool(self._active)

    def _has_room(self, k: int) -> bool:
        first, stop = self.places[k]
        return not self.max_frames or stop - first < self.max_frames

    def wrong(self, k: int) -> str:
        """What is wrong with the span of this number, or ""."""
        span, end = self.spans[k], self.end
        first, stop = self.places[k]
        slack = 0.0 if self.in_frames else SLACK
        if end is not None and span.end > end + slack and self._has_room(k):
            which = "begins" if span.start >= end else "ends"
            return f"it {which} beyond the end of the video, {plain(round(end, 3))} {span.unit}"
        return "" if first < stop else "it has no frame: it is shorter than the time between two"

    def described(self) -> tuple[tuple[int, int, str], ...]:
        """Of each span: its first frame among those taken, one past its last, what is wrong."""
        return tuple((*place, self.wrong(k)) for k, place in enumerate(self.places))

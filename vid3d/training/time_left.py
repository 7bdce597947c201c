"""How long a training run still takes, for its progress line."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

from vid3d import compilation


class TimeLeft:
    """Steps go on at their rate so far, and each evaluation takes as long as the last one.

    What is compiled once counts for neither, nor does the first step, which waits for that.
    """

    def __init__(self, last_step: int, eval_every: int = 0):
        """Takes the number of steps in all, and between two evaluations; 0 for none."""
        self.last_step, self.eval_every = last_step, eval_every
        self.start: tuple[int, float] | None = None  # the first step that is told, and its time
        self.apart = 0.0  # seconds since then without a step
        self.evaluation: float | None = None  # seconds of the last one

    def after(self, step: int) -> float | None:
        """Seconds left after a step, whose evaluation is still to come; None at the first call."""
        now = time.perf_counter()
        if self.start is None:
            self.start = step, now
            return None
        first, began = self.start
        each = (now - began - self.apart) / max(step - first, 1)
        return each * (self.last_step - step) + self.evaluations(step) * (self.evaluation or 0.0)

    def evaluations(self, step: int) -> int:
        """How many there are from this step on, with its own."""
        if not self.eval_every:
            return 0
        return math.ceil(self.last_step / self.eval_every) - (step - 1) // self.eval_every

    def words(self, seconds: float) -> str:
        """Such as "12 min left", and "over 12 min left" while no evaluation was measured."""
        over = "over " * bool(self.eval_every and self.evaluation is None)
        return f"{over}{duration(seconds)} left"

    @contextlib.contextmanager
    def pause(self, *, evaluating: bool) -> Iterator[None]:
        """Leaves the time inside, of an evaluation or a checkpoint, out of the rate of steps."""
        began, compiled = time.perf_counter(), compilation.seconds()
        yield
        took = time.perf_counter() - began
        self.apart += took * (self.start is not None)
        if evaluating:
            self.evaluation = max(took - (compilation.seconds() - compiled), 0.0)


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

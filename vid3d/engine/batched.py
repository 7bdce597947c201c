"""A network that gathers the clips of several threads into one batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from vid3d.engine import Network
from vid3d.errors import UserError


@dataclass
class Call:
    """The clips of one thread, and what became of them."""

    clips_BTHWC: np.ndarray
    came: float
    runs: bool = False  # this thread runs the next batch, of which its clips are the first
    woken: threading.Event = field(default_factory=threading.Event)
    probabilities_BK: np.ndarray | None = None
    error: BaseException | None = None


class Batched:
    """A network; clips that threads give it at about the same time share a batch.

    One batch runs at a time, in the thread of its first clips; what comes meanwhile waits for the
    next one. So there is no thread of its own. See `Network` for the attributes.
    """

    def __init__(self, network: Network, *, max_delay: float = 0.0, max_clips: int = 8):
        """Takes the network that runs the batches.

        Args:
            network: called by one thread at a time.
            max_delay: seconds that the first clips of a batch wait for others.
            max_clips: of a batch; one call with more has a batch to itself.

        Raises:
            UserError: the delay is negative or endless, or the number of clips is below 1.
        """
        if not (0 <= max_delay < float("inf") and max_clips >= 1):
            raise UserError(f"max_delay={max_delay} has to be 0 or more, max_clips={max_clips} 1")
        self.engine, self.precision = network.engine, network.precision
        self.max_delay, self.max_clips = max_delay, max_clips
        self._network = network
        self._waiting: deque[Call] = deque()
        self._has_runner = False
        self._changed = threading.Condition()

    def __call__(self, clips_BTHWC: np.ndarray) -> np.ndarray:
        call = Call(clips_BTHWC, time.monotonic())
        with self._changed:
            self._waiting.append(call)
            self._changed.notify_all()
            call.runs, self._has_runner = not self._has_runner, True
        if not call.runs:
            call.woken.wait()
        if call.runs:
            self._run(call)
        if call.error is not None:
            raise call.error
        assert call.probabilities_BK is not None
        return call.probabilities_BK

    def _run(self, first: Call) -> None:
        """Runs the batch of a call, and wakes the others of it and who runs the next."""
        with self._changed:
            left = first.came + self.max_delay - time.monotonic()
            self._changed.wait_for(self._is_full, max(left, 0))
            batch = self._take()
        try:
            probabilities_BK = self._network(np.concatenate([call.clips_BTHWC for call in batch]))
            start = 0
            for call in batch:
                stop = start + len(call.clips_BTHWC)
                call.probabilities_BK = probabilities_BK[start:stop]
                start = stop
        except BaseException as error:
            for call in batch:
                call.error = error
        with self._changed:
            following = self._waiting[0] if self._waiting else None
            self._has_runner = following is not None
            if following:
                following.runs = True
        for call in [*batch, *([following] if following else [])]:
            call.woken.set()

    def _is_full(self) -> bool:
        return sum(len(call.clips_BTHWC) for call in self._waiting) >= self.max_clips

    def _take(self) -> list[Call]:
        """The calls of the next batch, in their order."""
        batch = [self._waiting.popleft()]
        count = len(batch[0].clips_BTHWC)
        while self._waiting:
            count += len(self._waiting[0].clips_BTHWC)
            if count > self.max_clips:
                break
            batch.append(self._waiting.popleft())
        return batch

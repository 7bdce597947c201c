"""Decoding in child processes: a video that hangs, crashes or eats memory costs only itself.

The parent hands out paths over a pipe. The children (`decoder_child`) write finished records into
memory that both share, a few slots per child, so that frames are copied once and a slow disk holds
the children back. A child that gives no sign of life in time, or that dies, is replaced, and its
video is named with the reason.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Protocol

import numpy as np
from ml_collections import ConfigDict

from vid3d.errors import UserError
from vid3d.process import cores
from vid3d.video import decoder_handle
from vid3d.video.decoder_handle import Child, Video
from vid3d.video.records import Settings, record_bytes

SLOTS = 3
SLOT_BYTES = 4 * 2**20
MEMORY_BYTES = 4 * 2**30  # of address space that decoding may take
START_SECONDS = 60.0  # in which a child has to load
HUNG = "the decoder hung"
AHEAD = 2  # videos that a child has been given: the current one and the next


@dataclass(frozen=True)
class Frames:
    """Some records of a video, in order; the views are valid until the next event is asked for."""

    lane: int  # the child that they come from; a lane gives one video after the other
    job: int
    records: Sequence[bytes | memoryview]
    times: Sequence[float] = ()  # seconds of the frames, where a decoder tells them


@dataclass(frozen=True)
class Done:
    """The end of a video: the facts about it."""

    lane: int
    job: int
    sha256: str
    times: np.ndarray  # seconds of the frames, float64 [T]
    fps: float
    size: tuple[int, int]
    claimed: int  # frames, by the container; 0 where it claims none
    damage: str  # what the decoder reports of a file that it reads nevertheless, or ""
    # Of each stretch that was asked for: its first frame, one past the last, what is wrong or "".
    places: Sequence[tuple[int, int, str]] = ()
    pixel_shape: float = 1.0  # width : height of its pixels before they became square
    seconds: float = 0.0  # of `look` alone: by the container; 0 where it claims nothing


@dataclass(frozen=True)
class Failed:
    """A video that gave no frames, or that broke its decoder, and why.

    Its records are to be dropped.
    """

    lane: int
    job: int
    reason: str
    limit: str = ""  # that it is beyond: of "size" or "time", see `Settings.limits`; hung is "time"


@dataclass(frozen=True)
class Again:
    """A video that is tried once more: its decoder died, or could not seek exactly.

    Its records so far are to be dropped.
    """

    lane: int
    job: int


Event = Frames | Done | Failed | Again
Events = Generator[Event]  # which ends its children when it is closed


def decode(
    paths: Iterable[Video],
    settings: Settings,
    *,
    workers: int,
    timeout: float,
    look: bool = False,
    memory_bytes: int = MEMORY_BYTES,
    decoders: Lender | None = None,
) -> Events:
    """Decodes videos side by side.

    A video whose decoder dies is tried once more in a new one, so that it does not pay for what
    another video left behind; one that hangs is not.

    Args:
        paths: the videos, whole or stretches of them; their numbers are the jobs of the events.
        settings: what to store.
        workers: child processes.
        timeout: seconds for a video's first frames, and for each of the next ones.
        look: read the headers only; `Done` then has only the claimed number of frames, rate and
            seconds.
        memory_bytes: of address space that a child may take for decoding (on Linux).
        decoders: lend children, which stay for the next call; they end if this call is not read to
            its end. By default `workers` children are started, and end with the call.

    Yields:
        For each video any number of `Frames`, then `Done` or `Failed`; `Again` starts it anew. The
        events of several videos come interleaved, each video's own on one lane.

    Raises:
        UserError: a child cannot even start.
    """
    with decoders.borrow() if decoders else contextlib.nullcontext(Pool()) as pool:
        pool.set_up(list(paths), settings, look=look, timeout=timeout, memory_bytes=memory_bytes)
        try:
            pool.start(workers)
            while pool.is_busy():
                yield from pool.events()
        finally:
            if not decoders or pool.is_busy():
                pool.end()


class Pool:
    """The children and the videos that wait for one."""

    def __init__(self) -> None:
        """Starts nothing yet."""
        self.children: list[Child] = []
        self.slot_bytes = self.memory_bytes = 0

    def set_up(
        self,
        paths: list[Video],
        settings: Settings,
        *,
        look: bool = False,
        timeout: float,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """Takes the work; see `decode`. Children that have other memory than it needs end."""
        slot_bytes = max(SLOT_BYTES, record_bytes(settings))
        if (slot_bytes, memory_bytes) != (self.slot_bytes, self.memory_bytes):
            self.end()
        self.slot_bytes, self.memory_bytes = slot_bytes, memory_bytes
        self.paths = paths
        self.settings = settings
        self.order = "look" if look else "decode"
        self.timeout = timeout
        self.waiting = deque(range(len(paths)))
        self.second_try: set[int] = set()

    def start(self, workers: int) -> None:
        """Starts the children that are missing and gives `workers` of them their first videos."""
        while len(self.children) < min(workers, len(self.paths)):
            self.children.append(self.start_child())
        for child in self.children[:workers]:
            self.fill(child)

    def wait_until_ready(self) -> None:
        """Waits until children without work have loaded what they decode with.

        Raises:
            UserError: one cannot even start.
        """
        for child in self.children:
            if not child.ready and child.pipe.poll(START_SECONDS):
                try:
                    child.pipe.recv()
                except (EOFError, OSError):
                    reason = decoder_handle.why_not_started(child)
                    self.end()
                    raise UserError(reason) from None
                child.ready = True

    def is_busy(self) -> bool:
        """Whether any video is still open."""
        return any(child.jobs for child in self.children)

    def end(self) -> None:
        """Ends all children, whatever they are doing."""
        while self.children:
            decoder_handle.end(self.children.pop())

    def fill(self, child: Child) -> None:
        """Gives a child the next videos."""
        while self.waiting and len(child.jobs) < AHEAD:
            job = self.waiting.popleft()
            if not child.jobs:
                child.heard = time.monotonic()
            child.jobs.append(job)
            with contextlib.suppress(OSError):  # a dead child is noticed by its pipe
                decoder_handle.tell(child, self.settings)
                decoder_handle.give(child, self.order, job, self.paths[job])

    def events(self) -> Iterator[Event]:
        """Waits a moment for messages, and passes on what has come from each child."""
        wait([child.pipe for child in self.children], timeout=min(self.timeout / 4, 1.0))
        for lane, child in enumerate(self.children):
            if child.pipe.poll():
                try:
                    message = child.pipe.recv()
                except (EOFError, OSError):
                    if not child.ready:
                        raise UserError(decoder_handle.why_not_started(child)) from None
                    yield from self.replace(lane, decoder_handle.death(child.process), again=True)
                else:
                    yield from self.take(lane, child, message)
            elif child.jobs and time.monotonic() - child.heard > self.patience(child):
                reason = f"{HUNG}: nothing for {self.timeout:g} s (data.decode_timeout)"
                yield from self.replace(lane, reason, again=False)

    def patience(self, child: Child) -> float:
        """Seconds in which a child has to give a sign of life."""
        return self.timeout if child.ready else max(self.timeout, START_SECONDS)

    def take(self, lane: int, child: Child, message: tuple) -> Iterator[Event]:
        """Turns one message of a child into events; `decoder_child` lists the messages."""
        kind, *rest = message
        child.ready = True
        if kind in ("frames", "done") and rest[1] is not None:
            job, slot, sizes, times = rest[:4]
            yield Frames(lane, job, views(child.memory, slot * self.slot_bytes, sizes), times)
            with contextlib.suppress(OSError):
                child.pipe.send(("free", slot))
        # Not before the consumer is done: while a child waits for a slot, its time does not run.
        child.heard = time.monotonic()
        if kind in ("done", "failed"):
            child.jobs.popleft()
            self.fill(child)
        if kind == "done":
            yield Done(lane, rest[0], *rest[4:])
        elif kind == "failed":
            yield Failed(lane, *rest)
        elif kind == "again":
            yield Again(lane, *rest)

    def replace(self, lane: int, reason: str, *, again: bool) -> Iterator[Event]:
        """Replaces a child that died or hung, and names the video that it was working on."""
        old = self.children[lane]
        decoder_handle.end(old)
        child = self.children[lane] = self.start_child()
        for job in reversed(list(old.jobs)[1:]):
            self.waiting.appendleft(job)
        if old.jobs:
            job = old.jobs[0]
            if again and job not in self.second_try:
                self.second_try.add(job)
                self.waiting.appendleft(job)
                yield Again(lane, job)
            else:
                yield Failed(lane, job, reason, limit="" if again else "time")
        self.fill(child)

    def start_child(self) -> Child:
        """Starts a child on its own memory and pipe."""
        return decoder_handle.start(
            slots=SLOTS,
            slot_bytes=self.slot_bytes,
            memory_bytes=self.memory_bytes,
        )


class Lender(Protocol):
    """Has children that stay for the next call."""

    def borrow(self) -> contextlib.AbstractContextManager[Pool]:
        """A pool for one caller alone."""


class Decoders:
    """Pools of one child each, which threads borrow: as many files are decoded at once.

    All of them decode with the same options. A child stays for the next call, and all end with the
    process that started them.
    """

    def __init__(self, most: int) -> None:
        """Takes the largest number of children; starts none yet."""
        self._process, self._starting = os.getpid(), threading.Lock()
        self._pools = [Pool() for _ in range(most)]
        self._idle: queue.LifoQueue[Pool] = queue.LifoQueue()  # the last used has a child
        for pool in self._pools:
            self._idle.put(pool)

    @property
    def children(self) -> list[Child]:
        """Those that have been started."""
        return [child for pool in self._pools for child in pool.children]

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Pool]:
        """A pool for one caller alone, who waits while others have all of them."""
        pool = self._idle.get()
        try:
            yield pool
        finally:
            self._idle.put(pool)

    def start(self, count: int, settings: Settings, *, timeout: float) -> None:
        """Has at least `count` children, or the largest number, and waits until they can decode.

        Raises:
            UserError: a child cannot even start.
        """
        with self._starting, contextlib.ExitStack() as stack:
            pools = [stack.enter_context(self.borrow()) for _ in self._pools[:count]]
            for pool in pools:
                pool.set_up([], settings, timeout=timeout)
                if not pool.children:
                    pool.children.append(pool.start_child())
            for pool in pools:
                pool.wait_until_ready()

    def end(self) -> None:
        """Ends all children; those of another process are left to it."""
        if os.getpid() == self._process:
            for pool in self._pools:
                pool.end()


def num_workers(data: ConfigDict) -> int:
    """Decoding processes: `data.workers`, or one per core that this process may use."""
    return data.workers or cores()


def views(memory: mmap.mmap, offset: int, sizes: list[int]) -> list[memoryview]:
    """The records of one slot."""
    whole, out = memoryview(memory), []
    for size in sizes:
        out.append(whole[offset : offset + size])
        offset += size
    return out

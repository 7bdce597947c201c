"""How the runs of a sweep are doing, read from their workdirs, as a table."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vid3d import storage
from vid3d.checkpoint import Workdir
from vid3d.checkpoint.rows import chosen_row
from vid3d.errors import UserError
from vid3d.sweep.halving import Verdict
from vid3d.sweep.plan import PlannedRun, describe
from vid3d.training.time_left import duration

REFRESH_SECONDS = 1.0
LONGEST_NOTE = 80  # characters of a failure that the table has room for
REMOTE_SECONDS = 10.0  # between two looks at the rows of a run in an object store


class State(StrEnum):
    WAITING = "waiting"
    QUEUED = "queued"  # Ray has it, and no room for it yet
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"  # it saved its state; the next call resumes it
    PRUNED = "pruned"  # stopped early, as it was behind the others; see `halving`
    ELSEWHERE = "elsewhere"  # another process is training it


# Which runs are shown where the terminal is too low for all.
IMPORTANCE = [
    State.RUNNING,
    State.FAILED,
    State.STOPPED,
    State.PRUNED,
    State.ELSEWHERE,
    State.QUEUED,
    State.WAITING,
    State.FINISHED,
]
STYLES = {
    State.RUNNING: "cyan",
    State.FINISHED: "green",
    State.FAILED: "bold red",
    State.STOPPED: "yellow",
    State.PRUNED: "magenta",
}


@dataclass
class Status:
    """A run and what is known about it.

    Attributes:
        run: the run.
        workdir: its folder.
        state: where it stands.
        place: the device it runs on, or "".
        note: the last line of a run that failed, or why it was stopped early.
        log: the file that the note is from, or None.
        seen: (time.monotonic(), epochs done) at the start of its process and at each evaluation
            since.
        rungs_passed: of those of `halving`.
        verdict: why it is to be stopped early, or None.
        looked: time.monotonic() of the last look at the rows of a run in an object store, and the
            rows.
    """

    run: PlannedRun
    workdir: Path
    state: State = State.WAITING
    place: str = ""
    note: str = ""
    log: Path | None = None
    seen: list[tuple[float, float]] = field(default_factory=list)
    rungs_passed: int = 0
    verdict: Verdict | None = None
    looked: tuple[float, list[dict[str, Any]]] = (-math.inf, [])

    def short_note(self) -> str:
        """The note, or its beginning and where the rest stands."""
        if len(self.note) <= LONGEST_NOTE:
            return self.note
        return f"{self.note[:LONGEST_NOTE]}..." + (f" see {self.log}" if self.log else "")

    def rows(self) -> list[dict[str, Any]]:
        """The whole rows of metrics.jsonl; during training in an object store, some seconds old."""
        at, rows = self.looked
        recent = time.monotonic() - at < REMOTE_SECONDS and self.state is State.RUNNING
        if recent and storage.is_remote(self.workdir):
            return rows
        try:
            rows = Workdir(self.workdir).rows()
        except (OSError, UserError):
            return rows
        self.looked = time.monotonic(), rows
        return rows

    def epoch(self) -> float:
        """Epochs done at the last evaluation."""
        rows = self.rows()
        return rows[-1]["epoch"] if rows else 0.0

    def best_accuracy(self) -> float | None:
        """The validation accuracy that is chosen so far; None without validation videos."""
        choose = self.run.config.checkpoint.choose if self.run else "best"
        row = chosen_row(self.rows(), choose)
        return row["val/accuracy"] if row else None

    def seconds_per_epoch(self) -> float | None:
        """Between the evaluations that this process saw, or from the start to the first."""
        epoch, now = self.epoch(), time.monotonic()
        if not self.seen or epoch > self.seen[-1][1]:
            self.seen.append((now, epoch))
        between = self.seen[1:] if len(self.seen) > 2 else self.seen
        (start, first), (end, last) = between[0], between[-1]
        return (end - start) / (last - first) if last > first else None

    def seconds_left(self) -> float | None:
        """Until the last epoch; None before the first evaluation."""
        rate = self.seconds_per_epoch()
        if rate is None:
            return None
        at, epoch = self.seen[-1]
        return max((self.run.config.train.epochs - epoch) * rate - (time.monotonic() - at), 0.0)


COLUMNS = ("run", "state", "epoch", "validation\naccuracy", "time left", "note")


def render(statuses: list[Status], parallel: int, *, most: int | None = None) -> Table:
    """The table: run, state, epoch, best validation accuracy, time left, and why it failed.

    A column without any text is left out.

    Args:
        statuses: a row each.
        parallel: runs at a time, for the time that is left.
        most: how many rows there is room for; the most important ones are kept.
    """
    caption = summary(statuses, parallel)
    shown = statuses
    if most is not None and len(statuses) > most:
        ranked = sorted(statuses, key=lambda status: IMPORTANCE.index(status.state))
        kept = {id(status) for status in ranked[:most]}
        shown = [status for status in statuses if id(status) in kept]
        caption += f"; {len(statuses) - len(shown)} runs are not shown"
    rows = [table_row(status) for status in shown]
    table = Table(caption=caption)
    used = [k for k in range(len(COLUMNS)) if k == 0 or any(row[k].plain for row in rows)]
    for k in used:
        name = COLUMNS[k]
        table.add_column(
            name,
            justify="left" if name in ("run", "state", "note") else "right",
            no_wrap=name not in ("run", "note"),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(row[k] for k in used))
    return table


def table_row(status: Status) -> list[Text]:
    """The cells of `COLUMNS`."""
    accuracy = status.best_accuracy()
    left = status.seconds_left() if status.state is State.RUNNING else None
    return [
        Text(status.run.name),
        Text(status.state, style=STYLES.get(status.state, "")),
        Text(f"{status.epoch():g}/{status.run.config.train.epochs}"),
        Text("" if accuracy is None else f"{accuracy:.3f}"),
        Text("" if left is None else duration(left)),
        Text(status.place if status.state is State.RUNNING else status.short_note()),
    ]


def summary(statuses: list[Status], parallel: int) -> str:
    """ "3 finished, 1 running, 2 waiting; about 12 min left"."""
    counts = {state: sum(s.state is state for s in statuses) for state in State}
    words = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    left = total_left(statuses, parallel)
    return words + (f"; about {duration(left)} left" if left else "")


def total_left(statuses: list[Status], parallel: int) -> float | None:
    """Seconds until all runs are done, if those that wait take the mean of the others.

    None if unknown, or if none is running.
    """
    running = [s for s in statuses if s.state is State.RUNNING]
    known = [seconds for s in running if (seconds := s.seconds_left()) is not None]
    rates = [(s, rate) for s in statuses if s.seen and (rate := s.seconds_per_epoch()) is not None]
    if not running or len(known) < len(running) or not rates:
        return None
    whole = [rate * s.run.config.train.epochs for s, rate in rates]
    waiting = sum(s.state in (State.WAITING, State.QUEUED) for s in statuses)
    total = sum(known) + waiting * sum(whole) / len(whole)
    return max(max(known, default=0.0), total / parallel)


def listing(statuses: list[Status]) -> str:
    """A line per run: its state, its name and its overrides; and how many there are, and where."""
    lines = []
    for status in statuses:
        note = f": {status.note}" if status.note else ""
        overrides = describe(status.run.overrides)
        lines.append(f"{status.state:9} {status.workdir.name}  ({overrides}){note}")
    counts = Counter(status.state for status in statuses)
    words = ", ".join(f"{number} {state}" for state, number in counts.items())
    where = f"{statuses[0].workdir.parent}: {words}" if statuses else "this shard"
    lines.append(f"{len(statuses)} runs in {where}")
    return "\n".join(lines)


class Board:
    """Shows the table while it changes: live on a terminal, elsewhere a line per change.

    At the end it prints the table.
    """

    def __init__(self, statuses: list[Status], parallel: int):
        self.statuses, self.parallel = statuses, parallel
        self.console = Console(stderr=True, highlight=False)
        self.live = Live(console=self.console, auto_refresh=False)
        self.drawn = 0.0

    def __enter__(self) -> Board:
        if self.console.is_terminal:
            self.live.start()
            self.draw()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live.is_started:
            self.live.update("", refresh=True)
            self.live.stop()
        self.console.print(render(self.statuses, self.parallel))

    def draw(self) -> None:
        self.drawn = time.monotonic()
        most = max(self.console.height - 8, 1)
        self.live.update(render(self.statuses, self.parallel, most=most), refresh=True)

    def tick(self) -> None:
        """Redraws a live table when it is time to."""
        if self.live.is_started and time.monotonic() - self.drawn >= REFRESH_SECONDS:
            self.draw()

    def changed(self, status: Status) -> None:
        """A run has another state."""
        if self.live.is_started:
            self.draw()
            return
        note = f"on {status.place}" if status.state is State.RUNNING else status.note
        accuracy = status.best_accuracy() if status.state is State.FINISHED else None
        self.console.print(
            f"{status.run.name}: {status.state}"
            + (f", validation accuracy {accuracy:.3f}" if accuracy is not None else "")
            + (f", {note}" if note else ""),
            markup=False, soft_wrap=True,
        )  # fmt: skip

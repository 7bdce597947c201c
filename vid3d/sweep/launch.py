"""Runs the runs of a sweep: a process and a workdir each, several at a time, whatever happens to one of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vid3d import config as configs
from vid3d.config import UserError
from vid3d.sweep import plan
from vid3d.sweep.devices import Slot, slots
from vid3d.sweep.table import Board, State, Status
from vid3d.training import workdir as workdirs
from vid3d.training.loop import FINISHED, RESUME_ME
from vid3d.training.stop import StopSignal

FAILED = 1  # exit code of a sweep in which a run failed
POLL_SECONDS = 0.2
ELSEWHERE_SECONDS = 5.0  # between two looks at a run that another process trains


def sweep(
    spec: str,
    workdir: str | Path,
    overrides: Iterable[tuple[str, str]] = (),
    *,
    seeds: int = 1,
    parallel: int = 0,
    part: str = "",
    dry_run: bool = False,
) -> int:
    """Trains every run that is not finished yet, each in `workdir/NAME`, and shows how they are doing.

    Args:
        spec: a config file with `sweep(add)`, FILE or FILE:ARG.
        workdir: of the sweep.
        overrides: (key, text) pairs for all runs.
        seeds: repeats of each run.
        parallel: runs at a time, each on a device of its own; 0 is one at a time on all devices.
        part: "i/N", one shard of several.
        dry_run: only print the list.

    Returns:
        FINISHED; FAILED where a run failed; RESUME_ME where one was stopped.

    Raises:
        UserError: a run that does not fit the config, a folder that belongs to something else, too few devices; before
            the first run starts.
    """
    runs = plan.shard(plan.plan(spec, overrides, seeds=seeds), part)
    statuses = look(runs, Path(workdir))
    if dry_run:
        show(statuses)
        return FINISHED
    places = slots(parallel) if any(s.state is State.WAITING for s in statuses) else []
    with StopSignal() as stop, Board(statuses, max(len(places), 1)) as board:
        work(statuses, places, board, stop)
    if any(status.state is State.FAILED for status in statuses):
        return FAILED
    done = all(status.state is State.FINISHED for status in statuses)
    return FINISHED if done else RESUME_ME


def look(runs: list[plan.Run], workdir: Path) -> list[Status]:
    """Where each run stands; nothing is written.

    Raises:
        UserError: the sweep's folder is a training's, or that of a run belongs to another config.
    """
    if (workdir / "config.json").exists():
        raise UserError(f"{workdir} is the workdir of one training: a sweep needs its own folder")
    statuses = [Status(run, workdir / run.name) for run in runs]
    for status in statuses:
        workdirs.check_claim(status.workdir, status.run.config)
        if workdirs.is_finished(status.workdir, status.run.config):
            status.state = State.FINISHED
    return statuses


def show(statuses: list[Status]) -> None:
    """Prints a line a run: its state, its folder and its overrides."""
    for status in statuses:
        print(f"{status.state:9} {status.workdir}  ({plan.describe(status.run.overrides)})")
    counts = Counter(status.state for status in statuses)
    words = ", ".join(f"{number} {state}" for state, number in counts.items())
    print(f"{len(statuses)} runs" + (f": {words}" if words else " in this shard"))


def work(statuses: list[Status], places: list[Slot], board: Board, stop: StopSignal) -> None:
    """Keeps every place busy until all runs are done, or until it is asked to stop and all have saved."""
    free = list(places)
    running: list[Process] = []
    looked = 0.0
    try:
        while True:
            for process in list(running):
                if process.is_over():
                    running.remove(process)
                    free.append(process.place)
                    process.settle(stopping=stop.requested)
                    board.changed(process.status)
            if stop.requested:
                if not running:
                    break
                for process in running:
                    process.ask_to_stop()
            else:
                if time.monotonic() - looked > ELSEWHERE_SECONDS:
                    looked = time.monotonic()
                    look_elsewhere(statuses, board)
                for status in [s for s in statuses if s.state is State.WAITING][: len(free)]:
                    if workdirs.is_held(status.workdir):
                        status.state = State.ELSEWHERE
                    else:
                        begin(status, free, running)
                    board.changed(status)
                left = (State.WAITING, State.RUNNING, State.ELSEWHERE)
                if not any(status.state in left for status in statuses):
                    break
            board.tick()
            time.sleep(POLL_SECONDS)
    finally:
        for process in running:
            process.kill()


def begin(status: Status, free: list[Slot], running: list[Process]) -> None:
    """Starts a run at the first free place; one whose folder cannot be written has failed."""
    try:
        running.append(Process(status, free[0]))
        del free[0]
    except OSError as error:
        status.state = State.FAILED
        status.note = f"cannot start in {status.workdir}: {error.strerror}"


def look_elsewhere(statuses: list[Status], board: Board) -> None:
    """Takes back the runs that another process has finished or given up."""
    for status in statuses:
        if status.state is State.ELSEWHERE and not workdirs.is_held(status.workdir):
            over = workdirs.is_finished(status.workdir, status.run.config)
            status.state = State.FINISHED if over else State.WAITING
            board.changed(status)


class Process:
    """One `vid3d train` and its log; it is given its config as JSON, so that editing the file changes no later run."""

    def __init__(self, status: Status, place: Slot):
        self.status, self.place = status, place
        self.asked = False
        status.state, status.place, status.note = State.RUNNING, place.name, ""
        status.seen = [(time.monotonic(), status.epoch())]
        status.workdir.mkdir(parents=True, exist_ok=True)
        log = (status.workdir / workdirs.LOG).open("ab")
        self.log_start = log.tell()
        command = [sys.executable, "-m", "vid3d.cli", "train", "--config=-", "--num_processes=1"]
        with log, tempfile.TemporaryFile() as text, place.bound() as environment:
            text.write(configs.to_json(status.run.config).encode())
            text.seek(0)
            self.process = subprocess.Popen(
                [*command, f"--workdir={status.workdir}"],
                env=environment, stdin=text, stdout=log, stderr=log,
            )  # fmt: skip

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def ask_to_stop(self) -> None:
        """Lets the training save and end."""
        if not self.asked:
            self.asked = True
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def settle(self, *, stopping: bool) -> None:
        """Notes how the process has ended."""
        status, code = self.status, self.process.returncode
        if code == FINISHED:
            status.state = State.FINISHED
        elif code == RESUME_ME or (stopping and code == -signal.SIGTERM):
            status.state, status.note = State.STOPPED, "the same command goes on with it"
        elif workdirs.is_held(status.workdir):
            status.state = State.ELSEWHERE
        else:
            status.state, status.note = State.FAILED, self.why(code)

    def why(self, code: int) -> str:
        """The signal that killed it, where one did, and the last line that it printed."""
        with (self.status.workdir / workdirs.LOG).open("rb") as log:
            log.seek(self.log_start)
            lines = log.read().decode(errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        if code >= 0:
            return last
        return f"killed by {signal.Signals(-code).name}; its last line: {last}"

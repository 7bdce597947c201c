"""Runs the runs of a sweep: a process and a workdir each, several at a time, whatever happens to one of them."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from vid3d import config as configs, storage
from vid3d.checkpoint import Workdir
from vid3d.errors import UserError
from vid3d.sweep import child, plan
from vid3d.sweep.devices import Slot, slots
from vid3d.sweep.table import Board, State, Status
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
    launcher: str = "local",
    resources: str = "",
    retries: int = 0,
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
        launcher: "local", or "ray": on the machines of a Ray cluster, as many at a time as it has room for.
        resources: of a run on Ray, such as "CPU=4,GPU=1".
        retries: of a run on Ray that is killed, or whose machine is lost; it goes on from its newest checkpoint.

    Returns:
        FINISHED; FAILED where a run failed; RESUME_ME where one was stopped.

    Raises:
        UserError: a run that does not fit the config, a folder that belongs to something else, too few devices; before
            the first run starts.
    """
    check_launcher(launcher, parallel=parallel, resources=resources, retries=retries)
    runs = plan.shard(plan.plan(spec, overrides, seeds=seeds), part)
    statuses = look(runs, storage.place(workdir))
    if dry_run:
        show([so_far(status) for status in statuses])
        return FINISHED
    waiting = sum(status.state is State.WAITING for status in statuses)
    if waiting and launcher == "ray":
        from vid3d.sweep.cluster import Cluster

        with (
            Cluster(resources, retries) as cluster,
            StopSignal() as stop,
            Board(statuses, min(waiting, cluster.room())) as board,
        ):
            # All runs are handed over at once: it is Ray that lets them wait.
            work(statuses, [Slot("ray")] * waiting, cluster.start, board, stop)
    else:
        places = slots(parallel) if waiting else []
        with StopSignal() as stop, Board(statuses, max(len(places), 1)) as board:
            work(statuses, places, Process, board, stop)
    if any(status.state is State.FAILED for status in statuses):
        return FAILED
    done = all(status.state is State.FINISHED for status in statuses)
    return FINISHED if done else RESUME_ME


def check_launcher(launcher: str, *, parallel: int, resources: str, retries: int) -> None:
    """Raises a UserError where an option of one launcher is given to the other."""
    if launcher == "ray" and parallel:
        raise UserError(
            "--parallel is for --launcher=local: Ray runs as many as --resources let it"
        )
    if launcher != "ray" and (resources or retries):
        raise UserError("--resources and --retries are for --launcher=ray")
    if retries < 0:
        raise UserError(f"--retries={retries} has to be at least 0")


def look(runs: list[plan.Run], workdir: Path) -> list[Status]:
    """Where each run stands; nothing is written.

    Raises:
        UserError: the sweep's folder is a training's, or that of a run belongs to another config.
    """
    storage.refuse_file(workdir)
    if (workdir / "config.json").exists():
        raise UserError(f"{workdir} is the workdir of one training: a sweep needs its own folder")
    statuses = [Status(run, find(run, workdir)) for run in runs]
    for status in statuses:
        try:
            if (path := status.workdir / "config.json").exists():
                configs.read(path)
        except UserError as error:
            why = str(error).removeprefix(f"{path}: ")
            status.state, status.note = State.FAILED, f"{path.name}: {why}"
            continue
        Workdir(status.workdir).check_claim(status.run.config)
        if Workdir(status.workdir).is_finished(status.run.config):
            status.state = State.FINISHED
    return statuses


def find(run: plan.Run, workdir: Path) -> Path:
    """The folder of a run: that of an earlier version, where it is this run's, or the one of its name."""
    before = workdir / plan.name(run.overrides, former=True)
    if before.name != run.name and (before / "config.json").exists():
        with contextlib.suppress(UserError):
            if not configs.differences(configs.read(before / "config.json"), run.config):
                return before
    return workdir / run.name


def so_far(status: Status) -> Status:
    """The same with the state that the last process left a run in that is not finished."""
    if status.state is State.WAITING and is_free(status):
        last = child.last_line(status.workdir)
        saved = not last and Workdir(status.workdir).checkpoints()
        if saved or last.startswith(("stopped at step", "vid3d train: stopped")):
            status.state = State.STOPPED
        elif last:
            status.state = State.FAILED
    return status


def show(statuses: list[Status]) -> None:
    """Prints a line a run: its state, its folder and its overrides."""
    for status in statuses:
        note = f": {status.note}" if status.note else ""
        print(f"{status.state:9} {status.workdir}  ({plan.describe(status.run.overrides)}){note}")
    counts = Counter(status.state for status in statuses)
    words = ", ".join(f"{number} {state}" for state, number in counts.items())
    print(f"{len(statuses)} runs" + (f": {words}" if words else " in this shard"))


def work(
    statuses: list[Status],
    places: list[Slot],
    start: Callable[[Status, Slot], Process],
    board: Board,
    stop: StopSignal,
) -> None:
    """Keeps every place busy until all runs are done, or until it is asked to stop and all have saved.

    Args:
        statuses: of the runs.
        places: for one run at a time each.
        start: begins a run; `Process` here, or a `cluster.Task` elsewhere.
        board: shows them.
        stop: asks to stop.
    """
    free = list(places)
    running: list[Process] = []
    looked = 0.0
    try:
        while True:
            for process in list(running):
                if process.is_over():
                    running.remove(process)
                    free.append(process.place)
                    settle(process, stopping=stop.requested)
                    board.changed(process.status)
                elif process.has_begun():
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
                    if is_free(status):
                        begin(status, start, free, running)
                    board.changed(status)
                left = (State.WAITING, State.QUEUED, State.RUNNING, State.ELSEWHERE)
                if not any(status.state in left for status in statuses):
                    break
            board.tick()
            time.sleep(POLL_SECONDS)
    finally:
        for process in running:
            process.kill()


def is_free(status: Status) -> bool:
    """Whether no other process trains a run; where one does, or that cannot be found out, its state says so."""
    try:
        if not Workdir(status.workdir).is_held():
            return True
        status.state = State.ELSEWHERE
    except UserError as error:
        status.state, status.note = State.FAILED, str(error)
    return False


def begin(
    status: Status,
    start: Callable[[Status, Slot], Process],
    free: list[Slot],
    running: list[Process],
) -> None:
    """Starts a run at the first free place; one whose folder cannot be written has failed."""
    try:
        running.append(start(status, free[0]))
        del free[0]
    except OSError as error:
        status.state = State.FAILED
        status.note = f"cannot start ({error.strerror}) in {status.workdir}"


def look_elsewhere(statuses: list[Status], board: Board) -> None:
    """Takes back the runs that another process has finished or given up."""
    for status in statuses:
        if status.state is not State.ELSEWHERE:
            continue
        if is_free(status):
            over = Workdir(status.workdir).is_finished(status.run.config)
            status.state = State.FINISHED if over else State.WAITING
        if status.state is not State.ELSEWHERE:
            board.changed(status)


def settle(process: Process, *, stopping: bool) -> None:
    """Notes how a run has ended."""
    status, code = process.status, process.code
    if code == FINISHED:
        status.state = State.FINISHED
    elif code == RESUME_ME or (stopping and code == -signal.SIGTERM):
        status.state, status.note = State.STOPPED, "the same command goes on with it"
    elif is_free(status):
        status.state = State.FAILED
        status.note = process.trouble or child.last_words(status.workdir, process.log_start, code)
        status.log = None if process.trouble else Workdir(status.workdir).log_file


class Process:
    """A run on this machine.

    Attributes:
        code: the exit code once it is over.
        trouble: why it failed, where that is not in its log.
    """

    code: int | None = None
    trouble = ""

    def __init__(self, status: Status, place: Slot):
        self.status, self.place = status, place
        self.asked = False
        self.log_start = child.log_size(status.workdir)
        with place.bound() as environment:
            text = configs.to_json(status.run.config)
            self.process = child.start(status.workdir, text, environment)
        status.state, status.place, status.note = State.RUNNING, place.name, ""
        status.seen = [(time.monotonic(), status.epoch())]

    def is_over(self) -> bool:
        self.code = self.process.poll()
        if self.code is not None:
            child.store_log(self.status.workdir)
        return self.code is not None

    def has_begun(self) -> bool:
        """Whether it has begun since it was last asked; here that is at once."""
        return False

    def ask_to_stop(self) -> None:
        """Lets the training save and end."""
        if not self.asked:
            self.asked = True
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

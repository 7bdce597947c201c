"""Trains the runs of a sweep, each in a process and a workdir, several at a time."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vid3d import config as configs, storage
from vid3d.checkpoint import Workdir
from vid3d.errors import UserError
from vid3d.process import FINISHED, INTERRUPTED, RESUME_ME, require_training
from vid3d.sweep import child, halving, plan
from vid3d.sweep.devices import Slot, slots
from vid3d.sweep.job import Job, LocalJob
from vid3d.sweep.table import Board, State, Status
from vid3d.training.stop import StopSignal

POLL_SECONDS = 0.2
ELSEWHERE_SECONDS = 5.0  # between two looks at a run that another process trains


@dataclass(frozen=True)
class Engine:
    """Where runs are trained, and how many at a time.

    Attributes:
        launcher: "local", or "ray": on a Ray cluster, as many at a time as it has room for.
        parallel: runs at a time, each on a device of its own; 0 is one at a time on all devices.
        resources: of a run on Ray, such as "CPU=4,GPU=1".
        retries: of a run on Ray that is killed, or whose machine is lost; each resumes from the
            newest checkpoint.
    """

    launcher: str = "local"
    parallel: int = 0
    resources: str = ""
    retries: int = 0

    def __post_init__(self) -> None:
        """Raises a UserError where an option of one launcher is given to the other."""
        if self.launcher == "ray" and self.parallel:
            raise UserError(
                "--parallel is for --launcher=local: Ray runs as many as --resources let it"
            )
        if self.launcher != "ray" and (self.resources or self.retries):
            raise UserError("--resources and --retries are for --launcher=ray")
        if self.retries < 0:
            raise UserError(f"--retries={self.retries} has to be at least 0")


LOCAL = Engine()
# How the log of a run ends that is to go on.
STOPPED = ("stopped at step", "vid3d train: stopped", "vid3d: interrupted")


def sweep(
    spec: str,
    workdir: str | Path,
    overrides: Iterable[tuple[str, str]] = (),
    *,
    seeds: int = 1,
    part: str = "",
    dry_run: bool = False,
    engine: Engine = LOCAL,
) -> list[Status]:
    """Trains each run that is not finished in `workdir/NAME`, and shows how they are doing.

    Args:
        spec: a preset or a config file with `sweep(add)`, see `config.load`.
        workdir: the folder of the sweep.
        overrides: (key, text) pairs for all runs.
        seeds: repeats of each run.
        part: "i/N", one shard of several.
        dry_run: only looks where each run stands.
        engine: where the runs are trained, and how many at a time.

    Returns:
        Where each run stands now.

    Raises:
        UserError: before the first run starts: a run that does not fit the config, a folder that
            belongs to something else, too few devices.
    """
    runs = plan.shard(plan.plan(spec, overrides, seeds=seeds), part)
    statuses = look(runs, storage.as_path(workdir))
    if dry_run:
        return [so_far(status) for status in statuses]
    train_all(statuses, engine)
    return statuses


def train_all(statuses: list[Status], engine: Engine) -> None:
    """Trains the runs that wait, and shows how all are doing.

    Raises:
        UserError: too few devices, a Ray that cannot be reached, or the extra `train` is missing.
    """
    require_training()
    waiting = sum(status.state is State.WAITING for status in statuses)
    if waiting and engine.launcher == "ray":
        from vid3d.sweep.cluster import Cluster

        with (
            Cluster(engine.resources, engine.retries) as cluster,
            StopSignal() as stop,
            Board(statuses, min(waiting, cluster.capacity())) as board,
        ):
            # All runs are handed over at once: Ray queues them.
            work(statuses, [Slot("ray")] * waiting, cluster.start, board, stop)
    else:
        free = slots(engine.parallel) if waiting else []
        with StopSignal() as stop, Board(statuses, max(len(free), 1)) as board:
            work(statuses, free, LocalJob, board, stop)


def look(runs: list[plan.PlannedRun], workdir: Path) -> list[Status]:
    """Where each run stands; nothing is written.

    Raises:
        UserError: the sweep's folder is a workdir, or that of a run belongs to another config.
    """
    storage.refuse_file(workdir)
    if (workdir / "config.json").exists():
        raise UserError(
            f"{workdir} is the workdir of one training run: a sweep needs its own folder"
        )
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
        note_end(status)
        status.rungs_passed = len(rung_accuracies(status))
    return statuses


def note_end(status: Status) -> None:
    """Notes that a run is finished, or that it was stopped early, if so."""
    if Workdir(status.workdir).is_finished(status.run.config):
        status.state = State.FINISHED
    elif status.run.halving and (verdict := halving.read(status.workdir)):
        status.state, status.note = State.PRUNED, str(verdict)


def rung_accuracies(status: Status) -> list[float | None]:
    """The best validation accuracy by each rung that a run has reached, see `halving.best_by`."""
    if not status.run.halving:
        return []
    rows = status.rows()
    epoch = rows[-1]["epoch"] if rows else 0
    rungs = status.run.halving.rungs(status.run.config.train.epochs)
    return [halving.best_by(rows, rung) for rung in rungs if rung <= epoch]


def is_behind(status: Status, statuses: list[Status]) -> bool:
    """Whether a run has reached a rung where it stops; `status.verdict` then says why."""
    own = rung_accuracies(status)
    while status.verdict is None and status.rungs_passed < len(own):
        number = status.rungs_passed
        status.rungs_passed += 1
        there = [found[number] for s in statuses if s is not status
                 and len(found := rung_accuracies(s)) > number]  # fmt: skip
        known = [accuracy for accuracy in there if accuracy is not None]
        accuracy, compared = own[number], status.run.halving
        if accuracy is not None and compared is not None:
            rung = compared.rungs(status.run.config.train.epochs)[number]
            status.verdict = halving.judge(accuracy, known, epoch=rung, factor=compared.factor)
    return status.verdict is not None


def find(run: plan.PlannedRun, workdir: Path) -> Path:
    """The folder of a run: the one an earlier version named, where it is this run's, or its own."""
    before = workdir / plan.name(run.overrides, former=True)
    if before.name != run.name and (before / "config.json").exists():
        with contextlib.suppress(UserError):
            if not configs.differences(configs.read(before / "config.json"), run.config):
                return before
    return workdir / run.name


def so_far(status: Status) -> Status:
    """The same, with the state that the last process left an unfinished run in."""
    if status.state is State.WAITING and is_free(status):
        last = child.last_line(status.workdir)
        saved = not last and Workdir(status.workdir).checkpoints()
        if saved or last.startswith(STOPPED):
            status.state = State.STOPPED
        elif last:
            status.state = State.FAILED
    return status


def work(
    statuses: list[Status],
    slots: list[Slot],
    start: Callable[[Status, Slot], Job],
    board: Board,
    stop: StopSignal,
) -> None:
    """Keeps every slot busy until all runs are done, or have saved after a request to stop.

    Args:
        statuses: of the runs.
        slots: one run at a time each.
        start: starts a run in a slot.
        board: shows the statuses.
        stop: the request to stop.
    """
    free = list(slots)
    running: list[Job] = []
    looked = 0.0
    try:
        while True:
            for job in list(running):
                if job.is_over():
                    running.remove(job)
                    free.append(job.slot)
                    settle(job, stopping=stop.requested)
                    board.changed(job.status)
                elif job.has_started():
                    board.changed(job.status)
                elif is_behind(job.status, statuses):
                    job.ask_to_stop()
            if stop.requested:
                if not running:
                    break
                for job in running:
                    job.ask_to_stop()
            else:
                if time.monotonic() - looked > ELSEWHERE_SECONDS:
                    looked = time.monotonic()
                    look_elsewhere(statuses, board)
                for status in [s for s in statuses if s.state is State.WAITING][: len(free)]:
                    if is_free(status):
                        launch(status, start, free, running)
                    board.changed(status)
                left = (State.WAITING, State.QUEUED, State.RUNNING, State.ELSEWHERE)
                if not any(status.state in left for status in statuses):
                    break
            board.tick()
            time.sleep(POLL_SECONDS)
    finally:
        for job in running:
            job.kill()


def is_free(status: Status) -> bool:
    """Whether no other process trains a run; if one does, or if unknown, its state says so."""
    try:
        if not Workdir(status.workdir).is_held():
            return True
        status.state = State.ELSEWHERE
    except UserError as error:
        status.state, status.note = State.FAILED, str(error)
    return False


def launch(
    status: Status,
    start: Callable[[Status, Slot], Job],
    free: list[Slot],
    running: list[Job],
) -> None:
    """Starts a run in the first free slot; one whose folder cannot be written has failed."""
    try:
        halving.forget(status.workdir)
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
            status.state = State.WAITING
            note_end(status)
        if status.state is not State.ELSEWHERE:
            board.changed(status)


def settle(job: Job, *, stopping: bool) -> None:
    """Notes how a run has ended."""
    status, code = job.status, job.code
    assert code is not None  # it is over
    if code == FINISHED:
        status.state = State.FINISHED
    elif code == RESUME_ME and status.verdict:
        status.verdict.write(status.workdir)
        status.state, status.note = State.PRUNED, str(status.verdict)
    elif code == RESUME_ME or (stopping and code in (-signal.SIGTERM, INTERRUPTED)):
        status.state, status.note = State.STOPPED, "the same command resumes it"
    elif is_free(status):
        status.state = State.FAILED
        status.note = job.trouble or child.last_words(status.workdir, job.log_start, code)
        status.log = None if job.trouble else Workdir(status.workdir).log_file

"""The runs of a sweep on the machines of a Ray cluster: the only file that imports Ray.

Each run is an actor, so that it can be asked to save and stop while it trains. The workdir has to
be on a disk that all machines see, and vid3d has to be installed on each.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import time
from typing import cast

from vid3d import config as configs, storage
from vid3d.errors import UserError
from vid3d.process import RESUME_ME
from vid3d.sweep import child
from vid3d.sweep.devices import Slot
from vid3d.sweep.table import State, Status

try:
    import ray
    from ray import init  # which a folder of that name does not have
except ImportError:
    raise UserError("--launcher=ray needs Ray: pip install 'vid3d[ray]'") from None

DEFAULT = "CPU=1"


class Killed(Exception):
    """A training run ended without having been asked to; a retry resumes it."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


class Cluster:
    """A connection to Ray, and what each run gets of it; a context manager.

    Attributes:
        resources: of each run: Ray's name -> amount.
        retries: of a run that is killed, or whose machine is lost.
    """

    def __init__(self, resources: str, retries: int):
        self.resources = parse(resources or DEFAULT)
        self.retries = retries

    def __enter__(self) -> Cluster:
        connect()
        if not self.capacity():
            ray.shutdown()
            asked = ", ".join(f"{name}={amount:g}" for name, amount in self.resources.items())
            raise UserError(f"--resources={asked}: no machine of the Ray cluster has as much")
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()

    def capacity(self) -> int:
        """How many runs fit at a time."""
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return sum(
            min(int(machine.get(name, 0) // need) for name, need in self.resources.items())
            for machine in machines
        )

    def start(self, status: Status, slot: Slot) -> RayJob:
        """Hands a run over to Ray."""
        return RayJob(status, slot, self.resources, self.retries)


def connect(tries: int = 4) -> None:
    """Joins the cluster at RAY_ADDRESS, or starts one here, for which Ray allows 30 seconds.

    Raises:
        UserError: it cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        # Nothing of what Ray writes is for the reader of the table.
        init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of all kinds, a plain Exception among them
        ray.shutdown()
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        if tries > 1 and "timed out during startup" in line:
            return connect(tries - 1)
        address = os.environ.get("RAY_ADDRESS", "a new local cluster")
        raise UserError(f"Ray cannot be reached (RAY_ADDRESS: {address}): {line}") from error


def parse(text: str) -> dict[str, float]:
    """ "CPU=2,GPU=1" as Ray's name -> amount.

    Raises:
        UserError: the text is not of this form.
    """
    found = {}
    for part in text.split(","):
        name, _, amount = part.partition("=")
        try:
            found[name] = float(amount)
        except ValueError:
            found[name] = 0.0
        if not name or not found[name] > 0:
            raise UserError(f"--resources={text} has to be NAME=AMOUNT, ... such as CPU=4,GPU=1")
    return found


class Trainer:
    """The actor: one training run on the machine that Ray has chosen."""

    process: subprocess.Popen | None = None
    asked_to_stop = False

    @ray.method
    def where(self) -> str:
        """The machine's name."""
        return socket.gethostname()

    @ray.method(retry_exceptions=[Killed])
    def train(self, workdir: str, config_text: str) -> int:
        """Trains until it is finished, fails or is asked to stop; returns the exit code.

        Raises:
            Killed: by a signal, or stopped by another, such as a machine that is preempted.
        """
        self.process = child.start(storage.as_path(workdir), config_text, os.environ)
        if self.asked_to_stop:
            self.process.terminate()
        code = self.process.wait()
        child.store_log(storage.as_path(workdir))
        if not self.asked_to_stop and (code < 0 or code == RESUME_ME):
            raise Killed(code)
        return code

    @ray.method
    def stop(self) -> None:
        """Lets the training save and end."""
        self.asked_to_stop = True
        if self.process is not None:
            self.process.terminate()


class RayJob:
    """A run on a machine of the cluster; see `job.Job`."""

    def __init__(self, status: Status, slot: Slot, resources: dict[str, float], retries: int):
        self.status, self.slot = status, slot
        self.code: int | None = None
        self.trouble = ""
        self.asked_to_stop = False
        self.log_start = child.log_size(status.workdir)
        others = {name: need for name, need in resources.items() if name not in ("CPU", "GPU")}
        trainer = ray.remote(Trainer).options(
            num_cpus=resources.get("CPU", 0),
            num_gpus=resources.get("GPU", 0),
            resources=others,
            max_restarts=retries,
            max_task_retries=retries,
            max_concurrency=2,  # one trains, the other asks it to stop
        )
        # Ray's types say that it might be the class as well.
        self.actor = cast("ray.actor.ActorHandle[Trainer]", trainer.remote())
        text = configs.to_json(status.run.config)
        self.where: ray.ObjectRef[str] = self.actor.where.remote()
        self.answer: ray.ObjectRef[int] = self.actor.train.remote(
            str(storage.absolute(status.workdir)), text
        )
        status.state, status.place, status.note = State.QUEUED, "", ""

    def has_started(self) -> bool:
        """Whether Ray found a machine for it since this was last asked."""
        if self.status.state is not State.QUEUED or not is_ready(self.where):
            return False
        with contextlib.suppress(ray.exceptions.RayError):
            self.status.place = ray.get(self.where)
        self.status.state = State.RUNNING
        self.status.seen = [(time.monotonic(), self.status.epoch())]
        return True

    def is_over(self) -> bool:
        if not is_ready(self.answer):
            return False
        try:
            self.code = ray.get(self.answer)
        except Killed as error:
            self.code = error.code
        except ray.exceptions.RayError as error:
            if self.asked_to_stop:
                self.code = RESUME_ME
            else:
                self.code, self.trouble = 1, f"Ray lost it: {str(error).splitlines()[0]}"
        # Its resources are for the next run.
        ray.kill(self.actor)
        return True

    def ask_to_stop(self) -> None:
        """Lets the training save and end; one that is still queued does not start."""
        if self.asked_to_stop:
            return
        self.asked_to_stop = True
        if self.status.state is State.QUEUED:
            self.kill()
        else:
            self.actor.stop.remote()

    def kill(self) -> None:
        ray.kill(self.actor, no_restart=True)


def is_ready(reference: ray.ObjectRef) -> bool:
    """Whether the answer, or an error, is there."""
    return bool(ray.wait([reference], timeout=0)[0])

"""The processes of a run find each other, and agree on their number, before JAX connects them.

JAX's own start ends a process that waits in vain by abort(), with a stack trace that nothing can
catch. So process 0 calls the roll first, on the same port: every other process says its number and
how many it was told there are.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from dataclasses import dataclass

from vid3d.errors import UserError

MARK = "vid3d-roll-call"
LATE_SECONDS = 5.0  # after which a process says what it waits for
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Cluster:
    """Where this process stands among several.

    Attributes:
        coordinator: "host:port" of process 0.
        num_processes: how many there are.
        process_id: 0 to num_processes - 1.
        local_device_ids: this process's share of the machine's devices; None is all.
        name: what was detected, such as "slurm"; "" where the three came from the command line.
    """

    coordinator: str
    num_processes: int
    process_id: int
    local_device_ids: list[int] | None = None
    name: str = ""


def detect() -> Cluster | None:
    """The processes that Slurm, Open MPI or a TPU slice started; None where this one is alone.

    JAX's own detection, without Kubernetes, where being in a pod does not mean that there are
    others. Slurm starts a task per GPU or per machine; in the second case it has all the GPUs.

    Raises:
        UserError: there is a cluster, but it does not say who is in it.
    """
    from jax._src.clusters import GceTpuCluster, GkeTpuCluster, OmpiCluster, SlurmCluster

    for kind in (GkeTpuCluster, GceTpuCluster, SlurmCluster, OmpiCluster):
        if not kind.is_env_present():
            continue
        try:
            count = kind.get_process_count()
            if count == 1:
                return None
            port = os.environ.get("JAX_COORDINATOR_PORT")
            address = kind.get_coordinator_address(60, port)
            process_id, local = kind.get_process_id(), kind.get_local_process_id()
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot tell who is in this {kind.name} cluster: {reason}") from error
        one_per_machine = str(count) == os.environ.get("SLURM_STEP_NUM_NODES")
        ids = None if local is None or one_per_machine else [local]
        return Cluster(address, count, process_id, ids, kind.name)
    return None


def split_address(address: str) -> tuple[str, int]:
    """("host", port) of "host:port".

    Raises:
        UserError: the text is not of this form.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator={address} has to be HOST:PORT, such as 10.0.0.2:8476")
    return host.strip("[]"), int(port)


def call_roll(cluster: Cluster, *, timeout: float) -> None:
    """Returns once all processes are there and agree on their number.

    Args:
        cluster: of this process.
        timeout: seconds to wait for the others.

    Raises:
        UserError: the coordinator cannot be reached; a process is missing, is there twice, or was
            told another number.
    """
    host, port = split_address(cluster.coordinator)
    deadline = time.monotonic() + timeout
    if cluster.process_id == 0:
        listen(cluster, port, deadline, timeout)
    else:
        answer(cluster, (host, port), deadline, timeout)


def listen(cluster: Cluster, port: int, deadline: float, timeout: float) -> None:
    """Process 0: waits for the others, then tells them to go on, or what is wrong."""
    try:
        server = open_server(port)
    except OSError as error:
        raise UserError(
            f"cannot listen at {cluster.coordinator}: {error.strerror}; take another port"
        ) from error
    present: set[int] = set()
    connections: list[socket.socket] = []
    expected = set(range(1, cluster.num_processes))
    with contextlib.ExitStack() as stack:
        stack.enter_context(server)
        trouble = ""
        late = Late(f"waiting for {len(expected)} other processes at {cluster.coordinator}")
        while not trouble and expected - present:
            late.tick()
            if time.monotonic() > deadline:
                missing = ", ".join(map(str, sorted(expected - present)))
                trouble = (
                    f"process {missing} of {cluster.num_processes} did not come to the coordinator "
                    f"at {cluster.coordinator} within {timeout:g} s"
                )
                break
            server.settimeout(RETRY_SECONDS)
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            stack.enter_context(connection)
            said = receive(connection)
            if said is None:
                continue  # not one of us
            number, count = said["process_id"], said["num_processes"]
            if count != cluster.num_processes:
                trouble = (
                    f"process {number} was told that there are {count} processes, process 0 at "
                    f"{cluster.coordinator} that there are {cluster.num_processes}: give all the "
                    "same number"
                )
            elif number in present or number not in expected:
                trouble = f"two processes are number {number}: give each a number of its own"
            present.add(number)
            connections.append(connection)
        for connection in connections:
            with contextlib.suppress(OSError):
                send(connection, {"trouble": trouble})
    if trouble:
        raise UserError(trouble)


def open_server(port: int) -> socket.socket:
    """Listens on all addresses of this machine."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
            )
    return socket.create_server(("", port), backlog=1024)


def answer(cluster: Cluster, address: tuple[str, int], deadline: float, timeout: float) -> None:
    """Every other process: reports to process 0, and waits for its answer."""
    late = Late(f"waiting for the coordinator at {cluster.coordinator}")
    reason = "it does not answer"
    while time.monotonic() < deadline:
        late.tick()
        try:
            with socket.create_connection(address, timeout=RETRY_SECONDS) as connection:
                mine = {
                    "process_id": cluster.process_id,
                    "num_processes": cluster.num_processes,
                }
                send(connection, mine)
                # Process 0 answers when all are there; another program on that port says something
                # else, or nothing.
                said = receive(connection, wait=max(deadline - time.monotonic(), 0.1))
            if said is not None and "trouble" in said:
                if said["trouble"]:
                    raise UserError(said["trouble"])
                return
            reason = "something else answers there"
        except socket.gaierror as error:
            reason = error.strerror or "its name is unknown"
        except OSError as error:
            reason = error.strerror or "it does not answer"
        time.sleep(RETRY_SECONDS)
    raise UserError(
        f"no answer from the coordinator at {cluster.coordinator} within {timeout:g} s "
        f"({reason.lower()}): is process 0 running, and may this machine reach that port?"
    )


def send(connection: socket.socket, message: dict) -> None:
    connection.sendall((json.dumps({"what": MARK} | message) + "\n").encode())


def receive(connection: socket.socket, *, wait: float = RETRY_SECONDS * 4) -> dict | None:
    """The peer's line, or None where it says nothing in time or something else."""
    connection.settimeout(wait)
    try:
        with connection.makefile("rb") as file:
            message = json.loads(file.readline(4096))
    except (OSError, ValueError):
        return None
    return message if isinstance(message, dict) and message.get("what") == MARK else None


class Late:
    """Says once what is waited for, when that takes long."""

    def __init__(self, words: str):
        self.words, self.due = words, time.monotonic() + LATE_SECONDS

    def tick(self) -> None:
        if self.words and time.monotonic() > self.due:
            print(self.words, file=sys.stderr, flush=True)
            self.words = ""

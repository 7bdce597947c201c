"""The device of each of several runs at a time: a GPU, a TPU chip, or a share of the cores."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from vid3d.errors import UserError

TPU_PORT = 8476  # the first of the ports on which the chips of a host are addressed

# JAX takes hold of every device that it sees, so another process counts them and ends.
PROBE = """
import json, jax
devices = jax.local_devices()
chips = {tuple(getattr(d, "coords", (d.id,))) for d in devices}
print(json.dumps([jax.default_backend(), len(chips)]))
"""


@dataclass(frozen=True)
class Slot:
    """The place of one run at a time.

    Attributes:
        name: for the table, such as "gpu 1" or "cores 0-3".
        environment: variables that bind a process to its device.
        cores: the CPU cores that it may use; empty is all.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: frozenset[int] = frozenset()

    @contextlib.contextmanager
    def bound(self) -> Iterator[dict[str, str]]:
        """Binds this thread and the processes it starts to the slot; yields their environment."""
        environment = dict(os.environ) | dict(self.environment)
        if not self.cores:
            yield environment
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cores)
        try:
            yield environment
        finally:
            os.sched_setaffinity(0, before)


def slots(parallel: int) -> list[Slot]:
    """One slot for each of `parallel` runs at a time; 0 is one run at a time on all devices.

    Raises:
        UserError: there are fewer devices, or cores, than that.
    """
    if parallel < 0:
        raise UserError(f"--parallel={parallel} has to be at least 1")
    if not parallel:
        return [Slot("all devices")]
    backend, count = probe()
    if backend == "cpu":
        return core_slots(parallel)
    if parallel > count:
        raise UserError(f"--parallel={parallel}: there are {count} {backend} devices, one per run")
    bind = tpu_slot if backend == "tpu" else gpu_slot
    return [bind(number) for number in range(parallel)]


def probe() -> tuple[str, int]:
    """(JAX's backend, how many GPUs or TPU chips it sees on this machine).

    Raises:
        UserError: JAX cannot start its devices.
    """
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise UserError(f"JAX finds no device: {lines[-1] if lines else done.returncode}")
    backend, count = json.loads(done.stdout.splitlines()[-1])
    return backend, count


def core_slots(parallel: int) -> list[Slot]:
    """Disjoint shares of the cores that this process may use, as even as they can be."""
    if not hasattr(os, "sched_getaffinity"):
        return [Slot(f"share {number}") for number in range(parallel)]
    cores = sorted(os.sched_getaffinity(0))
    if parallel > len(cores):
        raise UserError(
            f"--parallel={parallel}: there are {len(cores)} cores, at least one per run"
        )
    ends = [len(cores) * number // parallel for number in range(parallel + 1)]
    shares = [cores[start:end] for start, end in itertools.pairwise(ends)]
    return [
        Slot(
            f"core {share[0]}" if len(share) == 1 else f"cores {share[0]}-{share[-1]}",
            cores=frozenset(share),
        )
        for share in shares
    ]


def gpu_slot(number: int) -> Slot:
    """One GPU, counted among those that this process may use."""
    visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
    device = visible[number] if visible else str(number)
    return Slot(f"gpu {device}", {"CUDA_VISIBLE_DEVICES": device})


def tpu_slot(number: int) -> Slot:
    """One chip of a TPU VM whose processes do not talk to each other.

    The variables are those of https://gist.github.com/skye/f82ba45d2445bb19d53545538754f9a3.
    """
    port = TPU_PORT + number
    return Slot(
        f"tpu chip {number}",
        {
            "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
            "TPU_PROCESS_BOUNDS": "1,1,1",
            "TPU_VISIBLE_DEVICES": str(number),
            "TPU_MESH_CONTROLLER_ADDRESS": f"localhost:{port}",
            "TPU_MESH_CONTROLLER_PORT": str(port),
        },
    )

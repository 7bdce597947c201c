"""Devices and hosts: the only file that says pmap, mesh, sharding or process_index.

A training step is a pure function of (state, batch). `map_step` runs it on each device with its
share of the batch; the function itself reduces over `AXIS`. The state has no device axis: every
device holds the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from vid3d import rendezvous
from vid3d.errors import UserError
from vid3d.process import call_in_thread, cores

AXIS = "batch"
HEARTBEAT_SECONDS = 30  # without a sign of life, after which a process counts as dead


def initialize(
    coordinator: str = "",
    *,
    num_processes: int = 0,
    process_id: int = -1,
    coordinator_timeout: float = 120.0,
) -> None:
    """Joins the other processes of this run, where there are any.

    Args:
        coordinator: "host:port" of process 0, the same for all; "" asks Slurm, Open MPI or the TPU
            slice.
        num_processes: how many take part; 1 is this one alone, whatever the environment says.
        process_id: 0 to num_processes - 1.
        coordinator_timeout: seconds to wait for the others.

    Raises:
        UserError: the three do not fit together or the others do not come.
    """
    if num_processes == 1 and process_id <= 0:
        return
    if not coordinator:
        if num_processes or process_id >= 0:
            raise UserError("--num-processes and --process-id need --coordinator=HOST:PORT")
        cluster = rendezvous.detect()
        if cluster is None:
            return
    elif num_processes < 1 or process_id == -1:
        missing = "--num-processes=N" if num_processes < 1 else "--process-id=I"
        raise UserError(f"--coordinator={coordinator} needs {missing} as well")
    elif not 0 <= process_id < num_processes:
        raise UserError(
            f"--process-id={process_id} has to be from 0 to --num-processes - 1 = "
            f"{num_processes - 1}"
        )
    else:
        cluster = rendezvous.Cluster(coordinator, num_processes, process_id)
    rendezvous.call_roll(cluster, timeout=coordinator_timeout)
    jax.distributed.initialize(
        cluster.coordinator,
        cluster.num_processes,
        cluster.process_id,
        local_device_ids=cluster.local_device_ids,
        cluster_detection_method="deactivate",
        initialization_timeout=max(int(coordinator_timeout), 1),
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )
    check_devices(cluster)


def check_devices(cluster: rendezvous.Cluster) -> None:
    """Raises a UserError where JAX sees another number of processes: a TPU slice has its own."""
    if jax.process_count() != cluster.num_processes:
        raise UserError(
            f"{cluster.num_processes} processes came to {cluster.coordinator}, but the "
            f"{jax.default_backend()} devices belong to {jax.process_count()}: start one on each "
            "host"
        )


def is_main() -> bool:
    """Whether this process writes files and talks to the user."""
    return jax.process_index() == 0


def host_index_and_count() -> tuple[int, int]:
    """(number of this host, how many hosts)."""
    return jax.process_index(), jax.process_count()


def num_devices() -> int:
    """How many devices take part, over all hosts."""
    return jax.device_count()


def describe() -> str:
    """The devices in words: "1 cpu device", "16 tpu devices on 4 hosts"."""
    n, hosts = jax.device_count(), jax.process_count()
    words = f"{n} {jax.default_backend()} device{'s' if n > 1 else ''}"
    return words + (f" on {hosts} hosts" if hosts > 1 else "")


def facts() -> dict[str, Any]:
    """Platform and kind of the devices, and how many there are on how many hosts."""
    return {
        "platform": jax.default_backend(),
        "kind": jax.devices()[0].device_kind,
        "count": jax.device_count(),
        "hosts": jax.process_count(),
    }


def has_others() -> bool:
    """Whether this process is one of several."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def explain(error: BaseException) -> BaseException:
    """The error of one of several processes; a failed connection means that another has ended."""
    if not isinstance(error, jax.errors.JaxRuntimeError):
        return error
    reason = str(error).splitlines()[0]
    return UserError(
        f"the processes of this run cannot go on together ({reason}): one of them has ended, its "
        "own last line says why. Start all of them again: a training run resumes from its last "
        "checkpoint"
    )


def agree_to_stop(steps_done: int, requested: bool) -> bool:
    """Whether to save and stop after this step; all hosts answer the same.

    With several hosts it is JAX's preemption service that catches SIGTERM on any of them and agrees
    on a step: the one after the highest that any of them has asked about, which is 0 before the
    first. So steps count from the start of this process; otherwise a signal before its first step
    would name one that never comes.
    """
    if jax.process_count() == 1:
        return requested
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(steps_done)


def check_batch_size(batch_size: int, key: str) -> None:
    """Raises a UserError where the global batch cannot be dealt out evenly to all devices."""
    if batch_size % jax.device_count():
        below = batch_size // jax.device_count() * jax.device_count()
        fitting = f"{below} or {below + jax.device_count()}" if below else jax.device_count()
        raise UserError(
            f"config.{key}={batch_size} cannot be divided by {jax.device_count()} devices: "
            f"take {fitting}, or fewer devices"
        )


def map_step(step: Callable) -> Callable:
    """Maps step(state, batch) -> (state, sums) over all devices; the old state is donated."""
    return jax.pmap(
        step, axis_name=AXIS, in_axes=(None, 0), out_axes=(None, None), donate_argnums=0
    )


def map_eval(step: Callable) -> Callable:
    """Maps step(variables, batch) -> outputs per example over all devices, with a device axis."""
    mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=0)
    return mapped if jax.device_count() > 1 else in_shares(mapped, axis=1)


def in_shares(function: Callable, *, axis: int = 0) -> Callable:
    """On the CPU, runs function(variables, batch) on shares of the batch in parallel threads.

    XLA runs the operations of a call one after the other, and many are too short to keep all cores
    busy: in shares, a prediction of the tutorial's network takes three quarters of the time.
    Elsewhere the function stays as it is.

    Args:
        function: compiled by JAX for one device; each example's outputs depend on it alone.
        axis: of the examples, in all arrays of the batch and of the outputs.

    Returns:
        A function with the same arguments and outputs; in shares it waits for them.
    """
    if jax.default_backend() != "cpu":
        return function
    compiled: set[tuple[int, ...]] = set()

    def run(variables: Any, batch: Any) -> Any:
        leaves, tree = jax.tree.flatten(batch)
        count = num_shares(leaves[0].shape[axis])
        if count == 1:
            return function(variables, batch)

        def one(share: tuple[np.ndarray, ...]) -> Any:
            return jax.tree.map(np.asarray, function(variables, jax.tree.unflatten(tree, share)))

        splits = [np.split(np.asarray(leaf), count, axis) for leaf in leaves]
        waiting, done = list(zip(*splits, strict=True)), []
        shape = waiting[0][0].shape
        if shape not in compiled:  # once, not in every thread
            done.append(one(waiting.pop(0)))
            compiled.add(shape)
        done += [started.result() for started in [call_in_thread(one, share) for share in waiting]]
        return jax.tree.map(lambda *parts: jax.device_put(np.concatenate(parts, axis)), *done)

    return run


def num_shares(examples: int) -> int:
    """How many equal shares a batch is cut into: at most one per core, of two examples or more."""
    most = max(min(cores(), examples // 2), 1)
    return next(count for count in range(most, 0, -1) if examples % count == 0)


def local_mesh() -> Mesh:
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def replicate(tree: Any) -> Any:
    """Puts one copy of every array on each device of this host."""
    return jax.device_put(tree, NamedSharding(local_mesh(), P()))


def shard(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Deals a host's batch out to its devices: [b, ...] -> [devices, b / devices, ...].

    The copy goes on in the background.
    """
    devices = len(jax.local_devices())
    sharding = NamedSharding(local_mesh(), P(AXIS))
    return {
        name: jax.device_put(x.reshape(devices, len(x) // devices, *x.shape[1:]), sharding)
        for name, x in batch.items()
    }


def prefetch(batches: Iterable[dict[str, np.ndarray]]) -> Iterator[dict[str, jax.Array]]:
    """Shards each batch one ahead, so that its copy to the devices overlaps the step before it."""
    ahead = None
    for batch in batches:
        following = shard(batch)
        if ahead is not None:
            yield ahead
        ahead = following
    if ahead is not None:
        yield ahead


def unshard(tree: Any) -> Any:
    """Outputs per example of this host's devices: [devices, b, ...] -> numpy [devices * b, ...]."""

    def merge(x: jax.Array) -> np.ndarray:
        pieces = [
            np.asarray(s.data) for s in sorted(x.addressable_shards, key=lambda s: s.index[0])
        ]
        return np.concatenate([piece.reshape(-1, *x.shape[2:]) for piece in pieces])

    return jax.tree.map(merge, tree)


def gather_hosts(tree: Any) -> Any:
    """Numpy arrays of all hosts, of the same shapes, stacked: [n, ...] -> [hosts, n, ...]."""
    if jax.process_count() == 1:
        return jax.tree.map(lambda x: np.asarray(x)[None], tree)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree)


def check_same(text: str, *, what: str) -> None:
    """Makes sure that a text is the same on all hosts.

    Raises:
        UserError: on every host, where it is not; `what` is its word for the text.
    """
    if jax.process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(text.encode(errors="surrogateescape")).digest(), np.uint8)
    found = gather_hosts(digest)
    if others := [number for number, row in enumerate(found) if (row != found[0]).any()]:
        names = ", ".join(map(str, others))
        raise UserError(
            f"process {names} of {len(found)} has other {what} than process 0: give all of them "
            "the same"
        )


def barrier(name: str) -> None:
    """Waits until every host is here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def to_global(tree: Any) -> Any:
    """A replicated state of this host as arrays over all hosts, the form that can be saved."""
    if jax.process_count() == 1:
        return tree
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("device",)), P())

    def one(x: jax.Array) -> jax.Array:
        pieces = [s.data for s in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, pieces)

    return jax.tree.map(one, tree)


def to_local(tree: Any) -> Any:
    """The inverse of `to_global`."""
    if jax.process_count() == 1:
        return tree
    sharding = NamedSharding(local_mesh(), P())

    def one(x: jax.Array) -> jax.Array:
        pieces = [s.data for s in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, pieces)

    return jax.tree.map(one, tree)


def restore_target(tree: Any) -> Any:
    """Shapes, types and placement that a state is restored into, on the devices of this run."""
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("device",)), P())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

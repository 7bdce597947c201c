"""Processes find each other, on real ports; whatever goes wrong is one line in each of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from vid3d import parallel, rendezvous
from vid3d.errors import UserError

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from vid3d import rendezvous
from vid3d.config import UserError
address, count, number, timeout = sys.argv[1:]
try:
    cluster = rendezvous.Cluster(address, int(count), int(number))
    rendezvous.call_roll(cluster, timeout=float(timeout))
    print("together")
except UserError as error:
    print("error:", error)
"""


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def call(address: str, *processes: tuple[int, int], timeout: float = 60) -> list[str]:
    """What processes of (count, number) say, each in one line."""
    started = []
    for count, number in processes:
        command = [sys.executable, "-c", PROGRAM, address, str(count), str(number), str(timeout)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=120)[0].strip() for process in started]
    assert all(len(line.splitlines()) == 1 for line in said), said
    return said


def test_all_processes_go_on_together(address):
    assert call(address, (3, 2), (3, 0), (3, 1)) == ["together"] * 3


@pytest.mark.parametrize(
    ("processes", "words"),
    [
        (((2, 0), (3, 1)),
         "process 1 was told that there are 3 processes, process 0 at {} that there are 2"),
        (((3, 0), (3, 1), (3, 1)), "two processes are number 1"),
    ],
)  # fmt: skip
def test_all_processes_report_a_mismatch(processes, words, address):
    said = call(address, *processes)
    assert words.format(address) in said[0]
    assert any(line == said[0] for line in said[1:])


def test_a_missing_process_is_named(address):
    found = call(address, (4, 0), (4, 2), timeout=8)
    words = f"process 1, 3 of 4 did not come to the coordinator at {address} within 8 s"
    assert words in found[0]
    assert found[1].startswith("error:")


def test_another_program_on_the_port_is_not_the_coordinator(address):
    host, port = rendezvous.split_address(address)
    with socket.create_server((host, port)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400\r\n")

        other = threading.Thread(target=serve)
        other.start()
        with pytest.raises(UserError, match=f"no answer from the coordinator at {address}"):
            rendezvous.call_roll(rendezvous.Cluster(address, 2, 1), timeout=2)
        other.join()


def test_the_roll_call_ignores_other_programs(address):
    host, port = rendezvous.split_address(address)
    said: list[str] = []
    caller = threading.Thread(target=lambda: said.extend(call(address, (2, 0), (2, 1))))

    def disturb():
        while caller.is_alive():
            try:
                with socket.create_connection((host, port), timeout=0.2) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            except OSError:
                time.sleep(0.05)

    caller.start()
    disturb()
    caller.join()
    assert said == ["together"] * 2


@pytest.mark.parametrize("text", ["host", "host:", ":1", "host:0", "host:70000", "host:port"])
def test_an_address_has_a_host_and_a_port(text):
    with pytest.raises(UserError, match="has to be HOST:PORT"):
        rendezvous.split_address(text)


def test_an_absent_coordinator_is_named(address, tmp_path, run):
    done = run(
        "train", "--config=configs/demo.py:smoke", f"--workdir={tmp_path / 'w'}",
        f"--coordinator={address}", "--num-processes=2", "--process-id=1",
        "--coordinator-timeout=2", check=1,
    )  # fmt: skip
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"no answer from the coordinator at {address} within 2 s" in done.stderr
    assert not (tmp_path / "w").exists()


SLURM = {
    "SLURM_JOB_ID": "4242", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_NODES": "2",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "count", "ids"),
    [
        ({}, 2, None),  # one task a machine: it has all the GPUs
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}, 8, [1]),  # one a GPU
    ],
)
def test_slurm_is_detected(changes, count, ids, monkeypatch):
    for key, value in (SLURM | changes).items():
        monkeypatch.setenv(key, value)
    found = rendezvous.detect()
    assert found.coordinator.startswith("gpu07:")
    assert (found.num_processes, found.local_device_ids) == (count, ids)
    assert found.process_id == int((SLURM | changes)["SLURM_PROCID"])


def test_one_task_or_no_cluster_is_one_process(monkeypatch):
    for key in list(os.environ):
        if key.startswith("SLURM_"):
            monkeypatch.delenv(key)
    assert rendezvous.detect() is None
    for key, value in (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}).items():
        monkeypatch.setenv(key, value)
    assert rendezvous.detect() is None


def test_a_tpu_slice_of_another_size_is_an_error():
    """A TPU slice counts its hosts itself."""
    with pytest.raises(UserError, match="3 processes came to h:1, but the cpu devices belong to 1"):
        parallel.check_devices(rendezvous.Cluster("h:1", 3, 0))

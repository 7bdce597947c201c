"""Runs `vid3d COMMAND` in forks of one process that has imported everything, which takes seconds.

python tests/fork_server.py SOCKET

A request is JSON, with the file descriptors of standard input, output and error:

    {"arguments": ..., "folder": ..., "environment": ...}  is answered by {"pid": ...}
    {"pid": ...}                                           by {"code": ...}, null while it runs

JAX starts in the forks only; its settings are taken from their environment.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import sys

from vid3d import cli, tf

NAMES = (
    "vid3d.training.loop",
    "vid3d.evaluation.evaluate",
    "vid3d.evaluation.report",
    "vid3d.evaluation.compare_report",
    "vid3d.inference.predict",
    "vid3d.inference.report",
    "vid3d.inference.live",
    "vid3d.sweep.launch",
    "vid3d.sweep.table",
    "matplotlib.backends.backend_agg",
    "tensorboardX",
)
IF_INSTALLED = ("gcsfs",)
MESSAGE_BYTES = 2**20


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    cli.quiet_libraries()
    for name in NAMES:
        importlib.import_module(name)
    for name in IF_INSTALLED:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    with tf.loading_tensorflow():
        for name in ("tensorflow", "tensorflow_datasets", "array_record.python"):
            importlib.import_module(name)
    while True:
        text, handles, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 3)
        if not text:
            return
        request = json.loads(text)
        if "pid" in request:
            answer = {"code": exit_code(request["pid"])}
        elif pid := os.fork():
            answer = {"pid": pid}
        else:
            channel.close()
            become(request, handles)
            sys.exit(cli.main())
        for handle in handles:
            os.close(handle)
        channel.send(json.dumps(answer).encode())


def exit_code(pid: int) -> int | None:
    """As `subprocess.Popen.poll`."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def become(request: dict, handles: list[int]) -> None:
    """Takes over what the program would have been started with."""
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv = ["vid3d", *request["arguments"]]
    environment = request["environment"]
    changed = {name for name in environment if os.environ.get(name) != environment[name]}
    for name in os.environ.keys() - environment:
        del os.environ[name]
    os.environ.update(environment)
    import jax

    for name in changed:
        if name.startswith("JAX_"):
            value = environment[name]
            jax.config.update(name.lower(), int(value) if value.isdigit() else value)


if __name__ == "__main__":
    main()

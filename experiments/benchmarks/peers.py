"""One side of a comparison in a process of its own, still timed in turns with the others.

Frameworks that cannot share a process are compared in this way. A side is what a function returns:
an object whose methods are called from here, by name, one at a time. While one side runs, the
others wait for their next call.
"""

from __future__ import annotations

import importlib
import multiprocessing
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from typing import Any, NamedTuple


class Call(NamedTuple):
    """What a call returned, and the seconds that it took there: by wall clock, and of all cores."""

    value: Any
    seconds: float
    processor_seconds: float


class Peer:
    """A side in its process.

    Raises:
        ModuleNotFoundError: its framework is not installed.
        ChildProcessError: its process has ended, in this call or a later one.
    """

    def __init__(self, module: str, function: str, *arguments: Any):
        """Starts the process and waits until the side is ready.

        Args:
            module: of this folder; the process imports nothing else of the benchmark.
            function: of the module; called with the arguments, it returns the side.
        """
        self.name = f"{module}.{function}"
        self.pipe, theirs = multiprocessing.Pipe()
        command = [sys.executable, __file__, module, function, str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self._ask(arguments)

    def call(self, method: str, *arguments: Any) -> Call:
        """Calls a method of the side."""
        return self._ask((method, arguments))

    def close(self) -> None:
        """Ends the process, which frees its memory."""
        self.pipe.close()
        self.process.wait()

    def _ask(self, question: Any) -> Any:
        try:
            self.pipe.send(question)
            answer = self.pipe.recv()
        except (EOFError, BrokenPipeError):
            code = self.process.wait()
            raise ChildProcessError(f"the process of {self.name} ended with {code}") from None
        if isinstance(answer, Exception):
            self.close()
            raise answer
        return answer


def serve(module: str, function: str, pipe: Connection) -> None:
    """Answers one call after the other until nobody asks any more."""
    arguments = pipe.recv()
    try:
        side = getattr(importlib.import_module(module), function)(*arguments)
    except ModuleNotFoundError as missing:
        pipe.send(missing)
        return
    pipe.send(None)
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        used, start = time.process_time(), time.perf_counter()
        value = getattr(side, method)(*arguments)
        seconds, used = time.perf_counter() - start, time.process_time() - used
        pipe.send(Call(value, seconds, used))


if __name__ == "__main__":
    # What is pickled is then found by its name on the other side, too.
    import peers

    peers.serve(*sys.argv[1:3], Connection(int(sys.argv[3])))

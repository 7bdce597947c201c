"""A request to stop is never lost, whatever the process is doing when it comes."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

START = "import os, signal\nfrom vid3d.training import stop\nstop.note_only()\n"
ASK = "os.kill(os.getpid(), signal.{})\n"


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", START + script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_during_imports_acts_after_them(name):
    script = ASK.format(name) + (
        "print('imported')\n"
        "try:\n    stop.interrupt_at_once()\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    assert run(script).split() == ["imported", "interrupted"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_swallowed_by_a_destructor_stops_the_loop(name):
    script = (
        "stop.interrupt_at_once()\n"
        "class Swallows:\n"
        f"    def __del__(self):\n        {ASK.format(name)}"
        "Swallows()\n"
        "with stop.StopSignal() as asked:\n    print(asked.requested)\n"
    )
    assert run(script) == "True"


def test_a_second_ctrl_c_interrupts_the_loop():
    script = (
        "stop.interrupt_at_once()\n"
        "with stop.StopSignal() as asked:\n"
        "    print(asked.requested)\n"
        f"    {ASK.format('SIGINT')}"
        "    print(asked.requested)\n"
        "    try:\n"
        f"        {ASK.format('SIGINT')}"
        "        print('not interrupted')\n"
        "    except KeyboardInterrupt:\n        print('interrupted')\n"
    )
    assert run(script).split() == ["False", "True", "interrupted"]


def test_a_terminal_is_told_at_once_also_while_something_is_compiled():
    """A handler of Python's would have to wait for that."""
    script = (
        "import hashlib, threading\n"
        "with stop.StopSignal() as asked:\n"
        "    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 1_000_000)\n"
        "    print('compiled')\n"
    )
    ours, its = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", START + script], stdout=its, stderr=its)
    os.close(its)
    said = b""
    with contextlib.suppress(OSError):  # nobody has it open any more
        while some := os.read(ours, 4096):
            said += some
    os.close(ours)
    assert process.wait(timeout=60) == 0, said
    told, _, _ = said.decode().partition("compiled")
    assert "stopping after this step" in told and "compiled" in said.decode()

"""A program disables GC during its imports and enables it again; a host process keeps its own."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from vid3d import process

PROGRAM = """
import gc, sys
from vid3d import cli, config, process
from vid3d.inference import predict

def look(*args, **options):
    first = gc.get_freeze_count()
    print(gc.isenabled(), first > 1000)
    with process.without_gc():
        print(gc.isenabled())
        kept.extend([[i] for i in range(5000)])
    print(gc.isenabled(), gc.get_freeze_count() > first + 4000)
    raise SystemExit

kept = []
predict.prepare = look
sys.argv = ["vid3d", "predict", "--workdir=w", "x.mp4"]
cli.main()
"""


def test_a_program_enables_gc_after_its_imports():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "False", "True", "True"], done.stderr


@pytest.mark.parametrize("enabled", [True, False])
def test_a_host_process_keeps_its_gc(enabled):
    frozen = gc.get_freeze_count()
    (gc.enable if enabled else gc.disable)()
    try:
        with process.without_gc():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
    assert gc.get_freeze_count() == frozen

"""The soak test kills a run in the places it names only if it can tell them from a stack."""

from __future__ import annotations

import faulthandler
import functools
import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", "experiments/soak.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "soak", module)
        spec.loader.exec_module(module)
    return module


def test_each_place_is_a_function_of_vid3d_or_a_state_on_disk(soak):
    on_disk = {"at the start", "before the rename", "before the manifest", "in a deletion"}
    assert {*soak.FUNCTIONS} == {*soak.ORDER} - on_disk
    for function in soak.FUNCTIONS.values():
        code = inspect.unwrap(function).__code__
        assert Path(code.co_filename).is_relative_to(Path("vid3d").resolve())
        assert f"def {code.co_name}(" in inspect.getsource(inspect.unwrap(function))


def test_a_place_is_found_in_a_stack(soak, tmp_path, monkeypatch):
    def dump(file):
        faulthandler.dump_traceback(file)

    @functools.wraps(dump)
    def wrapped(file):
        dump(file)

    with (tmp_path / "stacks").open("w") as file:
        wrapped(file)
    stacks = (tmp_path / "stacks").read_text()
    assert re.search(soak.frame_pattern(wrapped), stacks), stacks
    assert soak.place_in(stacks) == ""
    monkeypatch.setattr(soak, "FUNCTIONS", {"in a save": Path.open, "in a step": wrapped})
    assert soak.place_in(stacks) == "in a step"

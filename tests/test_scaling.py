"""The scaling script compiles the real training step, and its counts equal those by hand."""

from __future__ import annotations

import importlib.util
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from vid3d import config as configs


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling", "experiments/scaling.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        # The script sets these for itself; the other tests of this process do without.
        for name in (
            "JAX_PLATFORMS",
            "TPU_SKIP_MDS_QUERY",
            "TPU_ACCELERATOR_TYPE",
            "TPU_WORKER_HOSTNAMES",
        ):
            patch.setenv(name, "cpu")
        patch.setitem(sys.modules, "scaling", module)  # where dataclasses look
        spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_each_chip_sums_up_its_gradient_once(scaling):
    config = configs.load("configs/demo.py:smoke", [("data.size", "16"), ("model.norm", "none")])
    mesh = Mesh(np.array(jax.devices()[:2]), ("batch",))
    step = scaling.compile_step("smoke", config, 5, mesh)
    # The gradient in float32, and three sums: of the losses, of the right answers and of the clips.
    assert 4 * step.parameters < step.reduced <= 4 * step.parameters + 16
    frame = 16 * 16 * 3 * config.data.num_frames
    assert step.host == scaling.PER_CHIP * (frame + 16)
    assert step.flops > 0
    assert step.efficiency(8) > step.efficiency(64) > 0
    assert "smoke" in scaling.page([step])


def test_all_reduces_are_counted_in_a_program(scaling):
    program = """
      %a = f32[8,256]{1,0:T(8,128)} parameter(0)
      %b = (f32[256]{0}, bf16[4,2]{1,0}) all-reduce(%x, %y), replica_groups={}
      ROOT %c = f32[] all-reduce-start(%z)
      %d = f32[] all-reduce-done(%c)
    """
    assert scaling.reduced_bytes(program) == 256 * 4 + 8 * 2 + 4

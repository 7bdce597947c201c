"""`experiments/parity.py` finds differences, and fails if there is nothing to compare."""

from __future__ import annotations

import importlib.util

import jax
import numpy as np
import pytest

from vid3d import config, models
from vid3d.weights import published

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parity():
    spec = importlib.util.spec_from_file_location("parity", "experiments/parity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference(published_state, write_safetensors, tmp_path_factory):
    """A folder with the weights of a network, two clips and its logits, and those logits."""
    folder = tmp_path_factory.mktemp("parity")
    write_safetensors(folder / "mc3_18.safetensors", published_state("mc3_18", 6))
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 24, 24)).astype(np.float32)
    model = config.default().model
    model.name = "mc3_18"
    module = models.build(model, 6)
    clips = x.transpose(0, 2, 3, 4, 1)
    blank = jax.eval_shape(lambda: module.init(jax.random.key(0), clips, train=False))
    variables, _ = published.load(folder / "mc3_18.safetensors", name="mc3_18", variables=blank)
    y = np.asarray(jax.jit(lambda v: module.apply(v, clips, train=False))(variables))
    return folder, x, y


def test_only_equal_logits_pass(parity, reference, capsys):
    folder, x, y = reference
    np.savez(folder / "mc3_18.npz", x=x, y=y)
    assert parity.main(str(folder)) == 0
    assert "mc3_18.safetensors" in capsys.readouterr().out
    other = y.copy()
    other[1, 2] += 2e-3
    np.savez(folder / "mc3_18.npz", x=x, y=other)
    assert parity.main(str(folder)) == 1
    assert "2.00e-03 TOO LARGE" in capsys.readouterr().out
    np.savez(folder / "mc3_18.npz", x=x, y=np.full_like(y, np.nan))
    assert parity.main(str(folder)) == 1
    np.savez(folder / "mc3_18.npz", x=x, y=jax.nn.softmax(y))
    assert parity.main(str(folder)) == 0


def test_nothing_to_compare_fails(parity, reference, tmp_path, capsys):
    folder, x, y = reference
    assert parity.main(str(tmp_path)) == 1
    assert "no .pth, .pyth, .safetensors files" in capsys.readouterr().out
    (folder / "mc3_18.npz").unlink(missing_ok=True)
    assert parity.main(str(folder)) == 1
    assert "mc3_18.npz is not there" in capsys.readouterr().out
    np.savez(folder / "mc3_18.npz", x=x, y=y[:, :5])
    assert parity.main(str(folder)) == 1
    assert "has 5 logits" in capsys.readouterr().out

"""A batch computed in shares, in parallel threads, gives the outputs of the whole batch."""

from __future__ import annotations

import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vid3d import parallel


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 4)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [(1, [1]), (2, [2]), (3, [3]), (4, [2, 2]), (6, [2, 2, 2]), (8, [2] * 4), (9, [3] * 3)],
)
def test_each_share_is_computed_once_and_in_order(four_cores, size, sizes):
    seen, traced = [], []

    @jax.jit
    def double(factor, batch):
        traced.append(batch["x"].shape)
        return {"y": factor * batch["x"], "z": batch["x"][..., 0]}

    def function(factor, batch):
        seen.append(batch["x"].shape[1])
        return double(factor, batch)

    x = np.arange(size * 3.0, dtype=np.float32).reshape(1, size, 3)
    run = parallel.in_shares(function, axis=1)
    for factor in (2.0, 3.0):
        outputs = run(factor, {"x": jnp.asarray(x), "mask": np.ones((1, size))})
        np.testing.assert_array_equal(outputs["y"], factor * x)
        np.testing.assert_array_equal(outputs["z"], x[..., 0])
        assert parallel.unshard(outputs)["y"].shape == (size, 3)
    assert seen == sizes * 2
    assert len(traced) == 1


def test_examples_come_back_from_the_devices_in_order():
    x = np.arange(48.0).reshape(16, 3)
    dealt = parallel.shard({"x": x})
    assert dealt["x"].shape == (8, 2, 3)
    np.testing.assert_array_equal(parallel.unshard(dealt)["x"], x)


def test_an_error_in_a_share_is_raised(four_cores):
    def function(_, batch):
        if batch.max() > 5:
            raise ValueError("a bad example")
        return batch

    run = parallel.in_shares(function)
    for _ in range(2):  # in the share that compiles, and in a thread
        with pytest.raises(ValueError, match="a bad example"):
            run(None, np.arange(8)[::-1])
    np.testing.assert_array_equal(run(None, np.zeros(8)), np.zeros(8))
    with pytest.raises(ValueError, match="a bad example"):
        run(None, np.arange(8))


def test_shares_run_at_the_same_time(four_cores):
    all_here = threading.Barrier(4)

    def function(wait, batch):
        if wait:
            all_here.wait(timeout=30)
        return batch

    run = parallel.in_shares(function)
    run(False, np.zeros(8))
    run(True, np.zeros(8))


def test_threads_work_after_the_main_thread_has_ended():
    code = (
        "import threading, time, numpy as np; from vid3d import parallel\n"
        "parallel.cores = lambda: 2; run = parallel.in_shares(lambda _, batch: batch + 1)\n"
        "def later():\n"
        "    threading.main_thread().join(); print(run(None, np.zeros(4)).sum())\n"
        "threading.Thread(target=later).start()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "4.0\n", done.stderr

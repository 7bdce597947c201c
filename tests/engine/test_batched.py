"""Clips of several threads share batches, and each gets its own answers."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vid3d.engine.batched import Batched
from vid3d.errors import UserError


class Doubling:
    """A network whose answer to a clip tells the clip; it notes its batches."""

    engine, precision = "jax", "float32"

    def __init__(self, seconds: float = 0.005):
        self.seconds, self.batches, self.running = seconds, [], threading.Lock()

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        assert self.running.acquire(blocking=False), "two batches at a time"
        time.sleep(self.seconds)
        self.batches.append(len(clips))
        self.running.release()
        if (clips < 0).any():
            raise UserError("below 0")
        return 2.0 * clips.reshape(len(clips), -1)


def clips(*values: int) -> np.ndarray:
    return np.array(values, np.int64).reshape(-1, 1, 1, 1, 1)


@pytest.mark.parametrize("max_delay", [0.0, 0.01])
def test_each_thread_gets_the_answers_of_its_clips(max_delay):
    network = Doubling()
    batched = Batched(network, max_delay=max_delay, max_clips=8)
    asked = [clips(*range(n, n + 1 + n % 5)) for n in range(200)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(batched, asked))
    for one, answer in zip(asked, answers, strict=True):
        np.testing.assert_array_equal(answer[:, 0], 2.0 * one.reshape(-1))
    assert max(network.batches) <= 8 and len(network.batches) < 150
    assert sum(network.batches) == sum(map(len, asked))


def test_clips_wait_no_longer_than_the_delay_and_not_for_a_full_batch():
    network = Doubling(0.0)
    batched = Batched(network, max_delay=0.3, max_clips=4)
    began = time.monotonic()
    batched(clips(1))
    assert 0.3 <= time.monotonic() - began < 5
    began = time.monotonic()
    assert len(batched(clips(*range(9)))) == 9  # more than a batch: by itself, at once
    assert time.monotonic() - began < 0.3
    with pytest.raises(UserError, match="max_delay=-1"):
        Batched(network, max_delay=-1)


def test_an_error_reaches_the_threads_of_its_batch_alone():
    batched = Batched(Doubling(), max_clips=1)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(batched, clips(n)) for n in (1, -1, 2, -2)]
    assert [answer.exception() is None for answer in answers] == [True, False, True, False]

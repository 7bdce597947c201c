"""A network that takes a frame at a time against a clip at every frame, in one process, in turn.

    python experiments/benchmarks/streaming.py [NAME ...]

By default x3d_s, x3d_m and slow_r50, with random weights, on clips of their published shapes and
one stream. Printed per network: milliseconds per frame of both (wall and processor time, medians
of the rounds), their ratio, and the 50th, 95th and 99th percentile of a step. The strides in time
of a network count: where it answers every n frames, a step is n frames.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from vid3d import compilation, models
from vid3d.continual.network import ContinualNetwork
from vid3d.models.normalise import clip_shape
from vid3d.models.on_clips import logits_of
from vid3d.weights import zoo

NAMES = ("x3d_s", "x3d_m", "slow_r50")
STEPS = 8  # per clip of the other side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    compilation.set_up()
    for name in options.names:
        print(measure(name, options.rounds), flush=True)


def measure(name: str, rounds: int) -> str:
    """The line of one network."""
    config = zoo.preset(name)
    shape = clip_shape(config.data)
    numbers = np.random.default_rng(0)
    weights = jax.tree.map(
        lambda leaf: np.abs(numbers.standard_normal(leaf.shape, np.float32)) / leaf.size**0.5,
        models.shapes(models.build(config.model, 400), shape),
    )
    logits = logits_of(config, 400)
    network = ContinualNetwork(logits, weights, shape, dtype=np.uint8)
    clip = jax.jit(logits)
    step = jax.jit(network.step, donate_argnums=1)
    weights = jax.device_put(weights)
    clip_BTHWC = numbers.integers(0, 256, (1, *shape), np.uint8)
    frames_BTHWC = clip_BTHWC[:, : network.step_frames]
    states = [network.start()]
    steps: list[float] = []

    def run_steps() -> None:
        for _ in range(STEPS):
            start = time.perf_counter()
            state, logits_BK, _ = step(weights, states.pop(), frames_BTHWC)
            logits_BK.block_until_ready()
            states.append(state)
            steps.append(time.perf_counter() - start)

    def run_clip() -> None:
        clip(weights, clip_BTHWC).block_until_ready()

    run_steps(), run_clip()
    steps.clear()
    by_steps, by_clip = [], []
    for _ in range(rounds):
        by_steps.append(timed(run_steps))
        by_clip.append(timed(run_clip))
    frames = STEPS * network.step_frames
    wall, cpu = (
        [[pair[kind] * 1e3 for pair in side] for side in (by_steps, by_clip)] for kind in (0, 1)
    )
    ratios = [
        statistics.median(frames * c / s for s, c in zip(*kind, strict=True))
        for kind in (wall, cpu)
    ]
    latency = " / ".join(f"{np.percentile(steps, p) * 1e3:.1f}" for p in (50, 95, 99))
    per_frame, per_clip = statistics.median(wall[0]) / frames, statistics.median(wall[1])
    return (
        f"{name:12} {'x'.join(map(str, shape))}: per frame {per_frame:.1f} ms against "
        f"{per_clip:.1f} ms, {ratios[0]:.2f} times by wall clock, {ratios[1]:.2f} by processor "
        f"time; a step of {network.step_frames} frames takes {latency} ms (p50 / p95 / p99)"
    )


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock and of the processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()

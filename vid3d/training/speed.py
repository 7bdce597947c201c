"""How many clips per second a network trains on and predicts, on the devices of this machine."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.table import Table

from vid3d import compilation, models, parallel
from vid3d.models.normalise import normalise
from vid3d.training import optim, steps
from vid3d.training.state import create
from vid3d.weights import overview


def compare(
    names: Sequence[str],
    overrides: Iterable[tuple[str, str]],
    *,
    batch_size: int = 0,
    width: int = overview.WIDE,
) -> Table:
    """The table of `vid3d summary --all`.

    Args:
        names, overrides: see `overview.presets`.
        batch_size: clips per call; 0 measures no speed.
        width: of the terminal.
    """
    chosen, speeds = overview.presets(names, overrides), {}
    if batch_size:
        compilation.set_up()
        for name, config in chosen.items():
            print(f"measuring {name} on {parallel.describe()}", file=sys.stderr)
            speeds[name] = measure(
                config, num_classes=overview.KINETICS_CLASSES, batch_size=batch_size
            )
    return overview.render(chosen, speeds, width=width)


def measure(
    config: ConfigDict, *, num_classes: int, batch_size: int, repeats: int = 3
) -> tuple[float, float]:
    """Clips per second of a training step (all devices) and a prediction (one), without decoding.

    The training step is that of `vid3d train` with the config's optimizer and augmentation, the
    prediction that of `vid3d predict`; medians over the repeats, after one call that compiles and
    warms up.

    Args:
        config: the whole config.
        num_classes: K of the logits.
        batch_size: clips that each of them takes at once.
        repeats: how many calls are timed.
    """
    parallel.check_batch_size(batch_size, "train.batch_size")
    data = config.data
    size, channels = data.stored_size or (data.size, data.size), 1 if data.color == "gray" else 3
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (batch_size, data.num_frames, *size, channels), dtype=np.uint8)
    model = models.build(config.model, num_classes, axis_name=parallel.AXIS)
    optimizer = optim.build(config.optim, lambda _: config.optim.learning_rate)
    shape = (data.num_frames, data.size, data.size, channels)
    state = create(model, optimizer, seed=0, clip_shape=shape, ema=config.optim.ema > 0)

    network = models.build(config.model, num_classes)
    predict = jax.jit(
        lambda weights, clips: network.apply(weights, normalise(clips, data), train=False)
    )
    weights = jax.device_put(state.weights())
    predicted = clips_per_second(lambda: predict(weights, clips), batch_size, repeats)

    step = parallel.map_step(
        steps.build_train_step(model, optimizer, config, flip=True, axis_name=parallel.AXIS)
    )
    batch = parallel.shard(
        {
            "clips_BTHWC": clips,
            "labels_B": rng.integers(0, num_classes, batch_size).astype(np.int32),
            "mask_B": np.ones(batch_size, np.float32),
            "index_B": np.arange(batch_size, dtype=np.int32),
            "round_B": np.zeros(batch_size, np.int32),
        }
    )
    state = parallel.replicate(state)

    def train() -> jax.Array:
        nonlocal state
        state, sums = step(state, batch)
        return sums["loss"]

    return clips_per_second(train, batch_size, repeats), predicted


def clips_per_second(call: Callable[[], jax.Array], batch_size: int, repeats: int) -> float:
    """The median over some calls, each waited for, after one that is not timed."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return batch_size / statistics.median(seconds)

"""The tutorial's training step and prediction: vid3d, Keras, and PyTorch where installed.

    python experiments/benchmarks/train_step.py            # a table
    python experiments/benchmarks/train_step.py --json     # one JSON object

The tutorial's network: five layers of 128, 64, 32, 32, 32 features (3x3x3 "same" convolution, ReLU,
3x3x3 "same" max pooling), a dense layer of 1024, dropout, five classes; uint8 clips divided by 255;
Adam 1e-3; cross-entropy. Keras runs on TensorFlow. The sides take turns, each in a process of its
own, so that a noisy machine disturbs all of them, and the figures are medians. Ratios are vid3d's
speed over theirs: above 1, vid3d is faster. Processor seconds (of all cores) are printed beside the
wall clock: they tell more on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

# A peer's process imports this file: each framework is imported by its own side alone.
import numpy as np
from peers import Peer

FEATURES = (128, 64, 32, 32, 32)
CLASSES = 5


class Side(NamedTuple):
    """One framework: functions that do a step and wait for it, and seconds until each was ready."""

    train: Callable[[], None]
    predict: Callable[[], None]
    compile_train: float
    compile_predict: float

    def compile_seconds(self) -> dict[str, float]:
        return {
            "compile_train_seconds": self.compile_train,
            "compile_predict_seconds": self.compile_predict,
        }


def vid3d(clips_BTHWC: np.ndarray, labels_B: np.ndarray) -> Side:
    import jax
    import jax.numpy as jnp
    import optax

    from vid3d import compilation, parallel
    from vid3d.models.conv3d import Conv3DNet

    compilation.use_wide_vectors()
    module = Conv3DNet(CLASSES, FEATURES)
    optimizer = optax.adam(1e-3)

    def normalised(clips_BTHWC):
        return clips_BTHWC.astype(jnp.float32) / 255

    def loss(parameters, clips_BTHWC, labels_B, key):
        logits_BK = module.apply(
            parameters, normalised(clips_BTHWC), train=True, rngs={"dropout": key}
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits_BK, labels_B).mean()

    def train_step(parameters, moments, clips_BTHWC, labels_B, key):
        value, gradients = jax.value_and_grad(loss)(parameters, clips_BTHWC, labels_B, key)
        updates, moments = optimizer.update(gradients, moments)
        return optax.apply_updates(parameters, updates), moments, value

    def logits(parameters, clips_BTHWC):
        return module.apply(parameters, normalised(clips_BTHWC), train=False)

    parameters = module.init(jax.random.key(0), normalised(clips_BTHWC[:1]), train=False)
    state = [parameters, optimizer.init(parameters)]
    key = jax.random.key(1)

    start = time.perf_counter()
    jax.jit(logits).lower(parameters, clips_BTHWC).compile()
    compile_predict = time.perf_counter() - start
    start = time.perf_counter()
    compiled_step = (
        jax.jit(train_step, donate_argnums=(0, 1))
        .lower(*state, clips_BTHWC, labels_B, key)
        .compile()
    )
    compile_train = time.perf_counter() - start

    def train():
        *state[:], _ = jax.block_until_ready(compiled_step(*state, clips_BTHWC, labels_B, key))

    in_shares = parallel.in_shares(jax.jit(logits))  # as evaluation and `vid3d predict` call it

    def predict():
        np.asarray(in_shares(state[0], clips_BTHWC))

    return Side(train, predict, compile_train, compile_predict)


def keras_model(shape: tuple[int, ...]):
    """The same network in Keras, compiled, for clips of this shape [T, H, W, C]."""
    import keras
    from keras import layers

    model = keras.Sequential([keras.Input(shape), layers.Rescaling(1 / 255)])
    for features in FEATURES:
        model.add(layers.Conv3D(features, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling3D(3, padding="same"))
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.25))
    model.add(layers.Dense(1024, activation="relu"))
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(CLASSES))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def keras(clips_BTHWC: np.ndarray, labels_B: np.ndarray) -> Side:
    model = keras_model(clips_BTHWC.shape[1:])

    def train():
        model.train_on_batch(clips_BTHWC, labels_B)

    def predict():
        model.predict_on_batch(clips_BTHWC)

    return Side(train, predict, seconds(train), seconds(predict))


class KerasFit:
    """Keras `fit` on clips that it holds in memory, for another benchmark."""

    def __init__(self, clips_NTHWC: np.ndarray, labels_N: np.ndarray, batch: int):
        self.clips_NTHWC, self.labels_N, self.batch = clips_NTHWC, labels_N, batch
        self.model = keras_model(clips_NTHWC.shape[1:])

    def fit(self, count: int) -> None:
        """An epoch of the first clips."""
        clips, labels = self.clips_NTHWC[:count], self.labels_N[:count]
        self.model.fit(clips, labels, self.batch, verbose=0)


def torch_model(shape: tuple[int, ...]):
    """The same network in PyTorch, for clips of shape [T, H, W, C], taken as [B, C, T, H, W]."""
    import torch
    from torch import nn

    class SamePool(nn.Module):
        """Pooling of 3 that pads as "same" does: half before, the rest after."""

        def forward(self, x):
            missing = [-n % 3 for n in reversed(x.shape[2:])]
            pads = [side for n in missing for side in (n // 2, n - n // 2)]
            return nn.functional.max_pool3d(nn.functional.pad(x, pads, value=-torch.inf), 3)

    parts, channels, extent = [], 3, np.array(shape[:3])
    for features in FEATURES:
        parts += [nn.Conv3d(channels, features, 3, padding="same"), nn.ReLU(), SamePool()]
        channels, extent = features, -(-extent // 3)
    flat = int(np.prod(extent)) * channels
    parts += [nn.Flatten(), nn.Dropout(0.25), nn.Linear(flat, 1024), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*parts, nn.Linear(1024, CLASSES)).to(memory_format=torch.channels_last_3d)


def torch(clips_BTHWC: np.ndarray, labels_B: np.ndarray) -> Side:
    import torch
    from torch import nn

    model = torch_model(clips_BTHWC.shape[1:])
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    clips, labels = torch.from_numpy(clips_BTHWC), torch.from_numpy(labels_B).long()

    def normalised():
        return clips.permute(0, 4, 1, 2, 3).float() / 255

    def train():
        model.train()
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(normalised()), labels).backward()
        optimizer.step()

    def predict():
        model.eval()
        with torch.inference_mode():
            model(normalised())

    return Side(train, predict, seconds(train), seconds(predict))


def seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(batch: int, size: int, *, frames: int = 10, repeats: int = 7) -> dict[str, dict]:
    """Medians of interleaved runs, a dict for each framework."""
    random = np.random.default_rng(0)
    clips_BTHWC = random.integers(0, 256, (batch, frames, size, size, 3), np.uint8)
    labels_B = random.integers(0, CLASSES, batch, np.int32)
    sides = {}
    for name in ("vid3d", "keras", "torch"):
        try:
            sides[name] = Peer("train_step", name, clips_BTHWC, labels_B)
        except ModuleNotFoundError as missing:
            if missing.name not in ("keras", "tensorflow", "torch"):
                raise

    figures = {}
    for name, side in sides.items():
        side.call("train")
        side.call("predict")
        figures[name] = side.call("compile_seconds").value
    for what in ("train", "predict"):
        calls = {name: [] for name in sides}
        for _ in range(repeats):
            for name, side in sides.items():
                calls[name].append(side.call(what))
        for name, found in calls.items():
            for clock in ("seconds", "processor_seconds"):
                values = [getattr(call, clock) for call in found]
                figures[name][f"{what}_{clock}"] = statistics.median(values)
    for side in sides.values():
        side.close()
    return figures


def ratios(figures: dict[str, dict]) -> dict[str, float]:
    """vid3d's speed over that of the others."""
    ours = figures["vid3d"]
    return {
        f"{what}_{clock}ratio_{name}": theirs[f"{what}_{clock}seconds"]
        / ours[f"{what}_{clock}seconds"]
        for name, theirs in figures.items()
        if name != "vid3d"
        for what in ("train", "predict")
        for clock in ("", "processor_")
    }


def table(title: str, figures: dict[str, dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = {
        "train step, s": "train_seconds",
        "predict, s": "predict_seconds",
        "train, cpu s": "train_processor_seconds",
        "predict, cpu s": "predict_processor_seconds",
        "compile train, s": "compile_train_seconds",
        "compile predict, s": "compile_predict_seconds",
    }
    rows = Table("", *columns, title=title)
    for name, values in figures.items():
        rows.add_row(name, *(f"{values[key]:.3f}" for key in columns.values()))
    console = Console()
    console.print(rows)
    console.print("  ".join(f"{key} {value:.2f}" for key, value in ratios(figures).items()))
    if "torch" not in figures:
        console.print("torch is not installed: left out (pip install 'vid3d[bench]')")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeats", type=int, default=7, help="runs that a median is taken of")
    parser.add_argument("--only-small", action="store_true", help="leave out 224x224")
    arguments = parser.parse_args()
    cases = [(8, 112)] if arguments.only_small else [(8, 112), (2, 224)]
    results = {}
    for batch, size in cases:
        name = f"10x{size}x{size} batch {batch}"
        results[name] = compare(batch, size, repeats=arguments.repeats)
        if not arguments.json:
            table(f"{name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", results[name])
    if arguments.json:
        cpu = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "jax": version("jax")}
        print(
            json.dumps(ratios(results["10x112x112 batch 8"]) | {"machine": cpu, "cases": results})
        )


if __name__ == "__main__":
    main()

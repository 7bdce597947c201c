"""A network trained within seconds to tell the colour of noisy videos, and such videos."""

from __future__ import annotations

import contextlib
import functools
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import optax
import psutil
import pytest
from fixtures.videos import write_frames
from ml_collections import ConfigDict

from vid3d import config as configs, models
from vid3d.checkpoint import Workdir
from vid3d.checkpoint.writing import CheckpointStore
from vid3d.inference.classifier import Classifier
from vid3d.models.normalise import normalise

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
NUM_FRAMES, SIZE, FPS = 4, 16, 25.0
WINDOW_SECONDS = 0.48  # 12 frames


def noisy(colour: str, num_frames: int, *, size: tuple[int, int] = (48, 64), seed: int = 0):
    """uint8 RGB [num_frames, H, W, 3] around one colour."""
    rng = np.random.default_rng([seed, *map(ord, colour)])
    noise = rng.integers(-40, 40, (num_frames, *size, 3))
    return np.clip(noise + np.array(COLOURS[colour]), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session", name="noisy")
def noisy_fixture() -> Callable[..., np.ndarray]:
    """`noisy("red", 12)`: see above."""
    return noisy


@pytest.fixture(scope="session", name="write_video")
def write_video_fixture() -> Callable[..., Path]:
    """`write_video(path, frames_THWC)`: see `write_frames`."""
    return write_frames


def colour_config() -> ConfigDict:
    config = configs.default()
    config.data.num_frames = NUM_FRAMES
    config.data.size = SIZE
    config.model.features = (8,)
    config.model.kernel = (1, 1, 1)
    config.model.head = "average"
    config.model.hidden = 0
    return config


@pytest.fixture(scope="session")
def colour_weights() -> dict:
    """Weights of the small network after 40 steps of Adam on clips of each colour."""
    clips = [
        noisy(colour, NUM_FRAMES, size=(SIZE, SIZE), seed=seed)
        for seed in range(4)
        for colour in COLOURS
    ]
    return fit(colour_config(), np.stack(clips), np.tile(np.arange(len(COLOURS)), 4))


def fit(config: ConfigDict, clips: np.ndarray, labels: np.ndarray) -> dict:
    """Weights after 40 steps of Adam."""
    module = models.build(config.model, int(labels.max()) + 1)
    clips_BTHWC = normalise(clips, config.data)
    optimizer = optax.adam(0.1)

    @jax.jit
    def step(params, opt_state):
        def loss(params):
            logits = module.apply({"params": params}, clips_BTHWC, train=False)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, gradients = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return optax.apply_updates(params, updates), opt_state, value

    params = jax.jit(module.init, static_argnames="train")(
        jax.random.key(0), clips_BTHWC, train=False
    )["params"]
    opt_state = optimizer.init(params)
    for _ in range(40):
        params, opt_state, value = step(params, opt_state)
    assert value < 0.05
    return {"params": params, "batch_stats": {}}


def pulsing(pace: str, num_frames: int, *, phase: float = 0.0) -> np.ndarray:
    """uint8 RGB [num_frames, 48, 64, 3] that pulsates every 24 or, if "fast", every 6 frames."""
    turns_N = np.arange(num_frames) / {"slow": 24, "fast": 6}[pace] + phase
    light_N = 128 + 80 * np.sin(2 * np.pi * turns_N)
    noise = np.random.default_rng(0).normal(0, 4, (num_frames, 48, 64, 3))
    return (light_N[:, None, None, None] + noise).astype(np.uint8)


@pytest.fixture(scope="session", name="pulsing")
def pulsing_fixture() -> Callable[..., np.ndarray]:
    """`pulsing("slow", 12)`: see above."""
    return pulsing


@pytest.fixture(scope="session")
def pace_classifier() -> Callable[[str], Classifier]:
    """`pace_classifier("mean")`: tells slow from fast pulses by frames spread over a video."""
    config = colour_config()
    config.data.sampling = "uniform"
    config.model.input = "difference"
    config.data.num_frames = 6
    clips = [
        pulsing(pace, 12, phase=phase)[1::2, :SIZE, :SIZE]
        for phase in np.arange(8) / 8
        for pace in ("slow", "fast")
    ]
    weights = fit(config, np.stack(clips), np.tile([0, 1], 8))

    def classifier(long_videos: str) -> Classifier:
        its = config.copy_and_resolve_references()
        its.eval.long_videos = long_videos
        return Classifier(weights, its, classes=("slow", "fast"), window_seconds=WINDOW_SECONDS)

    return classifier


@pytest.fixture(scope="session")
def make_workdir(tmp_path_factory, colour_weights) -> Callable[..., Path]:
    """`make_workdir({"data.sampling": "uniform"})`: a workdir as training would write it.

    A key without a dot is one of the checkpoint's meta.
    """

    @functools.cache
    def make(changes: tuple[tuple[str, object], ...]) -> Path:
        workdir = tmp_path_factory.mktemp("workdir")
        config, more = colour_config(), {}
        for key, value in changes:
            if "." not in key:
                more[key] = value
                continue
            group, name = key.split(".")
            config[group][name] = value
        Workdir(workdir).claim(config)
        checkpoints = CheckpointStore(workdir)
        checkpoints.save(
            40,
            colour_weights,
            {"step": np.int32(40)},
            meta={
                "config": config.to_dict(),
                "classes": list(COLOURS),
                "protocol": "grouped",
                "training_videos": {},
                "progress": {"best": None},
                "validation_sha256": [],
                "window_seconds": WINDOW_SECONDS,
            }
            | more,
            metrics={"accuracy": 1.0, "loss": 0.01},
        )
        checkpoints.close()
        return workdir

    return lambda changes=None: make(tuple((changes or {}).items()))


@pytest.fixture(scope="session")
def workdir(make_workdir) -> Path:
    """A workdir whose model uses the first four frames."""
    return make_workdir()


@pytest.fixture(scope="session")
def load(make_workdir) -> Callable[..., Classifier]:
    """`load({"data.sampling": "uniform"})`: a classifier of this config, shared by all tests."""
    loaded = functools.cache(Classifier.load)
    return lambda changes=None: loaded(make_workdir(changes))


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> dict[str, Path]:
    """Files: one per colour (12 frames, as in training), and a long one of all colours."""
    folder = tmp_path_factory.mktemp("videos")
    files = {
        colour: write_frames(folder / f"{colour}.avi", noisy(colour, 12)) for colour in COLOURS
    }
    turning = np.concatenate([noisy("red", 40), noisy("blue", 40), noisy("green", 22)])
    files["turning"] = write_frames(folder / "turning.mp4", turning)
    return files


@pytest.fixture(scope="session")
def poison(tmp_path_factory) -> Path:
    """A video that takes long enough to decode that it can be interrupted."""
    frames_THWC = np.tile(noisy("red", 50), (100, 1, 1, 1))
    return write_frames(tmp_path_factory.mktemp("poison") / "poison.avi", frames_THWC)


@pytest.fixture(scope="session")
def strike() -> Callable[..., contextlib.AbstractContextManager]:
    """`with strike(path, signal):` keeps signalling the child processes that have a file open."""

    @contextlib.contextmanager
    def striking(path: Path, blow: signal.Signals) -> Iterator[None]:
        ended = threading.Event()

        def run():
            while not ended.wait(0.002):
                for process in psutil.Process().children():
                    with contextlib.suppress(psutil.Error):
                        if any(file.path == str(path) for file in process.open_files()):
                            process.send_signal(blow)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    return striking


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """The name of a virtual X display."""
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        pytest.skip("Xvfb and xdotool are not installed")
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-noreset", "-screen", "0", "1024x768x24"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield f":{server.stdout.readline().strip()}"
    server.terminate()
    server.wait()
    server.stdout.close()

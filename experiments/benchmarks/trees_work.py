"""The work of `trees.py`, in the checkout of PYTHONPATH: TASK SIZE FOLDER; prints seconds."""

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vid3d import compilation, config as configs


def main(task: str, size: str, folder: str) -> None:
    config = configs.default()
    config.data.root, config.data.size = folder, int(size)
    work = predicting(config, folder) if task == "predict" else ingesting(config, task)
    work()
    began = time.perf_counter()
    work()
    print(time.perf_counter() - began)


def ingesting(config, task: str) -> Callable[[], None]:
    gc.disable()  # as `vid3d prepare` does; without its functions, which had other names before
    from vid3d.data import prepare

    gc.freeze()
    gc.enable()

    config.data.stored_frames = 10 if task == "ingest" else 0

    def work() -> None:
        config.data.cache_dir = tempfile.mkdtemp()
        prepare.prepare(config, quiet=True)
        shutil.rmtree(config.data.cache_dir)

    return work


def predicting(config, folder: str) -> Callable[[], None]:
    import jax
    import numpy as np

    from vid3d import models
    from vid3d.inference.classifier import Classifier

    compilation.set_up()
    module = models.build(config.model, 5)
    clips = np.zeros((1, config.data.num_frames, config.data.size, config.data.size, 3), np.float32)
    weights = jax.jit(module.init, static_argnames="train")(jax.random.key(0), clips, train=False)
    # As if trained on videos of this length: one clip answers.
    classifier = Classifier(weights, config, classes=tuple("abcde"), window_seconds=6.0)
    paths = sorted(map(str, Path(folder).rglob("*.*")))
    return lambda: [None for _ in classifier.predict_many(paths)]


if __name__ == "__main__":
    main(*sys.argv[1:])

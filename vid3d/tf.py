"""TensorFlow without its messages and without GPUs; only `data/` and `datasets/` use it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import Any

from vid3d.process import without_gc

if importlib.util.find_spec("tensorflow") is None:  # now, not after an hour of decoding
    raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")


def quiet_tensorflow() -> Any:
    """The tensorflow module, loaded without messages and without the GPUs, which JAX needs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.nullcontext() if "tensorflow" in sys.modules else loading_tensorflow():
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")
    return tf


@contextlib.contextmanager
def loading_tensorflow() -> Iterator[None]:
    """Hides messages, and keeps Keras and scikit-learn from loading, which takes a second."""
    # The older one, which is not installed; `tf.keras` looks again when it is used.
    keras = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(keras)
    os.environ[keras] = "1"
    try:
        with silent_stderr(), without_gc():
            yield
    finally:
        del os.environ[keras]
        if before is not None:
            os.environ[keras] = before


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Drops what compiled code writes to standard error, for which there is no other switch."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

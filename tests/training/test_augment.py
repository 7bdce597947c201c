"""The network sees the same in training without augmentation, in evaluation and live."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from vid3d import config as configs
from vid3d.models.normalise import normalise
from vid3d.training.augment import augment


def settings(**overrides):
    c = configs.default()
    c.data.size = 16
    for key, value in overrides.items():
        group, name = key.split("__")
        c[group][name] = value
    return c


def clips(height: int = 16, width: int = 16, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 5, height, width, channels), np.uint8)


def keys(seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), 4)


def test_training_without_augmentation_equals_evaluation():
    c = settings(data__mean=(0.4, 0.5, 0.6), data__std=(0.2, 0.3, 0.4))
    x = clips(20, 24)
    seen = augment(keys(), x, c.data, c.augment, flip=False)
    np.testing.assert_allclose(seen, normalise(x, c.data), atol=1e-6)
    expected = (x[:, :, 2:18, 4:20] / 255 - np.array(c.data.mean)) / np.array(c.data.std)
    np.testing.assert_allclose(seen, expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "overrides",
    [
        {"augment__crop": "random"},
        {"augment__crop": "resized"},
        {"augment__brightness": 0.4, "augment__contrast": 0.4},
        {},
    ],
)
def test_all_frames_of_a_clip_are_augmented_alike(overrides, channels):
    c = settings(**overrides)
    still = np.repeat(clips(24, 32, channels)[:, :1], 5, axis=1)
    seen = np.asarray(augment(keys(), still, c.data, c.augment, flip=True))
    assert seen.shape == (4, 5, 16, 16, channels)
    assert seen.dtype == np.float32
    for t in range(1, 5):
        # Only resizing computes with the pixels, where processors may round the last bit apart.
        last_bit = np.finfo(np.float32).eps * ("resized" in overrides.values())
        np.testing.assert_allclose(seen[:, t], seen[:, 0], rtol=0, atol=last_bit)
    same = np.repeat(still[:1], 4, axis=0)
    different = np.asarray(augment(keys(), same, c.data, c.augment, flip=True))
    assert any(not np.array_equal(different[0], other) for other in different[1:])
    again = np.asarray(augment(keys(), same, c.data, c.augment, flip=True))
    np.testing.assert_array_equal(different, again)
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_flip_mirrors_about_half_of_the_clips():
    c = settings()
    x = np.repeat(clips()[:1], 200, axis=0)
    seen = np.asarray(
        augment(jax.random.split(jax.random.key(3), 200), x, c.data, c.augment, flip=True)
    )
    plain = np.asarray(normalise(x[:1], c.data))[0]
    mirrored = [np.allclose(s, plain[:, :, ::-1], atol=1e-6) for s in seen]
    kept = [np.allclose(s, plain, atol=1e-6) for s in seen]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 70 < sum(mirrored) < 130


def test_a_random_crop_reaches_every_position():
    c = settings(augment__crop="random")
    ramp = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None], (1, 1, 20, 20, 1))
    x = np.repeat(ramp, 200, axis=0)
    seen = np.asarray(
        augment(jax.random.split(jax.random.key(0), 200), x, c.data, c.augment, flip=False)
    )
    tops = set(np.round(seen[:, 0, 0, 0, 0] * 255).astype(int))
    assert tops == set(range(5))


def test_a_resized_crop_of_everything_is_a_resize():
    c = settings(
        augment__crop="resized", augment__crop_scale=(1.0, 1.0), augment__crop_ratio=(1.0, 1.0)
    )
    x = clips(32, 32)
    seen = np.asarray(augment(keys(), x, c.data, c.augment, flip=False))
    expected = jax.image.resize(x / 255.0, (4, 5, 16, 16, 3), "linear")
    np.testing.assert_allclose(seen, expected, atol=1e-5)


@pytest.mark.slow
def test_a_resized_crop_keeps_area_and_aspect_ratio():
    """On a picture of its own coordinates, the spread of the values is the size of the crop."""
    c = settings(
        augment__crop="resized", augment__crop_scale=(0.25, 0.25), augment__crop_ratio=(1.0, 1.0)
    )
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[:, None, None], (1, 1, 64, 64, 1))
    x = np.repeat(ramp, 50, axis=0)
    seen = np.asarray(
        augment(jax.random.split(jax.random.key(0), 50), x, c.data, c.augment, flip=False)
    )
    spread = (
        (seen[:, 0, -1, 0, 0] - seen[:, 0, 0, 0, 0]) * 255 / 4
    )  # rows between the first and last seen
    np.testing.assert_allclose(spread, 30, atol=0.6)  # 32 rows in 16 pixels: 15 steps of 2


def test_brightness_and_contrast_change_both_ways_and_keep_the_mean():
    x = np.zeros((300, 1, 16, 16, 1), np.uint8)
    x[:, :, :8], x[:, :, 8:] = 100, 150

    def seen(**overrides) -> np.ndarray:
        c = settings(**overrides)
        random = jax.random.split(jax.random.key(5), len(x))
        return np.asarray(augment(random, x, c.data, c.augment, flip=False))

    shift = seen(augment__brightness=0.2).mean(axis=(1, 2, 3, 4)) - 125 / 255
    assert -0.2 < shift.min() < -0.19 and 0.19 < shift.max() < 0.2 and abs(shift.mean()) < 0.03
    stretched = seen(augment__contrast=0.5)
    np.testing.assert_allclose(stretched.mean(axis=(1, 2, 3, 4)), 125 / 255, atol=1e-5)
    factor = np.ptp(stretched, axis=(1, 2, 3, 4)) / (50 / 255)
    assert 0.5 < factor.min() < 0.53 and 1.47 < factor.max() < 1.5

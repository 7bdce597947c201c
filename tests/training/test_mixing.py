"""Mixup and CutMix: what a clip shows and what its label says stay the same thing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vid3d.errors import UserError
from vid3d.training.mixing import mix

B, T, SIZE, K = 64, 3, 20, 4


def batch(seed: int = 0):
    """Clip number b is black or white everywhere, in turn, and so is its label 0 or 1."""
    bright_B = np.arange(B) % 2
    clips = np.broadcast_to(bright_B[:, None, None, None, None], (B, T, SIZE, SIZE, 1))
    targets = np.eye(K, dtype=np.float32)[bright_B]
    return jax.random.split(jax.random.key(seed), B), jnp.asarray(clips, jnp.float32), targets


def mixed(*, seed: int = 0, mask=None, **alphas):
    keys, clips, targets = batch(seed)
    mask = np.ones(B, np.float32) if mask is None else mask
    return mix(keys, clips, targets, mask, **{"mixup": 0.0, "cutmix": 0.0} | alphas)


@pytest.mark.slow
@pytest.mark.parametrize(
    "alphas", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}], ids=str
)
def test_mixed_labels_follow_the_pixels(alphas):
    clips, targets = (np.asarray(x) for x in mixed(**alphas))
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert targets.min() >= 0
    np.testing.assert_allclose(clips.mean(axis=(1, 2, 3, 4)), targets[:, 1], atol=1e-5)
    assert targets[:, 1].std() > 0.1
    for t in range(1, T):
        np.testing.assert_array_equal(clips[:, t], clips[:, 0])


@pytest.mark.slow
def test_mixup_blends_pixels_and_cutmix_replaces_them():
    blended, _ = mixed(mixup=0.8)
    np.testing.assert_allclose(blended.std(axis=(1, 2, 3, 4)), 0, atol=1e-6)
    cut, _ = mixed(cutmix=1.0)
    assert set(np.unique(cut)) == {0.0, 1.0}
    both, _ = mixed(mixup=0.8, cutmix=1.0)
    is_cut = np.isin(np.asarray(both), (0, 1)).all(axis=(1, 2, 3, 4))
    assert 0.25 < is_cut.mean() < 0.75


@pytest.mark.slow
def test_mixup_shares_are_beta_distributed():
    _, targets = mixed(mixup=0.4)
    own = targets[np.arange(B), np.arange(B) % 2]
    # Beta(a, a) has the variance 1 / (4 (2 a + 1)).
    assert abs(own.mean() - 0.5) < 0.15
    assert abs(own.var() - 1 / (4 * 1.8)) < 0.05


def test_padding_and_zero_alpha_change_nothing():
    mask = np.ones(B, np.float32)
    mask[10] = 0
    clips, targets = mixed(mixup=1.0, mask=mask)
    _, plain, labels = batch()
    for row in (10, 11):
        np.testing.assert_array_equal(clips[row], plain[row])
        np.testing.assert_array_equal(targets[row], labels[row])
    clips, targets = mixed()
    np.testing.assert_array_equal(clips, plain)
    np.testing.assert_array_equal(targets, labels)


def test_mixing_a_single_clip_per_device_is_refused():
    keys, clips, targets = batch()
    with pytest.raises(UserError, match="at least two clips per device"):
        mix(keys[:1], clips[:1], targets[:1], np.ones(1), mixup=1.0, cutmix=0.0)

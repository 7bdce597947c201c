"""The training step: a pure function of (state, batch), without a word about devices but the name of their axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from vid3d.data.augment import augment
from vid3d.training.state import TrainState

AUGMENT_STREAM, DROPOUT_STREAM = 1, 2


def build_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    data: ConfigDict,
    augmentation: ConfigDict,
    flip: bool,
    label_smoothing: float,
    seed: int,
    steps_per_epoch: int,
    axis_name: str,
) -> Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds step(state, batch) -> (state, sums), to be mapped over the devices.

    The augmentation of a clip is a function of (seed, epoch, index of the video), dropout one of (seed, step, device),
    so that no random state has to be saved.

    Returns:
        A function whose sums are: `loss`, `correct` and `count` over the global batch, and `finite_gradient_L` and
        `finite_params_L`, whether each leaf of the gradient and of the new parameters is free of NaN and infinity.
    """

    def train_step(state, batch):
        keys_B = augmentation_keys(seed, state.step // steps_per_epoch, batch["index_B"])
        clips_BTHWC = augment(keys_B, batch["clips_BTHWC"], data, augmentation, flip=flip)
        stream = jax.random.fold_in(jax.random.key(seed), DROPOUT_STREAM)
        dropout_key = jax.random.fold_in(
            jax.random.fold_in(stream, state.step), jax.lax.axis_index(axis_name)
        )
        labels_B, mask_B = batch["labels_B"], batch["mask_B"]
        count = jax.lax.psum(mask_B.sum(), axis_name)

        def loss_of(params):
            logits_BK, updated = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                clips_BTHWC,
                train=True,
                rngs={"dropout": dropout_key},
                mutable=["batch_stats"],
            )
            loss_B = cross_entropy(logits_BK, labels_B, label_smoothing)
            return (loss_B * mask_B).sum() / count, (logits_BK, updated.get("batch_stats", {}))

        (loss, (logits_BK, batch_stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            state.params
        )
        gradient = jax.lax.psum(gradient, axis_name)
        batch_stats = jax.lax.pmean(batch_stats, axis_name)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        correct = ((jnp.argmax(logits_BK, -1) == labels_B) * mask_B).sum()
        sums = {
            "loss": jax.lax.psum(loss, axis_name) * count,
            "correct": jax.lax.psum(correct, axis_name),
            "count": count,
            "finite_gradient_L": all_finite(gradient),
            "finite_params_L": all_finite(params),
        }
        state = TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return state, sums

    return train_step


def all_finite(tree: Any) -> jax.Array:
    """Whether each leaf is free of NaN and infinity, bool [L]. (A maximum would not do: XLA's may drop a NaN.)"""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)])


def augmentation_keys(seed: int, epoch: int | jax.Array, index_B: jax.Array) -> jax.Array:
    """One key a clip, a function of (seed, epoch, index of the video) alone."""
    stream = jax.random.fold_in(jax.random.key(seed), AUGMENT_STREAM)
    epoch_key = jax.random.fold_in(stream, epoch)
    return jax.vmap(lambda index: jax.random.fold_in(epoch_key, index))(index_B)


def cross_entropy(logits_BK: jax.Array, labels_B: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy of each clip, float32 [B], against labels smoothed as in Szegedy et al. 2016, section 7."""
    num_classes = logits_BK.shape[-1]
    targets_BK = optax.smooth_labels(jax.nn.one_hot(labels_B, num_classes), smoothing)
    return optax.softmax_cross_entropy(logits_BK.astype(jnp.float32), targets_BK)

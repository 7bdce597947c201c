"""The training step: a pure function of (state, batch), for any number of devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from vid3d.models.layers import HEAD
from vid3d.training.augment import augment
from vid3d.training.mixing import mix
from vid3d.training.state import TrainState, moving_average, running_statistics

TrainStep = Callable[
    [TrainState, dict[str, jax.Array]], tuple[TrainState, dict[str, jax.Array]]
]  # (state, batch) -> (state, sums)
AUGMENT_STREAM, DROPOUT_STREAM, MIX_STREAM = 1, 2, 3


def build_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    config: ConfigDict,
    *,
    flip: bool,
    axis_name: str,
    class_weights_K: Sequence[float] | None = None,
) -> TrainStep:
    """Builds step(state, batch) -> (state, sums), to be mapped over the devices.

    The augmentation of a clip is a function of (seed, round, index of the video), dropout one of
    (seed, step, device), so that no random state has to be saved.

    With `optim.backbone_rate` 0 only the last layer is trained, on features as evaluation sees
    them: running statistics, no dropout (a linear probe).

    Args:
        model: the network.
        optimizer: `optim.build` of the same config.
        config: the whole config: its seed, `data`, `augment` and `optim` count here.
        flip: mirror every second clip.
        axis_name: of the devices.
        class_weights_K: factor of each class in the loss; None is 1.

    Returns:
        A function whose sums are: `loss`, `correct` and `count` over the global batch, and
        `finite_gradient_L` and `finite_params_L`, whether each leaf of the gradient and of the new
        parameters is free of NaN and infinity.
    """

    seed, ema, augmentation = config.seed, config.optim.ema, config.augment
    frozen_backbone = config.optim.backbone_rate == 0
    starts_anew = not config.model.init_from  # other weights bring their statistics along

    def train_step(
        state: TrainState, batch: dict[str, jax.Array]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        drawn = batch["round_B"], batch["index_B"]
        keys_B = augmentation_keys(seed, *drawn)
        clips_BTHWC = augment(keys_B, batch["clips_BTHWC"], config.data, augmentation, flip=flip)
        stream = jax.random.fold_in(jax.random.key(seed), DROPOUT_STREAM)
        dropout_key = jax.random.fold_in(
            jax.random.fold_in(stream, state.step), jax.lax.axis_index(axis_name)
        )
        labels_B, mask_B = batch["labels_B"], batch["mask_B"]
        count = jax.lax.psum(mask_B.sum(), axis_name)
        targets_BK = smooth_targets(labels_B, model.num_classes, config.optim.label_smoothing)
        clips_BTHWC, targets_BK = mix(
            augmentation_keys(seed, *drawn, stream=MIX_STREAM),
            clips_BTHWC,
            targets_BK,
            mask_B,
            mixup=augmentation.mixup,
            cutmix=augmentation.cutmix,
        )

        statistics = state.batch_stats
        if starts_anew and not frozen_backbone:
            statistics = jax.tree.map(jnp.zeros_like, statistics)

        def loss_of(trained):
            variables = {"params": {**state.params, **trained}, "batch_stats": statistics}
            if frozen_backbone:
                logits_BK, batch_stats = model.apply(variables, clips_BTHWC, train=False), None
            else:
                logits_BK, updated = model.apply(
                    variables,
                    clips_BTHWC,
                    train=True,
                    rngs={"dropout": dropout_key},
                    mutable=["batch_stats"],
                )
                batch_stats = updated.get("batch_stats", {})
            loss_B = cross_entropy(logits_BK, targets_BK, class_weights_K)
            return (loss_B * mask_B).sum() / count, (logits_BK, batch_stats)

        trained = {HEAD: state.params[HEAD]} if frozen_backbone else state.params
        (loss, (logits_BK, batch_stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            trained
        )
        gradient = jax.lax.psum(gradient, axis_name)
        if frozen_backbone:
            gradient = jax.tree.map(jnp.zeros_like, state.params) | gradient
            batch_stats = state.batch_stats
        batch_stats = jax.lax.pmean(batch_stats, axis_name)
        if starts_anew and not frozen_backbone:
            momentum = getattr(model, "norm_momentum", 0.0)
            batch_stats = running_statistics(
                state.batch_stats, batch_stats, momentum=momentum, step=state.step
            )
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # Of a blended clip, the class that it shows more of.
        correct = ((jnp.argmax(logits_BK, -1) == jnp.argmax(targets_BK, -1)) * mask_B).sum()
        averages = state.ema
        if ema:
            current = {"params": params, "batch_stats": batch_stats}
            averages = moving_average(state.ema, current, decay=ema, step=state.step)
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
            ema=averages,
        )
        return state, sums

    return train_step


def all_finite(tree: Any) -> jax.Array:
    """Whether each leaf is free of NaN and infinity, bool [L]."""
    # Not by their maximum, in which XLA may drop a NaN.
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)])


def augmentation_keys(
    seed: int, round_B: int | jax.Array, index_B: jax.Array, *, stream: int = AUGMENT_STREAM
) -> jax.Array:
    """A key per clip from (seed, how often the video was drawn before, index of the video)."""
    base = jax.random.fold_in(jax.random.key(seed), stream)
    rounds_B = jnp.broadcast_to(round_B, index_B.shape)
    return jax.vmap(lambda r, index: jax.random.fold_in(jax.random.fold_in(base, r), index))(
        rounds_B, index_B
    )


def smooth_targets(labels_B: jax.Array, num_classes: int, smoothing: float = 0.0) -> jax.Array:
    """Labels as probabilities, float32 [B, K], smoothed as in Szegedy et al. 2016, section 7."""
    return optax.smooth_labels(jax.nn.one_hot(labels_B, num_classes), smoothing)


def cross_entropy(
    logits_BK: jax.Array, targets_BK: jax.Array, class_weights_K: Sequence[float] | None = None
) -> jax.Array:
    """Cross-entropy of each clip, float32 [B]; each class counts by its weight."""
    if class_weights_K is not None:
        targets_BK = targets_BK * jnp.array(class_weights_K, jnp.float32)
    return optax.softmax_cross_entropy(logits_BK.astype(jnp.float32), targets_BK)


def balanced_weights(labels_N: np.ndarray, num_classes: int) -> tuple[float, ...]:
    """N / (K n_k): classes weigh the same in sum, clips 1 in the mean (King, Zeng, 2001)."""
    counts_K = np.bincount(labels_N, minlength=num_classes)
    return tuple(len(labels_N) / (num_classes * max(int(n), 1)) for n in counts_K)

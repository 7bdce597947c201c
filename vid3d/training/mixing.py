"""Mixup and CutMix: each training clip, and its label, is blended with its neighbour's.

Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018; Yun et
al., "CutMix", ICCV 2019, with the same rectangle in all frames, as in Yun et al., "VideoMix", 2020.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vid3d.errors import UserError


def mix(
    keys_B: jax.Array,
    clips_BTHWC: jax.Array,
    targets_BK: jax.Array,
    mask_B: jax.Array,
    *,
    mixup: float,
    cutmix: float,
) -> tuple[jax.Array, jax.Array]:
    """Blends every clip with the next one of the batch.

    The share that a clip keeps is drawn for each clip from Beta(a, a), a being `mixup` or `cutmix`.
    With both, every second clip takes the one, the others the other.

    Args:
        keys_B: one random key per clip.
        clips_BTHWC: float32, normalised.
        targets_BK: the probability of each class, float32.
        mask_B: 0 marks padding, which is blended with nothing.
        mixup, cutmix: 0 leaves the one out.

    Returns:
        Clips and targets, in the same shapes; the targets of a clip still sum to one.

    Raises:
        UserError: a device has a single clip, so that there is nothing to blend with.
    """
    if not (mixup or cutmix):
        return clips_BTHWC, targets_BK
    if len(clips_BTHWC) < 2:
        raise UserError(
            "config.augment.mixup and cutmix blend the clips of one device, and train.batch_size "
            "leaves it a single one: take at least two clips per device"
        )
    height, width = clips_BTHWC.shape[2:4]
    share_B, masks_BHW = jax.vmap(
        lambda key: share_and_mask(key, (height, width), mixup=mixup, cutmix=cutmix)
    )(keys_B)
    alone_B = (mask_B * jnp.roll(mask_B, 1)) == 0
    share_B = jnp.where(alone_B, 1.0, share_B)
    masks_BHW = jnp.where(alone_B[:, None, None], 1.0, masks_BHW)
    kept = masks_BHW[:, None, :, :, None]
    clips_BTHWC = kept * clips_BTHWC + (1 - kept) * jnp.roll(clips_BTHWC, 1, axis=0)
    share_B1 = share_B[:, None]
    return clips_BTHWC, share_B1 * targets_BK + (1 - share_B1) * jnp.roll(targets_BK, 1, axis=0)


def share_and_mask(
    key: jax.Array, size: tuple[int, int], *, mixup: float, cutmix: float
) -> tuple[jax.Array, jax.Array]:
    """What one clip keeps: its share of the label, and its share of every pixel, float32 [H, W]."""
    choice_key, share_key, place_key = jax.random.split(key, 3)
    if mixup and cutmix:
        cut = jax.random.bernoulli(choice_key)
        alpha = jnp.where(cut, cutmix, mixup)
    else:
        cut, alpha = jnp.array(bool(cutmix)), jnp.float32(mixup or cutmix)
    share = jax.random.beta(share_key, alpha, alpha)
    extents = jnp.array(size, jnp.float32)
    half = jnp.sqrt(1 - share) * extents / 2
    centre = jax.random.uniform(place_key, (2,)) * extents
    low, high = jnp.round(jnp.maximum(centre - half, 0)), jnp.minimum(centre + half, extents)
    high = jnp.round(high)
    rows, columns = jnp.arange(size[0])[:, None], jnp.arange(size[1])[None]
    inside = (rows >= low[0]) & (rows < high[0]) & (columns >= low[1]) & (columns < high[1])
    mask = jnp.where(cut, 1.0 - inside, share)
    # Where the frame's edge cuts the rectangle, what is left of it counts.
    return mask.mean(), mask

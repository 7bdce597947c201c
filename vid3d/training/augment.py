"""From stored uint8 frames to what the network sees: augmentation in jax.numpy on the device.

Every random choice is made once per clip, so that all its frames move together.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vid3d.models.normalise import centre_crop, standardise


def augment(
    keys_B: jax.Array,
    clips_BTHWC: jax.Array,
    data: ConfigDict,
    augment: ConfigDict,
    *,
    flip: bool,
) -> jax.Array:
    """Crops, flips, changes brightness and contrast, and standardises as evaluation does.

    Args:
        keys_B: one random key per clip.
        clips_BTHWC: uint8 as stored.
        data: `config.data`.
        augment: `config.augment`; with its defaults the result equals `normalise`.
        flip: mirror every second clip, as `directions.flips(augment.flip, classes)` says.

    Returns:
        float32 [B, T, size, size, C].
    """

    def one(key: jax.Array, clip_THWC: jax.Array) -> jax.Array:
        crop_key, flip_key, brightness_key, contrast_key = jax.random.split(key, 4)
        clip = crop(crop_key, clip_THWC, data.size, augment)
        if flip:
            clip = jnp.where(jax.random.bernoulli(flip_key), clip[:, :, ::-1], clip)
        if augment.contrast:
            mean = clip.mean(axis=(0, 1, 2))
            factor = 1 + jax.random.uniform(contrast_key, (), minval=-1) * augment.contrast
            clip = (clip - mean) * factor + mean
        if augment.brightness:
            clip += jax.random.uniform(brightness_key, (), minval=-1) * augment.brightness
        if augment.contrast or augment.brightness:
            clip = jnp.clip(clip, 0, 1)
        return standardise(clip, data)

    return jax.vmap(one)(keys_B, clips_BTHWC)


def crop(key: jax.Array, clip_THWC: jax.Array, size: int, augment: ConfigDict) -> jax.Array:
    """Crops a uint8 clip to [T, size, size, C], float32 in [0, 1], in the way `augment.crop` says.

    "resized" draws the share of the area uniformly and the aspect ratio log-uniformly (Szegedy et
    al. 2015, "Going deeper with convolutions", section 6) and keeps the crop inside the frame by
    shortening its longer side.
    """
    height, width = clip_THWC.shape[1:3]
    if augment.crop == "none":
        return centre_crop(clip_THWC, size).astype(jnp.float32) / 255
    place_key, area_key, ratio_key = jax.random.split(key, 3)
    place = jax.random.uniform(place_key, (2,))
    if augment.crop == "random":
        positions = jnp.array([height - size + 1, width - size + 1])
        top, left = jnp.floor(place * positions).astype(jnp.int32)
        shape = (clip_THWC.shape[0], size, size, clip_THWC.shape[3])
        return jax.lax.dynamic_slice(clip_THWC, (0, top, left, 0), shape).astype(jnp.float32) / 255
    low, high = augment.crop_scale
    area = height * width * jax.random.uniform(area_key, (), minval=low, maxval=high)
    low, high = jnp.log(jnp.array(augment.crop_ratio))
    ratio = jnp.exp(jax.random.uniform(ratio_key, (), minval=low, maxval=high))
    kept = jnp.minimum(
        jnp.sqrt(jnp.stack([area / ratio, area * ratio])), jnp.array([height, width])
    )
    corner = place * (jnp.array([height, width]) - kept)
    scale = size / kept
    return jnp.clip(
        jax.image.scale_and_translate(
            clip_THWC.astype(jnp.float32) / 255,
            (clip_THWC.shape[0], size, size, clip_THWC.shape[3]),
            (1, 2),
            scale,
            -corner * scale,
            method="linear",
        ),
        0,
        1,
    )

"""C3D: eight convolutions of 3x3x3 and five poolings, then two wide dense layers.

Tran, Bourdev, Fergus, Torresani, Paluri, "Learning Spatiotemporal Features with 3D Convolutional
Networks", ICCV 2015, figure 3. The paper uses clips of 16 frames at 112x112 and no normalisation
layers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from vid3d.models.layers import Conv3D, ConvPool, class_scores, he_normal, input_form
from vid3d.models.network import Network

# (features of the convolutions, pooling window) of each stage. The first pooling keeps the temporal
# resolution, so that motion is not merged too early.
STAGES = (
    ((64,), (1, 2, 2)),
    ((128,), (2, 2, 2)),
    ((256, 256), (2, 2, 2)),
    ((512, 512), (2, 2, 2)),
    ((512, 512), (2, 2, 2)),
)


class C3D(Network):
    """`clips_BTHWC` (float32, normalised; any T, H, W) -> `logits_BK` (float32).

    Pooling rounds sizes up, as Caffe does: 7x7 becomes 4x4. The first dense layer fits one clip
    size only.

    Attributes: see `Network`.
    """

    @nn.compact
    def __call__(self, clips_BTHWC: jax.Array, *, train: bool) -> jax.Array:
        stage = nn.remat(Stage) if self.remat else Stage
        x = input_form(clips_BTHWC, self.input)
        for number, (features, pool) in enumerate(STAGES, start=1):
            x = stage(features, pool, self.dtype, name=f"conv{number}")(x)
            self.sow("intermediates", f"stage{number}", x)
        x = x.reshape(x.shape[0], -1)
        for name in ("fc6", "fc7"):
            x = nn.relu(nn.Dense(4096, dtype=self.dtype, kernel_init=he_normal, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return class_scores(self.num_classes)(x)


class Stage(nn.Module):
    """Convolutions with ReLU; the last is fused with max pooling."""

    features: tuple[int, ...]
    pool: tuple[int, int, int]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BTHWC: jax.Array) -> jax.Array:
        *inner, last = self.features
        x = x_BTHWC
        for letter, features in zip("ab", inner, strict=False):
            x = Conv3D(features, dtype=self.dtype, kernel_init=he_normal, name=letter)(x)
            x = nn.relu(x)
        return ConvPool(
            last, pool=self.pool, dtype=self.dtype, kernel_init=he_normal, name="ab"[len(inner)]
        )(x)

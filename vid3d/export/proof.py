"""Whether a runtime gives the answers of JAX."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vid3d.errors import UserError

# The largest difference of a probability from JAX's in float32.
BOUNDS = {"f32": 1e-4, "bf16": 3e-2}


@dataclass(frozen=True)
class Proof:
    """A comparison of probabilities on the same clips.

    Attributes:
        num_clips: how many were compared.
        largest_difference: of a probability from JAX's.
        flipped: clips whose most probable class is another.
        bound: that the largest difference may have.
    """

    num_clips: int
    largest_difference: float
    flipped: int
    bound: float

    def check(self, what: str) -> None:
        """Raises a UserError where the difference is above the bound, or not a number.

        Args:
            what: was compared, for the message.
        """
        if not self.largest_difference <= self.bound:
            raise UserError(
                f"{what} does not answer as JAX does: a probability differs by "
                f"{self.largest_difference:.1e} (at most {self.bound:g}), {self.flipped} of "
                f"{self.num_clips} answers are others; take another engine, or another version"
            )


def compare(wanted_NK: np.ndarray, found_NK: np.ndarray, precision: str) -> Proof:
    """Compares the probabilities of a runtime with those of JAX.

    Args:
        wanted_NK: by JAX in float32.
        found_NK: of the same clips.
        precision: of the runtime, one of `BOUNDS`.
    """
    flipped_N = wanted_NK.argmax(axis=1) != found_NK.argmax(axis=1)
    return Proof(
        num_clips=len(wanted_NK),
        largest_difference=float(np.abs(wanted_NK - found_NK).max()),
        flipped=int(flipped_N.sum()),
        bound=BOUNDS[precision],
    )


def sample_clips(clip_shape: tuple[int, ...]) -> np.ndarray:
    """Two uint8 clips of smooth patterns that move: [2, T, H, W, C]."""
    num_frames, height, width, channels = clip_shape
    t, y, x, c = np.ogrid[:num_frames, :height, :width, :channels]
    clips = []
    for speed in (0.3, -1.1):
        waves = np.sin(x * 9 / width + speed * t + c) + np.sin(y * 7 / height - speed * t)
        clips.append(np.clip(127 + 60 * waves, 0, 255))
    return np.stack(clips).astype(np.uint8)

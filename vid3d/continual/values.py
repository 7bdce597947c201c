"""What an array of a clip network is while frames arrive, and what is kept of the past.

A network takes `m` frames per step, and gets position `step * m - lag` and those after it: `lag`
counts how many positions a layer is behind, as it waits for the later frames of its windows. Values
that meet are delayed to the same lag, so that a shortcut adds what belongs to the same frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp


class CannotStream(Exception):
    """The network has no form that takes a frame at a time; the text says why."""


class NeedsMoreFrames(Exception):
    """A stride in time does not divide the frames of a step.

    Attributes:
        factor: by which there have to be more.
    """

    def __init__(self, factor: int):
        super().__init__(factor)
        self.factor = factor


@dataclass(frozen=True)
class Frames:
    """An array with an axis of time: the newest positions.

    Attributes:
        array: `m` positions along `axis`.
        axis: of time.
        length: how many positions the clip network has there.
        lag: position of step 0, negated.
        first: the first step whose positions depend on real frames alone.
        reach: how many frames an average goes on after its position.
    """

    array: jax.Array
    axis: int
    length: int
    lag: int
    first: int
    reach: float = 0

    @property
    def count(self) -> int:
        """Positions per step."""
        return self.array.shape[self.axis]


@dataclass(frozen=True)
class Clip:
    """An array of the clip that ends with the newest positions: what the clip network has there.

    Attributes:
        array: of the clip network's shape, but for axes along which it is constant: 1 there.
        first: see `Frames`; what is averaged over time is so over the real frames so far.
        full: the first step in which these are as many as a clip has.
        behind: how many frames the first and the last of these lie behind the newest one.
        why: the operation that needs a whole clip.
    """

    array: jax.Array
    first: int
    full: int
    behind: tuple[float, float]
    why: str


@dataclass(frozen=True)
class Constant:
    """An array that depends on weights alone.

    Attributes:
        array: of the clip network's shape, but for axes along which it is constant: 1 there.
    """

    array: jax.Array


Value = Frames | Clip | Constant


class Memory:
    """The past positions that the operations of one step keep for the next.

    Attributes:
        kept: one array per operation that looks back, after this step.
        step_frames: frames per step.
    """

    def __init__(self, past: Sequence[jax.Array] | None, *, steps_B: jax.Array, step_frames: int):
        """Begins a step.

        Args:
            past: `kept` of the step before; None to learn its shapes.
            steps_B: steps so far.
            step_frames: frames per step.
        """
        self._past = None if past is None else iter(past)
        self._steps_B, self.step_frames = steps_B, step_frames
        self.kept: list[jax.Array] = []

    def extended(self, x: Frames, past: int) -> jax.Array:
        """The `past` positions before the newest ones, and these."""
        if past <= 0:
            return x.array
        if self._past is None:
            shape = [*x.array.shape]
            shape[x.axis] = past
            before = jnp.zeros(shape, x.array.dtype)
        else:
            before = next(self._past)
        both = jnp.concatenate([before, x.array], axis=x.axis)
        self.kept.append(jax.lax.slice_in_dim(both, x.count, None, axis=x.axis))
        return both

    def delayed(self, x: Frames, positions: int) -> Frames:
        """The same array, later."""
        if positions == 0:
            return x
        both = self.extended(x, positions)
        return replace(
            x,
            array=jax.lax.slice_in_dim(both, 0, x.count, axis=x.axis),
            lag=x.lag + positions,
            first=x.first + math.ceil(positions / x.count),
        )

    def aligned(self, values: Sequence[Value]) -> list[Value]:
        """The values with all frames delayed to the same lag.

        Raises:
            CannotStream: they have different numbers of frames.
        """
        frames = [value for value in values if isinstance(value, Frames)]
        if len({(x.count, x.length) for x in frames}) > 1:
            raise CannotStream("frames at different rates meet")
        latest = max((x.lag for x in frames), default=0)
        return [self.delayed(x, latest - x.lag) if isinstance(x, Frames) else x for x in values]

    def clip(self, x: Frames, why: str) -> Clip:
        """The newest positions, as many as a clip has."""
        missing = x.length - x.count
        array = self.extended(x, missing)
        if missing < 0:
            array = jax.lax.slice_in_dim(array, -missing, None, axis=x.axis)
        full = x.first + max(0, math.ceil(missing / x.count))
        jump = self.step_frames / x.count  # frames from one position to the next
        newest = self.step_frames - 1 - jump * (x.count - 1 - x.lag)
        return Clip(array, full, full, (newest + jump * (x.length - 1), newest - x.reach), why)

    def real(self, x: Frames) -> jax.Array:
        """Which positions of `clip(x)` depend on real frames alone, bool [B, length]."""
        known_B = (self._steps_B + 1 - x.first) * x.count
        return jnp.arange(x.length, 0, -1) <= jnp.maximum(known_B, 1)[:, None]

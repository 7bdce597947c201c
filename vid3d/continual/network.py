"""A network that takes the newest frames and answers for the clip that they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vid3d.continual.rules import apply
from vid3d.continual.values import (
    CannotStream,
    Clip,
    Constant,
    Frames,
    Memory,
    NeedsMoreFrames,
    Value,
)
from vid3d.models.tracing import Trace, is_empty, trace
from vid3d.ops import convolution

Weights = dict[str, Any]


class State(NamedTuple):
    """What a continual network keeps between steps, of each of its B streams; a tree of arrays.

    Attributes:
        kept: past positions, one array per operation that looks back.
        steps_B: int32, how many steps each stream has done.
    """

    kept: tuple[jax.Array, ...]
    steps_B: jax.Array


class ContinualNetwork:
    """A clip network, one step at a time, for B streams at once.

        network = ContinualNetwork(logits, weights, (16, 112, 112, 3), dtype=np.uint8)
        state = network.start(batch=1)
        for frames_BTHWC in stream:  # `network.step_frames` each
            state, logits_BK, ready_B = network.step(weights, state, frames_BTHWC)

    The answer is that of the clip network without padding in time: at a clip's ends, its
    convolutions see zeros, and these see the frames that are there. Averages over time are those of
    the newest positions, as many as a clip has, or as there are; so is squeeze and excitation, at
    every position.

    Attributes:
        step_frames: frames per step: the product of the strides in time.
        warm_up: frames before the first answer that depends on real frames alone, and its own.
        behind: how many frames the first and the last position of an answer's average lie behind
            the newest frame.
    """

    def __init__(
        self,
        logits: Callable[[Weights, jax.Array], jax.Array],
        weights: Weights,
        clip_shape: Sequence[int],
        *,
        dtype: Any = jnp.float32,
    ):
        """Derives the form.

        Args:
            logits: (weights, clips [B, *clip_shape]) -> [B, K].
            weights: trees of arrays or of `jax.ShapeDtypeStruct`.
            clip_shape: (T, H, W, C); answers are averages over as many positions as it has.
            dtype: of the clips.

        Raises:
            CannotStream: an operation needs all frames of a clip, and a convolution follows; or
                the strides in time come to more frames than a clip has.
        """
        self._logits = logits
        self._clip_shape, self._dtype = tuple(clip_shape), dtype
        self._shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), weights)
        self.step_frames = 1
        while True:
            try:
                _, result = self._planned(1)
            except NeedsMoreFrames as more:
                self.step_frames *= more.factor
                if self.step_frames > clip_shape[0]:
                    raise CannotStream(
                        f"its strides in time come to {self.step_frames} frames or more per step, "
                        f"and a clip has {clip_shape[0]}"
                    ) from None
            else:
                break
        self._full, self.behind = result.full, result.behind
        self.warm_up = (result.full + 1) * self.step_frames

    def start(self, batch: int = 1) -> State:
        """The state of streams that have not begun."""
        kept, _ = self._planned(batch)
        zeros = tuple(jnp.zeros(x.shape, x.dtype) for x in kept)
        return State(zeros, jnp.zeros(batch, jnp.int32))

    def step(
        self, weights: Weights, state: State, frames_BTHWC: jax.Array
    ) -> tuple[State, jax.Array, jax.Array]:
        """Takes the newest frames; a pure function, to be jitted with `state` donated.

        Args:
            weights: of the network.
            state: of the step before.
            frames_BTHWC: `step_frames` of each stream.

        Returns:
            The new state; logits [B, K]; whether each stream is past its warm-up, bool [B]. The
            logits of the others mean nothing.
        """
        kept, result = self._run(weights, state.kept, state.steps_B, frames_BTHWC)
        steps_B = state.steps_B + 1
        return State(kept, steps_B), result.array, steps_B > self._full

    def restarted(self, state: State, streams_B: jax.Array) -> State:
        """The state with some streams (bool [B]) at their beginning, as after a cut."""
        return state._replace(steps_B=jnp.where(streams_B, 0, state.steps_B))

    def _planned(self, batch: int) -> tuple[tuple[jax.ShapeDtypeStruct, ...], Clip]:
        frames = jax.ShapeDtypeStruct((batch, self.step_frames, *self._clip_shape[1:]), self._dtype)
        found: list[Clip] = []

        def run(weights: Weights, frames_BTHWC: jax.Array) -> tuple[jax.Array, ...]:
            steps_B = jnp.zeros(batch, jnp.int32)
            kept, result = self._run(weights, None, steps_B, frames_BTHWC)
            found.append(result)
            return kept  # of `result`, nothing that JAX traces is read

        kept = jax.eval_shape(run, self._shapes, frames)
        return kept, found[0]

    def _run(
        self,
        weights: Weights,
        kept: Sequence[jax.Array] | None,
        steps_B: jax.Array,
        frames_BTHWC: jax.Array,
    ) -> tuple[tuple[jax.Array, ...], Clip]:
        clips = jax.ShapeDtypeStruct((frames_BTHWC.shape[0], *self._clip_shape), self._dtype)
        with convolution.library_form():
            traced = trace(self._logits, self._shapes, clips)
        memory = Memory(kept, steps_B=steps_B, step_frames=self.step_frames)
        length = self._clip_shape[0]
        frames = Frames(frames_BTHWC, axis=1, length=length, lag=0, first=0)
        result = evaluate(traced, [*map(Constant, jax.tree.leaves(weights)), frames], memory)
        if isinstance(result, Frames):
            raise CannotStream("its answer has an axis of time")
        if isinstance(result, Constant):
            raise CannotStream("its answer does not depend on the clip")
        return tuple(memory.kept), result


def evaluate(traced: Trace, inputs: Sequence[Value], memory: Memory) -> Value:
    """The result of a traced function for the newest frames."""
    known = {id(variable): x for variable, x in zip(traced.inputs, inputs, strict=True)}

    def value(of: Any) -> Value:
        return known[id(of)] if id(of) in known else Constant(jnp.asarray(of))

    for equation in traced.equations:
        (output, *_) = equation.outputs
        if is_empty(output):
            known[id(output)] = Constant(jnp.zeros(output.shape, output.dtype))
        else:
            inputs = [value(one) for one in equation.inputs]
            known[id(output)] = apply(equation, inputs, memory)
    return value(traced.result)

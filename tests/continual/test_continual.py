"""A network that takes a frame at a time answers like the clip network without padding in time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vid3d import config as configs, models
from vid3d.continual.network import ContinualNetwork
from vid3d.continual.values import CannotStream
from vid3d.models import x3d
from vid3d.ops import convolution

CLASSES = 5


def network_of(shape, **changes):
    """A function (weights, clips) -> logits, weights that are random in every layer, the module."""
    config = configs.default()
    for key, value in changes.items():
        config.model[key] = value
    module = models.build(config.model, CLASSES)
    numbers = np.random.default_rng(0)

    def draw(path, leaf):
        noise = numbers.standard_normal(leaf.shape).astype(np.float32)
        name = path[-1].key
        if name in ("var", "scale"):
            return jnp.asarray(1 + 0.2 * np.abs(noise))
        size = np.prod(leaf.shape[:-1])
        return jnp.asarray(noise / np.sqrt(size) if size > 1 else 0.1 * noise)

    weights = jax.tree_util.tree_map_with_path(draw, models.shapes(module, shape))

    def logits(weights, clips_BTHWC):
        return module.apply(weights, clips_BTHWC, train=False)

    return logits, weights, module


def run(network, weights, frames_BTHWC, state=None):
    """The state, and logits and readiness of every step over some frames."""
    state = network.start(len(frames_BTHWC)) if state is None else state
    with convolution.library_form():  # compiles faster
        step = jax.jit(lambda *arguments: network.step(*arguments))
        found = []
        for start in range(0, frames_BTHWC.shape[1], network.step_frames):
            frames = frames_BTHWC[:, start : start + network.step_frames]
            state, logits_BK, ready_B = step(weights, state, frames)
            found.append((np.asarray(logits_BK), np.asarray(ready_B)))
    return state, np.stack([x for x, _ in found]), np.stack([x for _, x in found])


def noise(batch, frames, size=32, channels=3, seed=0):
    shape = (batch, frames, size, size, channels)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def newest_gates(length):
    """Makes gates of X3D see the newest positions, at each one, instead of the whole clip."""

    def gate(call, args, kwargs, context):
        if not isinstance(context.module, x3d.Gate):
            return call(*args, **kwargs)
        (x_BTHWC,) = args
        sums = jnp.cumsum(x_BTHWC.mean((2, 3), keepdims=True), axis=1)
        before = jnp.pad(sums, [(0, 0), (length, 0)] + [(0, 0)] * 3)[:, : sums.shape[1]]
        count = jnp.minimum(jnp.arange(1, sums.shape[1] + 1), length)
        y = (sums - before) / count[:, None, None, None]
        weights = context.module.variables["params"]
        y = nn.relu(y @ weights["squeeze"]["kernel"] + weights["squeeze"]["bias"])
        return x_BTHWC * nn.sigmoid(y @ weights["excite"]["kernel"] + weights["excite"]["bias"])

    return nn.intercept_methods(gate)


def classified(weights, map_BTHWC, name):
    """The logits of a network from its last map, written out again."""
    x, params = map_BTHWC, weights["params"]
    if name.startswith("x3d"):
        x = x @ params["head_expand"]["kernel"][0, 0, 0]
        mean, var = (weights["batch_stats"]["head_norm"][key] for key in ("mean", "var"))
        scale = params["head_norm"]["scale"] / np.sqrt(var + 1e-5)
        x = nn.relu((x - mean) * scale + params["head_norm"]["bias"]).mean((1, 2, 3))
        x = nn.relu(x @ params["head_hidden"]["kernel"][0, 0, 0])
    else:
        x = x.mean((1, 2, 3))
    return x @ params["classes"]["kernel"] + params["classes"]["bias"]


NETWORKS = {
    "conv3d": (dict(norm="batch", pool=(1, 2, 2), features=(8, 8), head="average", hidden=0), 5, 1),
    "strided": (
        dict(norm="batch", pool=(2, 2, 2), features=(8, 8), head="average", hidden=0),
        8,
        4,
    ),
    "speed": (dict(input="speed", pool=(1, 2, 2), features=(8,), head="average", hidden=0), 6, 1),
    "x3d_xs": (dict(name="x3d_xs"), 4, 1),
    "slow_r50": (dict(name="slow_r50"), 4, 1),
    "r3d_18": (dict(name="r3d_18"), 16, 8),
}
SLOW = ("x3d_xs", "slow_r50", "r3d_18")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NETWORKS]
)
def test_answers_are_those_of_the_clip_network_far_from_its_padding(name):
    """The truth is the map of one long clip, whose middle no padding reaches."""
    changes, length, step_frames = NETWORKS[name]
    logits, weights, module = network_of((length, 32, 32, 3), **changes)
    network = ContinualNetwork(logits, weights, (length, 32, 32, 3))
    assert network.step_frames == step_frames
    extra = 60 if name == "x3d_xs" else 4  # its gates look back further than the warm-up
    frames = noise(2, network.warm_up + extra * step_frames)
    _, found, ready = run(network, weights, frames)
    assert [int(step) for step in ready.sum(axis=0)] == [extra + 1] * 2

    with convolution.library_form(), newest_gates(length):
        maps = jax.jit(lambda w, x: models.features(module, w, x))(weights, frames)
    last = max(name for name in maps if name.startswith("stage"))
    positions = max(
        1, (length - frames.shape[1] + maps[last].shape[1] * step_frames) // step_frames
    )
    ends = np.arange(positions, maps[last].shape[1] + 1)
    truth = np.stack(
        [classified(weights, maps[last][:, end - positions : end], name) for end in ends]
    )
    # Where in the clip the answer lies is known from `behind`.
    newest = frames.shape[1] - 1 - network.behind[1]
    place = int(newest // step_frames) + 1
    np.testing.assert_allclose(found[-1], truth[place - positions], atol=1e-5)
    if name != "x3d_xs":
        np.testing.assert_allclose(found[-4], truth[place - positions - 3], atol=1e-5)


def small_network(length=5):
    shape = (length, 16, 16, 3)
    changes = dict(norm="batch", pool=(1, 2, 2), features=(8, 8), head="statistics", hidden=0)
    logits, weights, _ = network_of(shape, **changes)
    return ContinualNetwork(logits, weights, shape), weights, logits


def test_streams_begin_and_end_apart():
    """One that is cut begins anew; its neighbour in the batch goes on."""
    network, weights, _ = small_network()
    frames = noise(2, 30, size=16)
    state, _, _ = run(network, weights, frames[:, :12])
    state = network.restarted(state, jnp.array([False, True]))
    _, found, ready = run(network, weights, frames[:, 12:], state)
    _, alone, alone_ready = run(network, weights, frames[1:, 12:])
    _, whole, _ = run(network, weights, frames[:1])
    assert (ready[:, 1] == alone_ready[:, 0]).all() and ready[:, 0].all()
    assert not alone_ready[network.warm_up - 2, 0] and alone_ready[network.warm_up - 1, 0]
    np.testing.assert_allclose(found[alone_ready[:, 0], 1], alone[alone_ready[:, 0], 0], atol=1e-6)
    np.testing.assert_allclose(found[:, 0], whole[12:, 0], atol=1e-6)


def test_a_state_survives_a_file(tmp_path):
    """A saved stream goes on with the same answers."""
    network, weights, _ = small_network()
    frames = noise(1, 24, size=16)
    state, _, _ = run(network, weights, frames[:, :13])
    np.savez(tmp_path / "state.npz", *jax.tree.leaves(state))
    with np.load(tmp_path / "state.npz") as file:
        leaves = [file[name] for name in file.files]
    loaded = jax.tree.unflatten(jax.tree.structure(state), leaves)
    _, again, _ = run(network, weights, frames[:, 13:], loaded)
    _, found, _ = run(network, weights, frames)
    np.testing.assert_array_equal(again, found[13:])


def test_what_is_kept_does_not_grow():
    network, weights, _ = small_network()
    state, _, _ = run(network, weights, noise(1, 300, size=16))
    assert [x.shape for x in state.kept] == [x.shape for x in network.start().kept]


@pytest.mark.parametrize(
    ("changes", "frames", "why"),
    [
        (dict(norm="group", pool=(1, 2, 2)), 4, "layer2/conv .*needs all frames of a clip"),
        (dict(name="slowfast_r50"), 16, "needs all frames of a clip"),
        (dict(), 10, "27 frames or more per step, and a clip has 10"),
    ],
)
def test_networks_that_cannot_are_told_why(changes, frames, why):
    shape = (frames, 32, 32, 3)
    logits, weights, _ = network_of(shape, **changes)
    with pytest.raises(CannotStream, match=why):
        ContinualNetwork(logits, weights, shape)


def test_other_code_is_traced_as_ever():
    """Deriving the form traces XLA's convolution, which must not stay in the clip network."""
    traces = []
    for derive in (False, True):
        logits, weights, _ = network_of((1, 16, 16, 3), pool=(1, 2, 2), features=(8,), hidden=0)
        if derive:
            ContinualNetwork(logits, weights, (1, 16, 16, 3))
        traces.append(str(jax.make_jaxpr(logits)(weights, noise(1, 1, size=16))))
    assert traces[0] == traces[1]

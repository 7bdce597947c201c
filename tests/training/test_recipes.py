"""The pieces of a recipe do what they promise, and a run with all of them resumes exactly."""

from __future__ import annotations

import copy

import jax
import numpy as np
import pytest

from vid3d import checkpoint, config as configs, models, parallel
from vid3d.errors import UserError
from vid3d.ops import convolution
from vid3d.training import loop, optim, steps
from vid3d.training.state import create

CLASSES, FRAMES, SIZE = 3, 4, 12


def small_config(**overrides):
    c = configs.default()
    c.data.num_frames, c.data.size = FRAMES, SIZE
    c.model.features, c.model.hidden = (6,), 0
    c.model.norm, c.model.head = "batch", "average"
    c.model.dropout = c.model.feature_dropout = 0.0
    c.optim.name = "sgd"
    c.optim.learning_rate = 0.1
    for key, value in overrides.items():
        group, name = key.split("__")
        c[group][name] = value
    return c


def batch_of(seed: int = 0, size: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "clips_BTHWC": rng.integers(0, 256, (size, FRAMES, SIZE, SIZE, 3), dtype=np.uint8),
        "labels_B": rng.integers(0, CLASSES, size).astype(np.int32),
        "mask_B": np.ones(size, np.float32),
        "index_B": np.arange(size, dtype=np.int32),
        "round_B": np.full(size, seed, np.int32),
    }


def states(config, *, count: int, **options) -> list:
    """The states before and after each of some steps on one device, in the library's form."""
    with convolution.library_form():
        model = models.build(config.model, CLASSES, axis_name=parallel.AXIS)
        optimizer = optim.build(config.optim, lambda _: config.optim.learning_rate)
        shape = (FRAMES, SIZE, SIZE, 3)
        state = create(model, optimizer, seed=0, clip_shape=shape, ema=config.optim.ema > 0)
        step = jax.pmap(
            steps.build_train_step(
                model, optimizer, config, flip=False, axis_name=parallel.AXIS, **options
            ),
            axis_name=parallel.AXIS,
            in_axes=(None, 0),
            out_axes=(None, None),
            devices=jax.devices()[:1],
        )
        found = [jax.device_get(state)]
        for number in range(count):
            shards = {name: x[None] for name, x in batch_of(number).items()}
            state, _ = step(state, shards)
            found.append(jax.device_get(state))
        return found


def assert_trees(assertion, one, two) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assertion(a, b)


def test_evaluation_uses_the_moving_average():
    found = states(small_config(optim__ema=0.9), count=12)
    for name in ("params", "batch_stats"):
        expected = jax.tree.map(np.float64, getattr(found[0], name))
        for number, state in enumerate(found[1:]):
            d = min(0.9, (1 + number) / (10 + number))
            expected = jax.tree.map(
                lambda a, v, d=d: d * a + (1 - d) * v, expected, getattr(state, name)
            )
        assert_trees(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            found[-1].weights()[name],
            expected,
        )
    kernel = found[-1].params["classes"]["kernel"]
    assert np.abs(kernel - found[-1].ema["params"]["classes"]["kernel"]).max() > 1e-3
    assert "params" in found[-1].optimizer()


@pytest.mark.slow
def test_a_state_with_averages_is_restored():
    state = states(small_config(optim__ema=0.9), count=2)[-1]
    back = state.restored(copy.deepcopy(state.weights()), copy.deepcopy(state.optimizer()))
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert_trees(np.testing.assert_array_equal, back, state)


@pytest.mark.parametrize("name", ["sgd", pytest.param("adamw", marks=pytest.mark.slow)])
def test_a_linear_probe_trains_only_the_last_layer(name):
    config = small_config(
        optim__backbone_rate=0.0, optim__name=name, optim__weight_decay=0.1, model__dropout=0.5
    )
    before, *_, after = states(config, count=3)
    assert_trees(np.testing.assert_array_equal, before.batch_stats, after.batch_stats)
    assert_trees(np.testing.assert_array_equal, before.params["layer1"], after.params["layer1"])
    for leaf, moved in zip(
        jax.tree.leaves(before.params["classes"]),
        jax.tree.leaves(after.params["classes"]),
        strict=True,
    ):
        assert np.abs(leaf - moved).max() > 1e-4
    kept = sum(leaf.size for leaf in jax.tree.leaves(after.opt_state) if leaf.ndim)
    head = sum(leaf.size for leaf in jax.tree.leaves(after.params["classes"]))
    assert kept == head * (1 if name == "sgd" else 2)


@pytest.mark.slow
def test_a_probe_has_the_gradient_of_the_whole_network():
    """With evaluation's batch statistics, freezing does not change the last layer's gradient."""
    probe = states(small_config(model__norm="none", optim__backbone_rate=0.0), count=1)[-1]
    whole = states(small_config(model__norm="none"), count=1)[-1]
    assert_trees(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        probe.params["classes"],
        whole.params["classes"],
    )


@pytest.mark.slow
def test_backbone_rate_scales_all_layers_but_the_last():
    slow = states(small_config(optim__backbone_rate=0.1, optim__weight_decay=0.01), count=1)
    fast = states(small_config(optim__weight_decay=0.01), count=1)
    moved = [
        jax.tree.map(lambda after, before: after - before, found[1].params, found[0].params)
        for found in (slow, fast)
    ]
    assert_trees(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        moved[0]["classes"],
        moved[1]["classes"],
    )
    assert_trees(
        lambda a, b: np.testing.assert_allclose(a, 0.1 * b, atol=1e-6),
        moved[0]["layer1"],
        moved[1]["layer1"],
    )
    assert np.abs(moved[0]["layer1"]["conv"]["kernel"]).max() > 1e-4


def test_balanced_class_weights_sum_alike_per_class():
    labels_N = np.array([0] * 12 + [1] * 3 + [2])
    weights = steps.balanced_weights(labels_N, 3)
    sums = np.bincount(labels_N, weights=np.array(weights)[labels_N])
    np.testing.assert_allclose(sums, 16 / 3)
    logits = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    targets = steps.smooth_targets(labels_N, 3)
    plain, weighted = (steps.cross_entropy(logits, targets, w) for w in (None, weights))
    np.testing.assert_allclose(weighted, plain * np.array(weights)[labels_N], rtol=1e-5)


@pytest.mark.slow
def test_class_weights_change_the_loss():
    plain = states(small_config(), count=1)[-1]
    same = states(small_config(), count=1, class_weights_K=(1.0, 1.0, 1.0))[-1]
    other = states(small_config(), count=1, class_weights_K=(3.0, 0.0, 0.0))[-1]
    assert_trees(np.testing.assert_array_equal, plain.params, same.params)
    bias = "classes"
    assert not np.allclose(plain.params[bias]["bias"], other.params[bias]["bias"], atol=1e-4)


RECIPE = {
    "data.size": "16",
    "model.features": "4",
    "model.dropout": "0.3",
    "augment.crop": "resized",
    "augment.mixup": "0.4",
    "augment.cutmix": "1.0",
    "augment.flip": "off",
    "optim.name": "adamw",
    "optim.schedule": "constant",
    "optim.warmup": "2 steps",
    "optim.clip_norm": "1.0",
    "optim.label_smoothing": "0.1",
    "optim.class_weights": "balanced",
    "optim.weight_decay": "0.01",
    "optim.ema": "0.9",
    "train.balance_classes": "true",
    "train.batch_size": "16",
    "eval.batch_size": "8",
}


def train(workdir, epochs: int, **more: str):
    overrides = RECIPE | {"train.epochs": str(epochs)} | more
    config = configs.load("configs/demo.py:smoke", overrides.items())
    assert loop.train(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def unbroken(once):
    return once("recipe", lambda workdir: train(workdir, 3))


# As for users: optimized in another way, the average of frozen weights is rounded in another way.
@pytest.mark.optimized
@pytest.mark.slow
def test_a_run_with_every_option_resumes_exactly(unbroken, tmp_path, assert_same_run):
    train(tmp_path / "run", 1)
    train(tmp_path / "run", 3)
    assert_same_run(tmp_path / "run", unbroken)


@pytest.mark.optimized
@pytest.mark.slow
@pytest.mark.parametrize("rate", ["0", "0.5"])
def test_runs_initialised_from_a_workdir_resume_exactly(
    rate, unbroken, tmp_path, capfd, assert_same_run
):
    probe = {"optim.backbone_rate": rate, "model.init_from": str(unbroken)}
    train(tmp_path / "whole", 2, **probe)
    said = capfd.readouterr().err
    assert f"starting from step {checkpoint.resolve(unbroken)} of {unbroken}" in said
    train(tmp_path / "run", 1, **probe)
    train(tmp_path / "run", 2, **probe)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    step = checkpoint.resolve(tmp_path / "whole", "latest")
    after, meta = checkpoint.restore_weights(tmp_path / "whole", step)
    before, source = checkpoint.restore_weights(unbroken, checkpoint.resolve(unbroken))
    if rate == "0":
        assert_trees(
            np.testing.assert_allclose, after["params"]["layer1"], before["params"]["layer1"]
        )
    assert set(source["training_videos"].values()) <= set(meta["training_videos"].values())


def test_stochastic_depth_needs_residual_blocks():
    model = configs.default().model
    model.stochastic_depth = 0.2
    for name in models.NAMES:
        model.name = name
        if name in ("conv3d", "c3d", "s3d"):
            with pytest.raises(UserError, match=f"skips residual blocks, and {name} has none"):
                models.build(model, 5)
        else:
            assert models.build(model, 5).stochastic_depth == 0.2

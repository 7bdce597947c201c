"""The step is right on any number of devices, repeats bit for bit, and stops at a bad number."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from vid3d import config as configs, models, parallel
from vid3d.errors import UserError
from vid3d.training import optim, steps
from vid3d.training.running_sums import BadNumberError, TrainingProgress, check_sums
from vid3d.training.state import create

pytestmark = pytest.mark.usefixtures("library_form")

CLASSES, FRAMES, SIZE = 3, 4, 12


def small_config(**overrides):
    c = configs.default()
    c.data.num_frames, c.data.size = FRAMES, SIZE
    c.model.features, c.model.hidden = (6,), 8
    c.model.dropout = c.model.feature_dropout = 0.0
    for key, value in overrides.items():
        group, name = key.split("__")
        c[group][name] = value
    return c


def batch_of(size: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "clips_BTHWC": rng.integers(0, 256, (size, FRAMES, SIZE, SIZE, 3), dtype=np.uint8),
        "labels_B": rng.integers(0, CLASSES, size).astype(np.int32),
        "mask_B": np.ones(size, np.float32),
        "index_B": np.arange(size, dtype=np.int32),
        "round_B": np.zeros(size, np.int32),
    }


def build(config, *, devices: int, seed: int = 0):
    """The mapped step, and the state before the first; `seed` is that of the draws alone."""
    model = models.build(config.model, CLASSES, axis_name=parallel.AXIS)
    optimizer = optim.build(config.optim, lambda _: config.optim.learning_rate)
    state = create(model, optimizer, seed=config.seed, clip_shape=(FRAMES, SIZE, SIZE, 3))
    drawn = config.copy_and_resolve_references()
    drawn.seed = seed
    step = jax.pmap(
        steps.build_train_step(model, optimizer, drawn, flip=True, axis_name=parallel.AXIS),
        axis_name=parallel.AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        devices=jax.devices()[:devices],
    )
    return step, state


def run_steps(config, batches, *, devices: int, seed: int = 0):
    """The losses and the state of a training on some devices, see `build`."""
    step, state = build(config, devices=devices, seed=seed)
    losses = []
    for batch in batches:
        shards = {k: x.reshape(devices, -1, *x.shape[1:]) for k, x in batch.items()}
        state, sums = step(state, shards)
        losses.append(float(sums["loss"]))
    return losses, state


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_any_number_of_devices_gives_the_same_losses(devices):
    config = small_config(augment__brightness=0.2)
    batches = [batch_of(seed=s) for s in range(3)]
    one, state_one = run_steps(config, batches, devices=1)
    many, state_many = run_steps(config, batches, devices=devices)
    np.testing.assert_allclose(many, one, rtol=1e-5)
    for a, b in zip(
        jax.tree.leaves(state_one.params), jax.tree.leaves(state_many.params), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_batch_statistics_are_those_of_the_global_batch():
    config = small_config(model__norm="batch", model__head="average")
    _, one = run_steps(config, [batch_of()], devices=1)
    _, four = run_steps(config, [batch_of()], devices=4)
    for a, b in zip(
        jax.tree.leaves(one.batch_stats), jax.tree.leaves(four.batch_stats), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        shards = [np.asarray(shard.data) for shard in b.addressable_shards]
        assert len(shards) == 4
        for shard in shards[1:]:
            np.testing.assert_array_equal(shard, shards[0])


@pytest.mark.slow
def test_running_statistics_of_a_short_run_hold_nothing_of_where_they_began():
    """They weigh each step by its age; those that come with other weights go on."""
    config = small_config(
        model__norm="batch", model__head="average", model__norm_momentum=0.75,
        optim__learning_rate=0.0,
    )  # fmt: skip
    step, first = build(config, devices=1)
    shards = [{key: x[None] for key, x in batch_of(seed=k).items()} for k in range(5)]

    def statistics(state) -> np.ndarray:
        return np.concatenate([np.asarray(x).ravel() for x in jax.tree.leaves(state.batch_stats)])

    own = [statistics(step(first, shard)[0]) for shard in shards]  # of each batch alone
    assert np.abs(own[0] - own[1]).max() > 1e-3
    found, state = [], first
    for shard in shards:
        state, _ = step(state, shard)
        found.append(statistics(state))
    for count in range(1, 6):
        mean = np.average(own[:count], axis=0, weights=0.75 ** np.arange(count)[::-1])
        np.testing.assert_allclose(found[count - 1], mean, rtol=1e-4)

    config.model.init_from = "runs/other"
    step, first = build(config, devices=1)
    onward = statistics(step(first, shards[0])[0])
    np.testing.assert_allclose(onward, 0.75 * statistics(first) + 0.25 * own[0], rtol=1e-4)


def test_dropout_repeats_with_the_seed():
    config = small_config(model__dropout=0.5)
    first, state = run_steps(config, [batch_of()] * 2, devices=2)
    second, again = run_steps(config, [batch_of()] * 2, devices=2)
    assert first == second
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(again.params), strict=True):
        np.testing.assert_array_equal(a, b)


def still(**overrides):
    """A config whose weights never change: what differs between two steps is drawn anew."""
    return small_config(optim__name="sgd", optim__learning_rate=0.0, **overrides)


def one_clip(times: int = 1) -> dict[str, np.ndarray]:
    return {name: np.repeat(x[:1], times, axis=0) for name, x in batch_of().items()}


@pytest.mark.slow
def test_dropout_differs_by_step_seed_and_device():
    config = still(model__dropout=0.5, model__hidden=64)
    losses, _ = run_steps(config, [one_clip()] * 3, devices=1)
    assert len(set(losses)) == 3
    (two,), _ = run_steps(config, [one_clip(2)], devices=2)
    assert two != pytest.approx(2 * losses[0], rel=1e-4)  # the first device draws what one does
    other, _ = run_steps(config, [one_clip()] * 3, devices=1, seed=1)
    assert not set(losses) & set(other)
    calm, _ = run_steps(still(model__hidden=64), [one_clip()] * 3, devices=1)
    assert len(set(calm)) == 1


@pytest.mark.slow
def test_augmentation_differs_by_round_video_and_seed():
    config = still(augment__brightness=0.4)
    clip = one_clip()
    later = clip | {"round_B": clip["round_B"] + 1}
    other = clip | {"index_B": clip["index_B"] + 1}
    (first, again, second, third), _ = run_steps(config, [clip, clip, later, other], devices=1)
    assert first == again and len({first, second, third}) == 3
    assert run_steps(config, [clip], devices=1, seed=1)[0][0] != first


@pytest.mark.slow
def test_masked_clips_do_not_count():
    config = small_config(optim__name="sgd")
    batch = batch_of(8)
    half = {name: x[:4] for name, x in batch.items()}
    batch["mask_B"][4:] = 0
    padded, state_padded = run_steps(config, [batch], devices=2)
    plain, state_plain = run_steps(config, [half], devices=2)
    np.testing.assert_allclose(padded, plain, rtol=1e-6)
    for a, b in zip(
        jax.tree.leaves(state_padded.params), jax.tree.leaves(state_plain.params), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_accumulating_two_batches_equals_one_large_batch():
    batch = batch_of(8)
    halves = [{name: x[i : i + 4] for name, x in batch.items()} for i in (0, 4)]
    _, whole = run_steps(small_config(optim__name="sgd"), [batch], devices=1)
    _, summed = run_steps(small_config(optim__name="sgd", optim__accumulate=2), halves, devices=1)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(summed.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_weight_decay_leaves_out_biases_and_scales():
    config = small_config(optim__name="adamw", optim__weight_decay=0.5, optim__learning_rate=1.0)
    params = {"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)}
    optimizer = optim.build(config.optim, lambda _: 1.0)
    zeros = jax.tree.map(np.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.5)
    np.testing.assert_allclose(updates["bias"], 0.0)


def test_learning_rate_warms_up_and_decays_to_zero():
    config = small_config(
        optim__schedule="cosine", optim__warmup="2 epochs", optim__learning_rate=0.1
    )
    rate = optim.learning_rate(config.optim, total_steps=100, steps_per_epoch=10, batch_size=8)
    assert float(rate(0)) == 0.0
    np.testing.assert_allclose(float(rate(10)), 0.05, rtol=1e-6)
    np.testing.assert_allclose(float(rate(20)), 0.1, rtol=1e-6)
    np.testing.assert_allclose(float(rate(60)), 0.05, rtol=1e-5)
    np.testing.assert_allclose(float(rate(100)), 0.0, atol=1e-9)
    config.optim.accumulate = 4  # the rate is that of an update, every fourth step
    rate = optim.learning_rate(config.optim, total_steps=100, steps_per_epoch=10, batch_size=8)
    found = [float(rate(update)) for update in (0, 4, 5, 15, 25)]
    np.testing.assert_allclose(found, [0, 0.08, 0.1, 0.05, 0], atol=1e-8)


def test_a_warm_up_longer_than_the_training_is_refused():
    config = small_config(optim__warmup="200 steps")
    with pytest.raises(UserError, match="not shorter than the training, 100 steps"):
        optim.learning_rate(config.optim, total_steps=100, steps_per_epoch=10, batch_size=8)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_number_names_step_culprit_and_videos(bad):
    config = small_config()
    model = models.build(config.model, CLASSES)
    state = create(
        model, optim.build(config.optim, lambda _: 1e-3), seed=0, clip_shape=(FRAMES, SIZE, SIZE, 3)
    )
    leaves = len(jax.tree.leaves(state.params))
    fine = np.ones(leaves, bool)
    good = {"loss": 1.0, "finite_gradient_L": fine, "finite_params_L": fine}
    check_sums(6, good, params=state.params, videos=["a.avi"])
    first_is_not = fine.copy()
    first_is_not[0] = False
    for what, words in (("gradient", "the gradient of"), ("params", "the new value of")):
        with pytest.raises(BadNumberError, match=rf"step 7: {words} .*bias.* a\.avi, b\.avi"):
            sums = good | {f"finite_{what}_L": first_is_not}
            check_sums(7, sums, params=state.params, videos=["a.avi", "b.avi"])
    with pytest.raises(BadNumberError, match="step 8: the loss is not finite") as caught:
        check_sums(8, good | {"loss": bad}, params=state.params, videos=["a.avi"])
    # There may be none yet.
    assert "No checkpoint has it" in str(caught.value) and "last" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_number_in_an_array_is_found(bad):
    tree = {"a": np.ones((3, 4), np.float32), "b": np.ones(1000, np.float32)}
    assert np.asarray(steps.all_finite(tree)).all()
    tree["b"][777] = bad
    assert np.asarray(jax.jit(steps.all_finite)(tree)).tolist() == [True, False]


@pytest.mark.slow
def test_the_step_reports_a_gradient_that_overflows():
    config = small_config(optim__learning_rate=1e30, optim__name="sgd")
    config.model.dropout = 0.0
    model = models.build(config.model, CLASSES, axis_name=parallel.AXIS)
    optimizer = optim.build(config.optim, lambda _: 1e30)
    state = create(model, optimizer, seed=0, clip_shape=(FRAMES, SIZE, SIZE, 3))
    step = parallel.map_step(
        steps.build_train_step(model, optimizer, config, flip=True, axis_name=parallel.AXIS)
    )
    state = parallel.replicate(state)
    with pytest.raises(BadNumberError):
        for number in range(1, 6):
            state, sums = step(state, parallel.shard(batch_of()))
            check_sums(number, jax.device_get(sums), params=state.params, videos=[])


def test_progress_averages_and_stops_early():
    progress = TrainingProgress()
    progress.add({"loss": 8.0, "correct": 2, "count": 4})
    progress.add({"loss": 4.0, "correct": 4, "count": 4})
    assert progress.averages() == {"loss": 1.5, "accuracy": 0.75}
    assert progress.evaluated({"accuracy": 0.5, "loss": 1.0})
    assert progress.averages() == {"loss": 0.0, "accuracy": 0.0}
    assert not progress.evaluated({"accuracy": 0.5, "loss": 1.1})
    assert not progress.exhausted(2)
    assert not progress.evaluated({"accuracy": 0.4, "loss": 0.1})
    assert progress.exhausted(2)
    assert not progress.exhausted(0)
    assert progress.evaluated({"accuracy": 0.5, "loss": 0.9})


def test_an_indivisible_batch_size_names_divisible_ones():
    with pytest.raises(
        UserError, match=r"train\.batch_size=12 cannot be divided by 8 devices: take 8 or 16"
    ):
        parallel.check_batch_size(12, "train.batch_size")
    parallel.check_batch_size(16, "train.batch_size")


def test_smoothing_spreads_a_share_of_the_label():
    found = steps.smooth_targets(np.array([2, 0]), 4, 0.2)
    expected = [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)

"""The plain 3D-CNN equals the same network in Keras, and its options do what they say."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vid3d import config, errors, models
from vid3d.models.layers import FAINT_EDGE, SLOW, batch_norm, group_norm, input_form
from vid3d.ops import convolution

CLASSES = 5


def network(num_classes: int = CLASSES, **changes):
    model = config.default().model
    model.update(changes)
    return models.build(model, num_classes)


def clips(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def initialised(module, x, seed: int = 0):
    """Variables, which no form of convolution changes: the library's compiles faster."""
    with convolution.library_form():
        return jax.jit(lambda k, x: module.init(k, x, train=False))(jax.random.key(seed), x)


def evaluate(module, variables, x) -> np.ndarray:
    return np.asarray(jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, x))


SMALL = dict(features=(8, 16), hidden=12)


def keras_network(features: tuple[int, ...], shape: tuple[int, ...]):
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    keras = pytest.importorskip("keras")
    layers = [keras.Input(shape)]
    for width in features:
        layers.append(keras.layers.Conv3D(width, 3, padding="same", activation="relu"))
        layers.append(keras.layers.MaxPooling3D(3, padding="same"))
    layers += [
        keras.layers.Flatten(),
        keras.layers.Dropout(0.25),
        keras.layers.Dense(1024, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(CLASSES, activation="softmax"),
    ]
    return keras.Sequential(layers)


def keras_parameters(keras_module) -> dict:
    """The variables of the Keras network, in the layout of ours: both keep THWIO kernels."""
    dense = ["hidden", "classes"]
    parameters: dict = {}
    for layer in keras_module.layers:
        if not layer.weights:
            continue
        kernel, bias = (jnp.array(w) for w in layer.get_weights())
        if kernel.ndim == 5:
            parameters[f"layer{len(parameters) + 1}"] = {"conv": {"kernel": kernel, "bias": bias}}
        else:
            parameters[dense.pop(0)] = {"kernel": kernel, "bias": bias}
    return parameters


@pytest.mark.optimized
@pytest.mark.slow
def test_logits_and_one_adam_step_equal_the_tutorials_network_in_keras():
    features = (128, 64, 32, 32, 32)
    x = clips(2, 10, 32, 32, 3)
    labels = np.array([3, 1])
    pytest.importorskip("keras").utils.set_random_seed(0)
    reference = keras_network(features, x.shape[1:])
    before = keras_parameters(reference)
    module = network(dropout=0.0, feature_dropout=0.0)
    ours = models.shapes(module, x.shape[1:])["params"]
    assert jax.tree.map(jnp.shape, before) == jax.tree.map(lambda leaf: leaf.shape, ours)

    logits = evaluate(module, {"params": before}, x)
    probabilities = reference(x, training=False).numpy()
    np.testing.assert_allclose(jax.nn.softmax(logits), probabilities, atol=1e-5)
    log_ratios = np.log(probabilities) - np.log(probabilities[:, :1])
    np.testing.assert_allclose(logits - logits[:, :1], log_ratios, atol=1e-4)

    import keras

    def loss(parameters):
        logits = module.apply({"params": parameters}, x, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    gradient = jax.jit(jax.grad(loss))(before)
    with convolution.library_form():
        exact = jax.jit(lambda parameters: jax.grad(loss)(parameters))(before)
    compare = partial(np.testing.assert_allclose, rtol=0, atol=1e-7)
    jax.tree.map(compare, gradient, exact)

    # The gradient goes to Keras's Adam, too: TensorFlow's own, in float32, is 4e-5 off on some
    # processors, 5% of its largest value, where ours is within 2e-9 of the one in float64.
    layers = [gradient[name].get("conv", gradient[name]) for name in before]
    gradients = [np.asarray(layer[name]) for layer in layers for name in ("kernel", "bias")]
    keras.optimizers.Adam(1e-3).apply(gradients, reference.trainable_variables)
    # Keras adds epsilon (1e-7) to the root of the second moment before bias correction, optax after
    # it: in the first step that is 1e-7 / sqrt(1 - 0.999).
    adam = optax.adam(1e-3, eps=1e-7 / np.sqrt(1 - 0.999))
    updates, _ = adam.update(gradient, adam.init(before))
    after = optax.apply_updates(before, updates)
    expected = keras_parameters(reference)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, expected)
    assert min(jax.tree.leaves(moved)) > 0
    jax.tree.map(compare, after, expected)


@pytest.mark.slow
def test_initialisation_is_glorot_without_norm_and_he_with():
    x = clips(1, 4, 8, 8, 3)
    parameters = initialised(network(features=(64, 64)), x)["params"]
    kernel, bias = parameters["layer2"]["conv"]["kernel"], parameters["layer2"]["conv"]["bias"]
    limit = np.sqrt(6 / (27 * 64 + 27 * 64))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    assert not np.any(bias)
    kernel = initialised(network(features=(64, 64), norm="batch"), x)["params"]["layer2"]["conv"][
        "kernel"
    ]
    np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / (27 * 64)), rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "head", "form"),
    [
        ("none", "flatten", "frames"),
        ("none", "average", "both"),
        ("batch", "time_average", "difference"),
        ("batch", "average", "difference"),
        ("group", "flatten", "both"),
        ("group", "time_average", "frames"),
        ("batch", "statistics", "speed"),
        ("batch", "statistics", "log_speed"),
    ],
)
def test_every_option_gives_finite_logits_on_odd_sizes(norm, head, form):
    x = clips(2, 5, 13, 9, 3)
    module = network(norm=norm, head=head, input=form, **SMALL)
    logits = evaluate(module, initialised(module, x), x)
    assert logits.shape == (2, CLASSES)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (2, 1, 20, 30, 3), (1, 31, 7, 7, 1)])
def test_any_clip_shape_gives_logits(shape):
    x = clips(*shape)
    module = network(**SMALL)
    assert evaluate(module, initialised(module, x), x).shape == (shape[0], CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_bfloat16_is_close_and_keeps_float32_parameters(norm):
    x = clips(2, 6, 16, 16, 3)
    exact, coarse = network(norm=norm, **SMALL), network(norm=norm, dtype="bfloat16", **SMALL)
    variables = initialised(coarse, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    stage = models.features(coarse, variables, x)["stage1"]
    assert stage.dtype == jnp.bfloat16
    logits = evaluate(coarse, variables, x)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, evaluate(exact, variables, x), atol=0.05)


@pytest.mark.usefixtures("library_form")
def test_batch_norm_updates_statistics_in_training_only():
    x = 5 + 3 * clips(4, 6, 12, 12, 3)
    module = network(norm="batch", dropout=0.0, feature_dropout=0.0, **SMALL)
    variables = initialised(module, x)
    train = jax.jit(lambda v: module.apply(v, x, train=True, mutable=["batch_stats"]))
    first, state = train(variables)
    moved = state["batch_stats"]["layer1"]["norm"]["mean"]
    assert np.abs(moved).max() > 0.01
    for _ in range(80):
        _, state = train({**variables, **state})
    settled = evaluate(module, {**variables, **state}, x)
    np.testing.assert_allclose(settled, first, atol=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("library_form")
def test_group_norm_ignores_the_other_clips():
    x = clips(3, 6, 12, 12, 3)
    module = network(norm="group", **SMALL)
    variables = initialised(module, x)
    together = evaluate(module, variables, x)
    alone = evaluate(module, variables, x[1:2])
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


@pytest.mark.slow
def test_batch_norm_over_a_mapped_axis_equals_the_whole_batch():
    x = clips(4, 6, 12, 12, 3)
    model = config.default().model
    model.update(norm="batch", dropout=0.0, feature_dropout=0.0, **SMALL)
    alone = models.build(model, CLASSES)
    mapped = models.build(model, CLASSES, axis_name="batch")
    variables = initialised(alone, x)

    @jax.jit
    def both(variables, x):
        whole = alone.apply(variables, x, train=True, mutable=["batch_stats"])
        halves = jax.vmap(
            lambda half: mapped.apply(variables, half, train=True, mutable=["batch_stats"]),
            axis_name="batch",
        )(x.reshape(2, 2, *x.shape[1:]))
        return whole, halves

    (whole, whole_state), (halves, state) = both(variables, x)
    np.testing.assert_allclose(halves.reshape(whole.shape), whole, atol=1e-4)
    jax.tree.map(
        lambda both, one: np.testing.assert_allclose(both, np.stack([one, one]), atol=1e-5),
        state,
        whole_state,
    )


@pytest.mark.usefixtures("library_form")
def test_difference_is_zero_without_motion():
    still = np.repeat(clips(1, 1, 12, 12, 3), 6, axis=1)
    module = network(input="difference", **SMALL)
    variables = initialised(module, still)
    logits = evaluate(module, variables, still)
    np.testing.assert_array_equal(logits, evaluate(module, variables, 0 * still))
    module = network(input="both", **SMALL)
    assert initialised(module, still)["params"]["layer1"]["conv"]["kernel"].shape[3] == 6


def moving_slope(*, steepness, speed, acceleration=0.0):
    """A brightness that rises evenly to the right and moves there, float32 [1, 8, 6, 16, 1]."""
    t, x = np.arange(8.0)[:, None], np.arange(16.0)
    rows = steepness * (x - speed * t - acceleration / 2 * t**2)
    return np.broadcast_to(rows[None, :, None, :, None], (1, 8, 6, 16, 1)).astype(np.float32)


@pytest.mark.parametrize("steepness", [0.6, -0.9])
def test_edge_speed_is_independent_of_contrast(steepness):
    steady = input_form(moving_slope(steepness=steepness, speed=0.5), "speed")
    assert steady.shape == (1, 6, 6, 16, 2)
    inside = steady[:, :, :, 1:-1]  # at the border half of the gradient is missing
    np.testing.assert_allclose(inside[..., 0], 0.5, rtol=0.01)
    np.testing.assert_allclose(inside[..., 1], 0, atol=1e-4)
    faster = moving_slope(steepness=steepness, speed=0.5, acceleration=0.25)
    np.testing.assert_allclose(
        input_form(faster, "speed")[:, :, :, 1:-1, 1], 0.25, rtol=0.01, atol=1e-4
    )
    still = np.repeat(clips(1, 1, 12, 12, 3), 6, axis=1)
    assert not input_form(still, "speed").any()
    assert not input_form(still, "log_speed").any()
    noise = 0.01 * clips(1, 6, 12, 12, 3)  # on flat ground
    assert input_form(noise, "speed")[..., :3].max() < 0.01 / FAINT_EDGE


def test_log_speed_adds_a_constant_per_doubling():
    rates = 0.25, 0.5, 1.0
    slow, middle, fast = (
        input_form(moving_slope(steepness=0.6, speed=rate), "log_speed")[0, 0, 0, 5, 0]
        for rate in rates
    )
    np.testing.assert_allclose(np.expm1([slow, middle, fast]) * SLOW, rates, rtol=0.02)
    np.testing.assert_allclose(fast - middle, np.log(2), rtol=0.15)
    np.testing.assert_allclose(middle - slow, np.log(2), rtol=0.25)


@pytest.mark.slow
@pytest.mark.usefixtures("library_form")
def test_statistics_head_uses_every_layer():
    x = clips(2, 6, 20, 20, 3)
    module = network(norm="batch", head="statistics", dropout=0.0, features=(8, 16), hidden=0)
    variables = initialised(module, x)
    maps = jax.jit(lambda v: models.features(module, v, x))(variables)
    expected = np.concatenate(
        [f(maps[stage], (1, 2, 3)) for stage in ("stage1", "stage2") for f in (np.mean, np.std)], 1
    )
    classes = variables["params"]["classes"]
    assert classes["kernel"].shape == (2 * (8 + 16), CLASSES)
    logits = evaluate(module, variables, x)
    np.testing.assert_allclose(logits, expected @ classes["kernel"], rtol=1e-3, atol=1e-3)

    def loss(params):
        return module.apply(variables | {"params": params}, 0 * x, train=False).sum()

    gradient = jax.jit(jax.grad(loss))(variables["params"])  # no layer's map varies at all
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_frames_only_network_ignores_frame_order():
    x = clips(1, 6, 20, 20, 3)
    module = network(kernel=(1, 3, 3), pool=(1, 3, 3), head="time_average", **SMALL)
    variables = initialised(module, x)
    logits = evaluate(module, variables, x)
    np.testing.assert_allclose(logits, evaluate(module, variables, x[:, ::-1]), atol=1e-5)
    tutorial = network(**SMALL)
    variables = initialised(tutorial, x)
    logits = evaluate(tutorial, variables, x)
    assert np.abs(logits - evaluate(tutorial, variables, x[:, ::-1])).max() > 1e-4


def test_dropout_follows_its_key_in_training_only():
    x = clips(2, 6, 12, 12, 3)
    module = network(**SMALL)
    variables = initialised(module, x)

    @jax.jit
    def train(seed):
        return module.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)})

    np.testing.assert_array_equal(train(1), train(1))
    assert np.abs(train(1) - train(2)).max() > 0
    np.testing.assert_array_equal(evaluate(module, variables, x), evaluate(module, variables, x))


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_remat_keeps_parameter_names_and_gradients(norm):
    x = clips(2, 6, 12, 12, 3)
    stored = network(norm=norm, dropout=0.0, feature_dropout=0.0, **SMALL)
    again = network(norm=norm, dropout=0.0, feature_dropout=0.0, remat=True, **SMALL)
    variables = initialised(stored, x)
    assert jax.tree.structure(variables) == jax.tree.structure(initialised(again, x))

    def gradient(module):
        def loss(params):
            logits, _ = module.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return jnp.square(logits).sum()

        return jax.jit(jax.grad(loss))(variables["params"])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        gradient(stored),
        gradient(again),
    )


def test_features_returns_every_stage():
    x = clips(2, 10, 32, 32, 3)
    module = network(features=(8, 16, 4))
    with convolution.library_form():
        variables = models.shapes(module, x.shape[1:])
        stages = jax.eval_shape(lambda v: models.features(module, v, x), variables)
    assert {name: stage.shape for name, stage in stages.items()} == {
        "stage1": (2, 4, 11, 11, 8),
        "stage2": (2, 2, 4, 4, 16),
        "stage3": (2, 1, 2, 2, 4),
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "conv3"}, "did you mean 'conv3d'"),
        ({"norm": "bach"}, "did you mean 'batch'"),
        ({"head": "mean"}, "flatten, average, time_average, statistics"),
        ({"input": "flow"}, "frames, difference, both, speed"),
    ],
)
def test_wrong_choices_raise_a_clear_error(changes, words):
    with pytest.raises(errors.UserError, match=words):
        network(**changes)


@pytest.mark.parametrize(
    ("form", "fewest"), [("difference", 2), ("both", 2), ("speed", 3), ("log_speed", 3)]
)
def test_too_few_frames_for_a_difference_raise(form, fewest):
    with pytest.raises(errors.UserError, match=f"at least {fewest}"):
        initialised(network(input=form), clips(1, fewest - 1, 8, 8, 3))
    initialised(network(input=form, **SMALL), clips(1, fewest, 8, 8, 3))


def test_both_is_the_later_frame_and_its_difference():
    x = clips(1, 4, 3, 5, 2)
    found = np.asarray(input_form(x, "both"))
    np.testing.assert_array_equal(found[..., :2], x[:, 1:])
    np.testing.assert_allclose(found[..., 2:], np.abs(np.diff(x, axis=1)), rtol=1e-6)


@pytest.mark.parametrize("name", ["dropout", "feature_dropout"])
@pytest.mark.usefixtures("library_form")
def test_each_dropout_acts_in_training(name):
    x = clips(2, 2, 6, 6, 1)
    rates = {"dropout": 0.0, "feature_dropout": 0.0} | {name: 0.5}
    module = network(**SMALL, **rates)
    variables = initialised(module, x)
    one, two = (
        module.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)})
        for seed in (1, 2)
    )
    assert np.abs(one - two).max() > 0


def test_norms_have_their_documented_constants():
    """On values so small that epsilon counts, in groups of 16 channels."""
    x = 0.003 * np.random.default_rng(0).normal(size=(2, 3, 4, 4, 32)).astype(np.float32)

    def normalised(module) -> np.ndarray:
        variables = module.init(jax.random.key(0), x)
        return module.apply(variables, x, mutable=["batch_stats"])[0]

    def expected(x, axes) -> np.ndarray:
        mean, variance = (f(x, axis=axes, keepdims=True) for f in (np.mean, np.var))
        return (x - mean) / np.sqrt(variance + 1e-5)

    options = {"train": True, "axis_name": None, "dtype": jnp.float32}
    batch = normalised(batch_norm(**options, momentum=0.9)())
    np.testing.assert_allclose(batch, expected(x, (0, 1, 2, 3)), atol=1e-4)
    grouped = expected(x.reshape(2, 3, 4, 4, 2, 16), (1, 2, 3, 5)).reshape(x.shape)
    np.testing.assert_allclose(normalised(group_norm(32, dtype=jnp.float32)), grouped, atol=1e-4)

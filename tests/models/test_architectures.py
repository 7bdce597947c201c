"""The published architectures: sizes, shapes and counts of the papers, and shared options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vid3d import config, errors, models, schema
from vid3d.models import summary
from vid3d.models.layers import drop_path, drop_rates

pytestmark = pytest.mark.slow


def described(name: str, frames: int, size: int, **changes):
    c = config.default()
    c.model.name = name
    c.model.update(changes)
    c.data.num_frames, c.data.size = frames, size
    return c


def build(name: str, *, num_classes: int = 6, axis_name: str | None = None, **changes):
    return models.build(described(name, 1, 1, **changes).model, num_classes, axis_name=axis_name)


def variable_shapes(module, *shape: int):
    return models.shapes(module, (*shape, 3))


# For what does not depend on the form of the convolutions: XLA's own traces and compiles faster.
in_library_form = pytest.mark.usefixtures("library_form")


@pytest.mark.parametrize("name", ["c3d", "r2plus1d_18", "s3d", "x3d_xs", "slowfast_r50"])
def test_shapes_equal_those_of_the_cpu_algorithms(name):
    module = build(name)
    clips = jax.ShapeDtypeStruct((1, 8, 24, 24, 3), jnp.float32)
    initialised = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), clips)
    assert models.shapes(module, (8, 24, 24, 3)) == initialised


def random_like(tree, seed: int = 0):
    """Random values for shapes, scaled as at initialisation: faster than tracing that."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        if name != "kernel":
            return np.zeros(leaf.shape, np.float32)
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        return (rng.normal(size=leaf.shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    return jax.tree.map_with_path(draw, tree)


# Frames, size, classes, parameters and multiply-adds (in units of 1e9) per clip, and their source.
PUBLISHED = {
    # MMAction2 model zoo; parameters are the sum over figure 3 of the paper
    "c3d": (16, 112, 101, 78_409_573, 38.5),
    # torchvision, NAME_Weights.meta
    "r3d_18": (16, 112, 400, 33_371_472, 40.697),
    "mc3_18": (16, 112, 400, 11_695_440, 43.343),
    "r2plus1d_18": (16, 112, 400, 31_505_325, 40.519),
    # Feichtenhofer et al. 2019 (SlowFast), table 2; parameters of torchvision's VideoResNet
    "r2plus1d_34": (32, 112, 400, 61_831_661, 152.0),
    # torchvision, S3D_Weights.meta
    "s3d": (16, 224, 400, 8_320_048, 17.979),
    # Feichtenhofer 2020 (X3D), table 2; parameters of pytorchvideo's model
    "x3d_xs": (4, 160, 400, 3_794_274, 0.60),
    "x3d_s": (13, 160, 400, 3_794_274, 1.96),
    "x3d_m": (16, 224, 400, 3_794_274, 4.73),
    # PySlowFast model zoo; parameters of pytorchvideo's models
    "slow_r50": (8, 256, 400, 32_454_096, 54.5),
    "slowfast_r50": (32, 256, 400, 34_480_216, 36.1),
    "slowfast_r50_8x8": (32, 256, 400, 34_566_488, 65.7),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_flops_equal_the_published_ones(name):
    frames, size, classes, parameters, multiply_adds = PUBLISHED[name]
    table = summary.summarise(described(name, frames, size), num_classes=classes)
    assert table.parameters == parameters
    assert table.flops / 2e9 == pytest.approx(multiply_adds, rel=0.02)


# Output of every stage, (T, H, W, C), from the tables of the papers.
STAGES = {
    ("c3d", 16, 112): {
        "stage1": (16, 56, 56, 64),
        "stage2": (8, 28, 28, 128),
        "stage3": (4, 14, 14, 256),
        "stage4": (2, 7, 7, 512),
        "stage5": (1, 4, 4, 512),
    },
    ("r3d_34", 16, 112): {
        "stem": (16, 56, 56, 64),
        "stage1": (16, 56, 56, 64),
        "stage2": (8, 28, 28, 128),
        "stage3": (4, 14, 14, 256),
        "stage4": (2, 7, 7, 512),
    },
    ("mc3_18", 16, 112): {
        "stem": (16, 56, 56, 64),
        "stage1": (16, 56, 56, 64),
        "stage2": (16, 28, 28, 128),
        "stage3": (16, 14, 14, 256),
        "stage4": (16, 7, 7, 512),
    },
    ("r2plus1d_34", 8, 112): {
        "stem": (8, 56, 56, 64),
        "stage1": (8, 56, 56, 64),
        "stage2": (4, 28, 28, 128),
        "stage3": (2, 14, 14, 256),
        "stage4": (1, 7, 7, 512),
    },
    ("s3d", 64, 224): {
        "stem": (32, 112, 112, 64),
        "stage1": (32, 56, 56, 192),
        "stage2": (32, 28, 28, 480),
        "stage3": (16, 14, 14, 832),
        "stage4": (8, 7, 7, 1024),
    },
    ("x3d_m", 16, 224): {
        "stem": (16, 112, 112, 24),
        "stage1": (16, 56, 56, 24),
        "stage2": (16, 28, 28, 48),
        "stage3": (16, 14, 14, 96),
        "stage4": (16, 7, 7, 192),
    },
    ("slow_r50", 8, 224): {
        "stem": (8, 56, 56, 64),
        "stage1": (8, 56, 56, 256),
        "stage2": (8, 28, 28, 512),
        "stage3": (8, 14, 14, 1024),
        "stage4": (8, 7, 7, 2048),
    },
    ("slowfast_r50", 32, 224): {
        "stem": (4, 56, 56, 64),
        "stage1": (4, 56, 56, 256),
        "stage2": (4, 28, 28, 512),
        "stage3": (4, 14, 14, 1024),
        "stage4": (4, 7, 7, 2048),
        "fast_stem": (32, 56, 56, 8),
        "fast_stage1": (32, 56, 56, 32),
        "fast_stage2": (32, 28, 28, 64),
        "fast_stage3": (32, 14, 14, 128),
        "fast_stage4": (32, 7, 7, 256),
    },
}


@in_library_form
@pytest.mark.parametrize("case", STAGES, ids=lambda case: case[0])
def test_features_of_every_stage_have_the_published_shape(case):
    name, frames, size = case
    module = build(name)
    shapes = variable_shapes(module, frames, size, size)
    clips = jax.ShapeDtypeStruct((1, frames, size, size, 3), jnp.float32)
    stages = jax.eval_shape(lambda v, x: models.features(module, v, x), shapes, clips)
    assert {stage: value.shape[1:] for stage, value in stages.items()} == STAGES[case]


# Counted by hand: every kernel adds (size - 1) steps, every stride multiplies later steps.
#   r3d_18 in time: 3; four kernels of 3 -> 11; then a stride of 2 per stage:
#     13, 25; 29, 53; 61, 109
#   x3d in time: 5, and two more for each of 26 blocks
#   slow_r50 in time: 1, and two more for each of the 6 + 3 blocks of the last two stages
#   slow_r50 in space: 7, pooling 11; step 4: 35; 43, 91 (step 8); 107, 267 (step 16);
#     299, 427 (step 32)
RECEPTIVE_FIELDS = {
    "r3d_18": (109, 219, 219),
    "mc3_18": (11, 219, 219),
    "c3d": (76, 150, 150),
    "x3d_s": (57, 847, 847),
    "slow_r50": (19, 427, 427),
}


@pytest.mark.parametrize("name", RECEPTIVE_FIELDS)
def test_receptive_fields_equal_hand_counts(name):
    table = summary.summarise(described(name, 8, 128))
    assert table.receptive_field == RECEPTIVE_FIELDS[name]


def test_slow_pathway_takes_evenly_spaced_frames():
    from vid3d.models.slowfast import slow_frames

    clips = jnp.arange(32.0).reshape(1, 32, 1, 1, 1)
    np.testing.assert_array_equal(slow_frames(clips, 4).ravel(), [0, 4, 8, 13, 17, 22, 26, 31])
    np.testing.assert_array_equal(slow_frames(clips, 8).ravel(), [0, 10, 20, 31])


@in_library_form
@pytest.mark.parametrize("name", [name for name in models.NAMES if name != "conv3d"])
def test_odd_sizes_give_logits(name):
    for shape in ((8, 24, 40), (16, 57, 33)):
        module = build(name)
        clips = jax.ShapeDtypeStruct((3, *shape, 3), jnp.float32)
        shapes = variable_shapes(module, *shape)
        logits = jax.eval_shape(lambda v, x, m=module: m.apply(v, x, train=False), shapes, clips)
        assert (logits.shape, logits.dtype) == ((3, 6), jnp.float32)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("s3d", (4, 32, 32), "at least 5 frames"),
        ("s3d", (8, 16, 32), "17x17"),
        ("slowfast_r50", (12, 32, 32), "multiple of 8"),
        ("slowfast_r50_8x8", (10, 32, 32), "multiple of 4"),
    ],
)
def test_too_small_clips_raise_a_clear_error(name, shape, words):
    with pytest.raises(errors.UserError, match=words):
        variable_shapes(build(name), *shape)


@in_library_form
def test_bfloat16_keeps_float32_parameters_and_statistics():
    clips = np.random.default_rng(0).normal(size=(2, 4, 32, 32, 3)).astype(np.float32)
    coarse, exact = build("mc3_18", dtype="bfloat16"), build("mc3_18")
    shapes = variable_shapes(coarse, 4, 32, 32)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    variables = random_like(shapes)

    @jax.jit
    def both(variables, clips):
        stages = models.features(coarse, variables, clips)
        return (
            coarse.apply(variables, clips, train=False),
            exact.apply(variables, clips, train=False),
            stages["stage2"],
        )

    logits, expected, stage = both(variables, clips)
    assert (logits.dtype, stage.dtype) == (jnp.float32, jnp.bfloat16)
    assert np.abs(logits - expected).max() < 0.05 * np.abs(expected).max()


def gradient(module, variables, clips):
    def loss(params):
        logits, state = module.apply(
            {**variables, "params": params},
            clips,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(3)},
        )
        return jnp.square(logits).sum(), state

    return jax.grad(loss, has_aux=True)(variables["params"])


@in_library_form
def test_remat_keeps_parameters_statistics_and_gradients():
    clips = np.random.default_rng(0).normal(size=(2, 2, 24, 24, 3)).astype(np.float32)
    stored, again = build("r3d_18"), build("r3d_18", remat=True)
    shapes = variable_shapes(stored, 2, 24, 24)
    assert jax.tree.structure(shapes) == jax.tree.structure(variable_shapes(again, 2, 24, 24))
    variables = random_like(shapes)
    one = jax.jit(lambda v, x: gradient(stored, v, x))(variables, clips)
    two = jax.jit(lambda v, x: gradient(again, v, x))(variables, clips)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert np.linalg.norm(a - b) <= 1e-2 * np.linalg.norm(a) + 1e-6


@in_library_form
@pytest.mark.parametrize("name", ["c3d", "s3d", "x3d_s", "slowfast_r50", "r2plus1d_18"])
def test_every_family_supports_remat(name):
    shape = (8, 24, 24)
    shapes = variable_shapes(build(name), *shape)
    module = build(name, remat=True)
    assert jax.tree.structure(shapes) == jax.tree.structure(variable_shapes(module, *shape))
    clips = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
    jaxpr = jax.make_jaxpr(lambda v, x: module.apply(v, x, train=False))(shapes, clips)
    assert {"remat", "remat2", "checkpoint"} & {e.primitive.name for e in jaxpr.eqns}


@in_library_form
def test_mapped_batch_norm_equals_the_whole_batch():
    clips = np.random.default_rng(0).normal(size=(4, 4, 32, 32, 3)).astype(np.float32)
    alone, mapped = build("mc3_18", dropout=0.0), build("mc3_18", dropout=0.0, axis_name="batch")
    variables = random_like(variable_shapes(alone, 4, 32, 32))

    @jax.jit
    def both(variables, clips):
        whole = alone.apply(variables, clips, train=True, mutable=["batch_stats"])
        halves = jax.vmap(
            lambda half: mapped.apply(variables, half, train=True, mutable=["batch_stats"]),
            axis_name="batch",
        )(clips.reshape(2, 2, *clips.shape[1:]))
        return whole, halves

    (logits, state), (halves, states) = both(variables, clips)
    scale = np.abs(logits).max()
    np.testing.assert_allclose(halves.reshape(logits.shape), logits, atol=1e-3 * scale)
    for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(states), strict=True):
        np.testing.assert_array_equal(two[0], two[1])
        np.testing.assert_allclose(two[0], one, atol=1e-3 * np.abs(one).max())


@in_library_form
@pytest.mark.parametrize("name", ["r2plus1d_18", "s3d", "x3d_s", "slowfast_r50"])
def test_every_norm_averages_over_devices(name):
    """One sum over the mapped axis a norm; what comes of it is shown for one network above."""
    module, shape = build(name, axis_name="batch"), (8, 40, 40)
    shapes = variable_shapes(module, *shape)
    norms = sum(path[-1].key == "scale" for path, _ in jax.tree.leaves_with_path(shapes["params"]))

    def sums(train: bool) -> int:
        jaxpr = jax.make_jaxpr(
            lambda v, x, k: module.apply(
                v, x, train=train, rngs={"dropout": k}, mutable=["batch_stats"]
            ),
            axis_env=[("batch", 2)],
        )(
            shapes,
            jax.ShapeDtypeStruct((2, *shape, 3), jnp.float32),
            jax.eval_shape(lambda: jax.random.key(0)),
        )
        return str(jaxpr).count(" = psum[")

    assert norms >= 37
    assert (sums(train=True), sums(train=False)) == (norms, 0)


@in_library_form
@pytest.mark.parametrize(
    ("name", "own"),
    [("conv3d", 0.9), ("r3d_18", 0.9), ("s3d", 0.999), ("x3d_s", 0.9), ("slow_r50", 0.9)],
)
def test_norm_momentum_reaches_every_norm(name, own):
    """Each of them is multiplied by what it keeps: as often as there are statistics."""

    def count(share: float, **options) -> int:
        module = build(name, norm="batch", **options)
        jaxpr = jax.make_jaxpr(
            lambda v, x, k: module.apply(
                v, x, train=True, rngs={"dropout": k}, mutable=["batch_stats"]
            )
        )(shapes, clips, jax.eval_shape(lambda: jax.random.key(0)))
        return str(jaxpr).count(f"mul {float(np.float32(share))}:f32[]")

    shapes = variable_shapes(build(name, norm="batch"), 8, 40, 40)
    clips = jax.ShapeDtypeStruct((2, 8, 40, 40, 3), jnp.float32)
    statistics = len(jax.tree.leaves(shapes["batch_stats"]))
    assert count(own) == statistics
    assert (count(own, norm_momentum=0.75), count(0.75, norm_momentum=0.75)) == (0, statistics)


@in_library_form
@pytest.mark.parametrize("name", ["c3d", "r2plus1d_18", "s3d", "x3d_s", "slowfast_r50"])
def test_every_family_computes_in_bfloat16(name):
    """All stages; only the last layer and what is stored are float32."""
    module, shape = build(name, dtype="bfloat16"), (8, 24, 24)
    shapes = variable_shapes(module, *shape)
    clips = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
    stages = jax.eval_shape(lambda v, x: models.features(module, v, x), shapes, clips)
    logits = jax.eval_shape(lambda v, x: module.apply(v, x, train=False), shapes, clips)
    assert {stage.dtype for stage in stages.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves((shapes, logits))} == {jnp.dtype("float32")}


@pytest.mark.parametrize(("form", "channels"), [("difference", 3), ("both", 6), ("log_speed", 6)])
def test_input_form_sets_the_channels_of_the_stem(form, channels):
    shapes = variable_shapes(build("r3d_18", input=form), 6, 32, 32)
    assert shapes["params"]["stem_conv"]["kernel"].shape[3] == channels


class Dropped(nn.Module):
    """The branch of a residual block alone, skipped with a chance of one half."""

    @nn.compact
    def __call__(self, x, *, train):
        return drop_path(x, rate=0.5, train=train)


def test_drop_path_drops_whole_clips_and_keeps_the_mean():
    x = jnp.ones((400, 2, 3, 3, 4))
    y = np.asarray(Dropped().apply({}, x, train=True, rngs={"dropout": jax.random.key(0)}))
    per_clip = y.reshape(400, -1)
    np.testing.assert_array_equal(per_clip, per_clip[:, :1].repeat(per_clip.shape[1], axis=1))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert abs(y.mean() - 1) < 0.15
    np.testing.assert_array_equal(Dropped().apply({}, x, train=False), x)
    assert drop_rates(0.2, 4) == pytest.approx([0.05, 0.1, 0.15, 0.2])


@in_library_form
@pytest.mark.parametrize("name", ["r3d_18", "x3d_s", "slowfast_r50"])
def test_stochastic_depth_grows_with_depth_in_training_only(name):
    module = build(name, stochastic_depth=0.2)
    shapes = variable_shapes(module, 8, 24, 24)
    assert jax.tree.structure(shapes) == jax.tree.structure(variable_shapes(build(name), 8, 24, 24))
    clips = jax.ShapeDtypeStruct((2, 8, 24, 24, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def draws(train: bool) -> bool:
        """Whether one value per clip is drawn anywhere."""
        jaxpr = jax.make_jaxpr(
            lambda v, x, k: module.apply(
                v, x, train=train, rngs={"dropout": k}, mutable=["batch_stats"]
            )
        )(shapes, clips, key)
        return str(jaxpr).count("bool[2,1,1,1,1]") > 0

    assert draws(train=True) and not draws(train=False)


@pytest.mark.parametrize("name", models.NAMES)
def test_unused_keys_are_those_without_effect(name):
    changes = {
        "input": "both", "dropout": 0.1, "dtype": "bfloat16", "remat": True, "norm_momentum": 0.5,
        "features": (4, 8), "kernel": (1, 3, 3), "pool": (1, 2, 2), "norm": "group",
        "head": "average", "hidden": 7, "feature_dropout": 0.1,
    }  # fmt: skip
    before = described(name, 8, 32, norm="batch").model
    for key, value in changes.items():
        model = described(name, 8, 32, **{"norm": "batch", key: value}).model
        same = models.build(model, 6) == models.build(before, 6)
        assert (f"model.{key}" in schema.unused(model)) == same, key
    assert schema.unused(config.default().model) == []
    plain = described("conv3d", 8, 32, norm_momentum=0.5).model
    assert schema.unused(plain) == ["model.norm_momentum"]

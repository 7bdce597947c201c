"""The CPU's convolution and max pooling equal XLA's own, in values and in every gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vid3d.ops import convolution, narrow, wide

pytestmark = pytest.mark.optimized

SAME3 = ((1, 1), (1, 1), (1, 1))


def quick(places: set[int], cases: list[tuple]) -> list:
    """The cases, of which only those in these places stay in the fast part."""
    return [
        case if place in places else pytest.param(*case, marks=pytest.mark.slow)
        for place, case in enumerate(cases)
    ]


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def plain_conv(x, kernel, strides=(1, 1, 1), padding="SAME", groups=1):
    return lax.conv_general_dilated(
        x, kernel, strides, padding,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"), feature_group_count=groups,
    )  # fmt: skip


def plain_pool(x, window, strides=None, padding="SAME"):
    if not isinstance(padding, str):
        padding = ((0, 0), *padding, (0, 0))
    strides = (1, *(strides or window), 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), strides, padding)


def plain_conv_pool(x, kernel, bias, window, padding="SAME", pool_padding="SAME"):
    """The order of the definition: bias and activation before the pooling."""
    y = jax.nn.relu(plain_conv(x, kernel, padding=padding) + bias)
    return plain_pool(y, window, padding=pool_padding)


def assert_close(ours, reference, tolerance):
    assert ours.shape == reference.shape
    assert ours.dtype == reference.dtype
    ours, reference = np.asarray(ours, np.float32), np.asarray(reference, np.float32)
    np.testing.assert_allclose(ours, reference, rtol=0, atol=tolerance * np.abs(reference).max())


def assert_same(ours, reference, *arguments, tolerance=1e-5):
    """Values, and the gradients of a random weighting of them, with respect to every argument."""

    @jax.jit
    def both(*arguments):
        values = []
        for function in (ours, reference):
            y, pull = jax.vjp(function, *arguments)
            values.append((y, *pull(normal(*y.shape, seed=9).astype(y.dtype))))
        return values

    for mine, theirs in zip(*both(*arguments), strict=True):
        assert_close(mine, theirs, tolerance)


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "padding", "groups"),
    quick(
        {0, 7, 13},
        [
            ((2, 4, 7, 9, 4), (3, 3, 3, 4, 5), (1, 1, 1), "SAME", 1),
            ((1, 5, 8, 7, 3), (3, 3, 3, 3, 4), (2, 2, 2), "SAME", 1),
            ((1, 1, 7, 7, 1), (3, 3, 3, 1, 2), (1, 2, 2), SAME3, 1),
            ((1, 4, 6, 5, 3), (1, 1, 1, 3, 4), (2, 2, 2), "VALID", 1),
            ((1, 4, 7, 5, 3), (1, 3, 3, 3, 4), (1, 2, 2), ((0, 0), (1, 1), (1, 1)), 1),
            ((1, 5, 4, 3, 3), (3, 1, 1, 3, 4), (1, 1, 1), ((1, 1), (0, 0), (0, 0)), 1),
            ((1, 3, 9, 9, 2), (3, 7, 7, 2, 3), (1, 2, 2), ((1, 1), (3, 3), (3, 3)), 1),
            ((1, 4, 6, 7, 4), (3, 3, 3, 1, 4), (1, 1, 1), "SAME", 4),
            ((1, 4, 6, 7, 4), (3, 3, 3, 1, 4), (1, 2, 2), SAME3, 4),
            ((2, 5, 9, 8, 3), (3, 3, 3, 1, 3), (2, 2, 2), ((0, 1), (2, 0), (1, 1)), 3),
            ((2, 6, 4, 3, 3), (5, 1, 1, 1, 3), (1, 1, 1), ((2, 2), (0, 0), (0, 0)), 3),
            ((1, 4, 6, 7, 3), (2, 2, 2, 1, 3), (3, 3, 3), "VALID", 3),
            ((1, 4, 6, 7, 4), (3, 3, 3, 2, 6), (1, 1, 1), "SAME", 2),
            ((2, 5, 8, 7, 16), (3, 3, 3, 16, 17), (1, 1, 1), "SAME", 1),
            ((1, 3, 7, 8, 16), (1, 3, 3, 16, 16), (1, 1, 1), "VALID", 1),
            ((1, 4, 6, 5, 16), (3, 3, 3, 16, 16), (1, 1, 1), ((2, 0), (0, 1), (1, 2)), 1),
        ],
    ),
)
def test_convolution_equals_xla(shape, kernel, strides, padding, groups):
    def ours(x, kernel):
        return convolution.conv3d(
            x, kernel, strides=strides, padding=padding, feature_group_count=groups
        )

    def reference(x, kernel):
        return plain_conv(x, kernel, strides, padding, groups)

    assert_same(ours, reference, normal(*shape), normal(*kernel, seed=1))


@pytest.mark.parametrize(
    ("shape", "kernel", "window", "padding", "pool_padding"),
    quick({0, 4}, [
        ((2, 5, 8, 10, 3), (3, 3, 3, 3, 9), (3, 3, 3), "SAME", "SAME"),
        ((1, 1, 7, 5, 1), (3, 3, 3, 1, 8), (3, 3, 3), "SAME", "SAME"),
        ((1, 5, 9, 9, 2), (1, 3, 3, 2, 8), (1, 2, 2), "SAME", "VALID"),
        ((1, 5, 9, 9, 1), (3, 2, 3, 1, 8), (2, 3, 2), "VALID", ((0, 1), (1, 2), (1, 0))),
        ((2, 1, 12, 13, 16), (3, 3, 3, 16, 17), (3, 3, 3), "SAME", "SAME"),
        ((1, 6, 13, 12, 16), (3, 3, 3, 16, 16), (2, 2, 3), "VALID", "VALID"),
        ((1, 4, 12, 13, 16), (3, 3, 3, 16, 16), (3, 3, 3),
         ((2, 0), (0, 1), (1, 2)), ((1, 0), (2, 1), (0, 2))),
        ((2, 3, 5, 4, 16), (3, 3, 3, 16, 8), (3, 3, 3), "SAME", "SAME"),
    ]),
)  # fmt: skip
def test_fused_convolution_and_pooling_equals_xla(shape, kernel, window, padding, pool_padding):
    def ours(x, kernel, bias):
        return convolution.conv3d_max_pool(
            x, kernel, bias, window=window, padding=padding, pool_padding=pool_padding
        )

    def reference(x, kernel, bias):
        return plain_conv_pool(x, kernel, bias, window, padding, pool_padding)

    assert_same(
        ours, reference, normal(*shape), normal(*kernel, seed=1), normal(kernel[-1], seed=2)
    )


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    quick(
        {0, 1},
        [
            ((3, 3, 3), (3, 3, 3), "SAME"),
            ((3, 3, 3), (2, 2, 2), "SAME"),
            ((3, 3, 3), (1, 1, 1), "SAME"),
            ((1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (1, 1))),
            ((2, 2, 2), (2, 2, 2), "VALID"),
            ((2, 1, 1), (3, 2, 4), "VALID"),
        ],
    ),
)
def test_max_pooling_equals_xla(window, strides, padding):
    # Rounded, so that most windows have ties, of which the first must win.
    x = jnp.round(normal(2, 6, 7, 8, 3))
    ours = lambda x: convolution.max_pool3d(x, window=window, strides=strides, padding=padding)  # noqa: E731
    reference = lambda x: plain_pool(x, window, strides, padding)  # noqa: E731
    np.testing.assert_array_equal(ours(x), reference(x))
    assert_same(ours, reference, x, tolerance=1e-6)


@pytest.mark.parametrize("channels", [2, 16])
def test_first_of_equal_values_wins(channels):
    # Outputs differ at the borders only, so order decides the winner and the kernel's gradient.
    x, kernel = jnp.ones((1, 4, 12, 12, channels)), jnp.zeros((3, 3, 3, channels, 16))
    bias = jnp.ones(16)
    ours = lambda *a: convolution.conv3d_max_pool(*a, window=(3, 3, 3))  # noqa: E731
    assert_same(ours, lambda *a: plain_conv_pool(*a, (3, 3, 3)), x, kernel, bias)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 16])
def test_nan_reaches_every_window_that_covers_it(channels):
    x = normal(1, 5, 13, 12, channels).at[0, 2, 5, 6, 0].set(jnp.nan)
    kernel = normal(1, 3, 3, channels, 16, seed=1)
    seen = plain_conv(jnp.isnan(x).astype(jnp.float32), jnp.ones_like(kernel)) > 0
    pooled = plain_pool(seen.astype(jnp.float32), (3, 3, 3)) > 0
    assert pooled.any()
    assert not pooled.all()
    np.testing.assert_array_equal(jnp.isnan(convolution.conv3d_max_pool(x, kernel, None)), pooled)
    y = jnp.where(seen, jnp.nan, 1.0)
    np.testing.assert_array_equal(jnp.isnan(convolution.max_pool3d(y)), pooled)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 16])
def test_bfloat16(channels):
    x, kernel = normal(1, 3, 12, 12, channels), normal(1, 3, 3, channels, 16, seed=1)

    def gradients(function, *arguments):
        y, pull = jax.vjp(function, *arguments)
        return y, *pull(jnp.ones_like(y))

    def ours(x, kernel):
        return convolution.conv3d_max_pool(x, kernel, None, window=(1, 2, 2))

    def reference(x, kernel):
        return plain_conv_pool(x, kernel, 0, (1, 2, 2))

    half = jax.jit(gradients, static_argnums=0)
    mine = half(ours, x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    x, kernel = (a.astype(jnp.bfloat16).astype(jnp.float32) for a in (x, kernel))
    for one, exact in zip(mine, half(reference, x, kernel), strict=True):
        assert one.dtype == jnp.bfloat16
        assert_close(one.astype(jnp.float32), exact, 0.01)


def network(parameters, x):
    """One layer of every form, with small kernels that compile fast."""
    first, second, third = parameters
    x = convolution.conv3d_max_pool(x, first, None, window=(1, 1, 2))
    x = convolution.conv3d_max_pool(x, second, jnp.zeros(16), window=(3, 2, 2))
    x = convolution.conv3d(x, third)
    return convolution.max_pool3d(x, window=(1, 2, 2)).mean()


def parameters():
    shapes = ((3, 1, 3, 2, 16), (1, 3, 3, 16, 16), (1, 3, 3, 16, 16))
    return tuple(normal(*shape, seed=n) / 5 for n, shape in enumerate(shapes))


@pytest.mark.slow
def test_two_devices_equal_one():
    x = normal(4, 3, 12, 24, 2)

    def step(parameters, x):
        loss, gradients = jax.value_and_grad(network)(parameters, x)
        return lax.pmean(loss, "batch"), lax.pmean(gradients, "batch")

    mapped = jax.pmap(
        step,
        axis_name="batch",
        in_axes=(None, 0),
        out_axes=(None, None),
        devices=jax.devices()[:2],
    )
    loss, gradients = mapped(parameters(), x.reshape(2, 2, *x.shape[1:]))
    one_loss, one_gradients = jax.jit(jax.value_and_grad(network))(parameters(), x)
    assert_close(loss, one_loss, 1e-5)
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), gradients, one_gradients)


@pytest.mark.slow
def test_vmap_and_checkpoint_keep_the_result():
    x = normal(2, 1, 3, 12, 24, 2)
    plain = jax.jit(jax.value_and_grad(network))
    each = [plain(parameters(), clip) for clip in x]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *each)
    mapped = jax.jit(jax.vmap(jax.value_and_grad(jax.checkpoint(network)), (None, 0)))
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), mapped(parameters(), x), stacked)


@pytest.mark.slow
def test_results_are_reproducible_bit_for_bit():
    x = normal(2, 3, 12, 24, 2)
    step = jax.jit(jax.value_and_grad(network))
    results = [step(parameters(), x) for _ in range(3)]
    for result in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, result, results[0])


@pytest.mark.slow
def test_blocks_of_frames_equal_the_whole(monkeypatch):
    x, kernel = normal(2, 5, 7, 8, 16), normal(3, 3, 3, 16, 16, seed=1)
    monkeypatch.setattr(wide, "BLOCK", 40_000)  # two frames of the five
    assert_same(convolution.conv3d, plain_conv, x, kernel)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [2, 16])
def test_blocks_of_rows_equal_the_whole(monkeypatch, channels):
    # Five rows of windows in blocks of two: the last block reaches beyond the clip.
    monkeypatch.setattr(narrow, "TILES", 10)
    monkeypatch.setattr(wide, "BLOCK", 25 * 4 * 5 * (16 + 3 * 16) * 2)
    x, kernel, bias = (
        normal(2, 4, 13, 14, channels),
        normal(3, 3, 3, channels, 16, seed=1),
        normal(16),
    )
    ours = lambda *a: convolution.conv3d_max_pool(*a, window=(3, 3, 3))  # noqa: E731
    assert_same(ours, lambda *a: plain_conv_pool(*a, (3, 3, 3)), x, kernel, bias)


@pytest.mark.slow
def test_register_width_does_not_change_results(monkeypatch):
    x, kernel, bias = normal(1, 3, 12, 13, 2), normal(3, 3, 3, 2, 20, seed=1), normal(20)
    ours = lambda *a: convolution.conv3d_max_pool(*a, window=(3, 3, 3))  # noqa: E731
    for flags, lanes in (("", 8), (narrow.WIDE, 16)):
        monkeypatch.setenv("XLA_FLAGS", flags)
        assert narrow.lanes() == lanes
        assert_same(ours, lambda *a: plain_conv_pool(*a, (3, 3, 3)), x, kernel, bias)


def test_library_form_traces_xla_operations_only():
    def primitives():
        jaxpr = jax.make_jaxpr(lambda *a: network(*a))(parameters(), normal(1, 3, 12, 24, 2))
        return str(jaxpr)

    with convolution.library_form():
        library = primitives()
    assert library.count("conv_general_dilated[") == 3
    assert library.count("reduce_window_max[") == 3
    assert "scan[" not in library
    assert "scan[" in primitives()


def test_other_platforms_use_xla_operations(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x = normal(1, 3, 12, 24, 2)
    lowered = jax.jit(network).trace(parameters(), x).lower(lowering_platforms=("cuda",)).as_text()
    assert lowered.count("stablehlo.convolution") == 3
    assert "stablehlo.while" not in lowered
    monkeypatch.undo()
    assert "stablehlo.while" in jax.jit(network).lower(parameters(), x).as_text()

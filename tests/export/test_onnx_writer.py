"""The ONNX writer: networks of every kind answer in ONNX Runtime as in JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vid3d import config as configs, models
from vid3d.errors import UserError
from vid3d.export import formats
from vid3d.models import conv3d, layers
from vid3d.models.normalise import clip_shape

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from vid3d.export.onnx_writer import to_onnx  # noqa: E402

SMALL = {"model.features": (4, 4), "model.hidden": 8}
CASES = {
    **{f"norm {name}": SMALL | {"model.norm": name} for name in layers.NORMS},
    **{f"head {name}": SMALL | {"model.head": name} for name in conv3d.HEADS[1:]},
    **{f"input {name}": SMALL | {"model.input": name} for name in layers.INPUTS[1:]},
    "cropped, gray, remat": SMALL | {
        "data.stored_size": (20, 24), "data.color": "gray", "data.mean": (0.4,),
        "data.std": (0.2,), "model.remat": True, "model.norm": "batch",
    },
    "no hidden layer": SMALL | {"model.hidden": 0, "model.pool": (1, 2, 2)},
}  # fmt: skip
QUICK = ("norm batch", "head average")  # the others leave the fast part
NETWORKS = {
    "c3d": (2, 16),
    "mc3_18": (4, 16),
    "r2plus1d_18": (4, 16),
    "s3d": (5, 32),
    "slowfast_r50": (8, 64),
    "x3d_xs": (5, 160),
}


def source(changes: dict, *, seed: int = 0) -> formats.Source:
    """A network with random weights and statistics."""
    config = configs.default()
    config.data.num_frames, config.data.size = 6, 16
    for key, value in changes.items():
        configs.apply(config, key, value)
    rng = np.random.default_rng(seed)
    blank = models.shapes(models.build(config.model, 3), clip_shape(config.data))

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name in ("var", "scale"):
            return rng.uniform(0.5, 2, leaf.shape).astype(np.float32)
        wide = np.sqrt(2 / np.prod(leaf.shape[:-1])) if name == "kernel" else 0.1
        return rng.normal(scale=wide, size=leaf.shape).astype(np.float32)

    weights = jax.tree_util.tree_map_with_path(fill, blank)
    return formats.Source(weights, config, ("a", "b", "c"))


def clips_for(shape: tuple[int, ...]) -> np.ndarray:
    """A dark clip, a bright one and one with everything: answers to them differ."""
    rng = np.random.default_rng(1)
    tops = np.array([30, 255, 256]).reshape(-1, 1, 1, 1, 1)
    clips = rng.integers(0, tops, (3, *shape))
    clips[1] = 255 - clips[1] // 8
    return clips.astype(np.uint8)


def calm(one: formats.Source, clips: np.ndarray) -> None:
    """Scales the last layer, so that the probabilities of a random deep network are not 0 or 1."""
    logits_BK = np.asarray(jax.jit(one.logits())(one.weights, clips))
    head = one.weights["params"]["classes"]
    for name in head:
        head[name] /= np.abs(logits_BK).max()


def check(one: formats.Source, clips: np.ndarray) -> onnx.ModelProto:
    model = formats.to_onnx(one)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = session.run(None, {"clips": clips})[0]
    logits = one.logits()
    wanted = np.asarray(jax.nn.softmax(jax.jit(logits)(one.weights, clips)))
    assert np.abs(wanted - found).max() < 1e-5
    assert np.ptp(wanted, axis=0).max() > 1e-3, "the clips do not tell networks apart"
    return model


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_every_head_norm_and_input(name, library_form):
    one = source(CASES[name])
    model = check(one, clips_for(one.clip_shape))
    kinds = [node.op_type for node in model.graph.node]
    if name == "norm batch":  # it is inside the convolutions
        assert kinds.count("Conv") == 2 and kinds.count("Sub") == 1 and "Mul" not in kinds


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_deep_architectures(name, library_form):
    frames, size = NETWORKS[name]
    one = source({"model.name": name, "data.num_frames": frames, "data.size": size})
    clips = clips_for(one.clip_shape)[: 2 if name == "c3d" else 3]
    calm(one, clips)
    model = check(one, clips)
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"Sqrt", "Reciprocal", "Pow"}, "batch normalisation is left"


def test_a_convolution_that_others_use_keeps_its_kernel():
    """Only what nobody else sees can be scaled."""
    kernel = np.ones((1, 1, 1, 1, 2), np.float32)

    def network(clips):
        y = jax.lax.conv_general_dilated(
            clips.astype(np.float32), kernel, (1, 1, 1), "SAME",
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        )  # fmt: skip
        z = jax.lax.stop_gradient(y) * jnp.array([3.0, -1.0])
        return (y + z).mean(axis=(1, 2, 3)) / 100

    clips = np.full((1, 2, 3, 3, 1), 50, np.uint8)
    session = onnxruntime.InferenceSession(to_onnx(network, clips.shape[1:]).SerializeToString())
    (found,) = session.run(None, {"clips": clips})
    np.testing.assert_allclose(found, jax.nn.softmax(network(clips)), atol=1e-6)


def test_what_has_no_form_in_onnx_is_named():
    with pytest.raises(
        UserError, match=r"operation cumsum with the result \['batch', 4, 2, 2, 1\]"
    ):
        to_onnx(lambda clips: jnp.cumsum(clips.astype(np.float32), axis=1), (4, 2, 2, 1))
    with pytest.raises(UserError, match=r"reduce_sum .*a sum over the batch.*--format=stablehlo"):
        to_onnx(lambda clips: clips.astype(np.float32).sum(axis=(0, 1, 2))[None], (4, 2, 2, 1))


def test_large_weights_are_beside_the_file(tmp_path):
    one = source(SMALL)
    clips = clips_for(one.clip_shape)
    answers = []
    for name, largest in (("small.onnx", formats.LARGEST_ONNX), ("large.onnx", 1000)):
        formats.write_onnx(one, tmp_path / name, largest=largest)
        session = onnxruntime.InferenceSession(tmp_path / name)
        answers.append(session.run(None, {"clips": clips})[0])
    np.testing.assert_array_equal(*answers)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"small.onnx", "large.onnx", "large.onnx.data"}

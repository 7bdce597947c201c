"""Where a network looks: as the reference computes it, and what the numbers promise."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vid3d import config, models
from vid3d.errors import UserError
from vid3d.models import attribution
from vid3d.weights import published

CLASSES = 5


def small_network(**changes):
    model = config.default().model
    model.update(features=(4, 6), pool=(1, 2, 2), hidden=0, head="average", norm="batch", **changes)
    return models.build(model, CLASSES)


@pytest.fixture
def clips():
    return jax.random.normal(jax.random.key(1), (2, 6, 24, 32, 3))


@pytest.mark.slow
@pytest.mark.optimized
def test_gradcam_is_that_of_the_pytorch_library(torch, torchvision_video, tmp_path):
    """The library is `grad-cam`; on r3d_18 with the same weights, before it is scaled."""
    library = pytest.importorskip("pytorch_grad_cam")
    targets = importlib.import_module("pytorch_grad_cam.utils.model_targets")
    torch.manual_seed(1)
    network = torchvision_video.r3d_18(num_classes=CLASSES).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = config.default().model
    model.update(name="r3d_18", dropout=0.0)
    module = models.build(model, CLASSES)
    clips_BTHWC = np.random.default_rng(0).normal(size=(2, 8, 80, 80, 3)).astype(np.float32)
    variables, _ = published.load(
        tmp_path / "weights.pth",
        name="r3d_18",
        variables=models.shapes(module, clips_BTHWC.shape[1:]),
    )
    labels = np.array([1, 3])
    (ours,) = jax.jit(
        lambda variables, clips: attribution.coarse_gradcam(module, variables, clips, labels)
    )(variables, clips_BTHWC)

    inputs = torch.from_numpy(clips_BTHWC.transpose(0, 4, 1, 2, 3).copy())
    layer = network.layer4[-1]
    with library.GradCAM(model=network, target_layers=[layer]) as cam:
        outputs = cam.activations_and_grads(inputs)
        wanted = [targets.ClassifierOutputTarget(int(label)) for label in labels]
        sum(target(output) for target, output in zip(wanted, outputs, strict=True)).backward()
        gradients = cam.activations_and_grads.gradients[0].numpy()
        activations = cam.activations_and_grads.activations[0].detach().numpy()
        theirs = cam.get_cam_image(inputs, layer, wanted, activations, gradients)
    theirs = np.maximum(theirs, 0)
    assert ours.shape == theirs.shape == (2, 1, 5, 5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.max())
    assert theirs.max() > 0


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("c3d", (16, 160, 160), ["conv5"]),
        ("r2plus1d_18", (8, 112, 112), ["stage4_block2"]),
        ("s3d", (16, 224, 224), ["mixed_5c"]),
        ("x3d_s", (13, 160, 160), ["stage4_block7"]),
        ("slowfast_r50", (32, 224, 224), ["stage4_block3", "fast_stage4_block3"]),
        # The maps after it are 2x2 and 1x1.
        ("conv3d", (10, 112, 112), ["layer3"]),
    ],
)
def test_last_maps_of_every_family(name, shape, expected):
    model = config.default().model
    model.name = name
    module = models.build(model, CLASSES)
    clips = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
    variables = models.shapes(module, (*shape, 3))
    with models.convolution.library_form():
        assert attribution.last_maps(module, variables, clips) == expected


def initialised(module, clips: jax.Array) -> dict:
    return jax.jit(lambda key: module.init(key, clips, train=False))(jax.random.key(0))


def test_network_without_map_is_refused(clips):
    module = small_network()
    with pytest.raises(UserError, match=r"no map of 5x5 .* clips of 8x8 .* integrated_gradients"):
        attribution.last_maps(module, models.shapes(module, (6, 8, 8, 3)), clips[:, :, :8, :8])


@pytest.mark.slow
@pytest.mark.usefixtures("library_form")
def test_integrated_gradients_sum_to_the_difference_of_logits(clips):
    """Completeness, the axiom that makes them an account of the answer."""
    module = small_network(input="both")
    variables = initialised(module, clips)
    labels, still = jnp.array([0, 3]), jnp.zeros_like(clips)

    @jax.jit
    def compute(variables, clips):
        logits = [module.apply(variables, x, train=False) for x in (clips, still)]
        found = attribution.integrated_gradients(module, variables, clips, labels, still, steps=128)
        return found, logits[0] - logits[1]

    found_BTHW, gain_BK = compute(variables, clips)
    gain_B = np.take_along_axis(np.asarray(gain_BK), labels[:, None], axis=1)[:, 0]
    assert found_BTHW.shape == clips.shape[:4]
    np.testing.assert_allclose(found_BTHW.sum(axis=(1, 2, 3)), gain_B, rtol=0.02, atol=2e-3)
    assert np.abs(gain_B).min() > 0.02


@pytest.mark.usefixtures("library_form")
def test_clips_do_not_influence_each_other(clips):
    module = small_network()
    variables = initialised(module, clips)
    gradcam = jax.jit(lambda x, labels: attribution.gradcam(module, variables, x, labels))
    both = gradcam(clips, jnp.array([0, 3]))
    np.testing.assert_allclose(both[1:], gradcam(clips[1:], jnp.array([3])), rtol=1e-4, atol=1e-8)
    assert both.min() >= 0 and np.any(both[0] != both[1])

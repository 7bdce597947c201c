"""Every architecture equals its PyTorch reference, with random weights and norm statistics."""

import copy
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import lax

from vid3d import config, models
from vid3d.ops import convolution
from vid3d.weights import published

pytestmark = pytest.mark.slow

CLASSES = 7
PYTORCHVIDEO = ("x3d_s", "slow_r50", "slowfast_r50", "slowfast_r50_8x8")
OF_ANOTHER_DEPTH = ("r3d_34", "r2plus1d_34", "slowfast_r50_8x8")  # their code is that of TRAINED
TRAINED = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "x3d_s", "slow_r50", "slowfast_r50")

# Frames, height and width of two clips; the first is trained on as well.
CLIPS = {
    "slow_r50": ((4, 40, 40), (5, 56, 48)),
    "slowfast_r50": ((16, 40, 40), (8, 64, 48)),
    "s3d": ((8, 40, 40), (11, 50, 33)),
}
SMALL = ((6, 40, 40), (5, 56, 48))


def reference(name: str, torch, torchvision, pytorchvideo):
    """The network of torchvision or pytorchvideo, with global pooling instead of a fixed size."""
    if name == "s3d":
        network = torchvision.s3d(num_classes=CLASSES, dropout=0.0)
        network.avgpool = torch.nn.AdaptiveAvgPool3d(1)
        return network
    if name.endswith("_18"):
        return getattr(torchvision, name)(num_classes=CLASSES)
    if name.endswith("_34"):
        parts = torchvision.resnet
        factored = name == "r2plus1d_34"
        return torchvision.resnet.VideoResNet(
            block=parts.BasicBlock,
            conv_makers=[parts.Conv2Plus1D if factored else parts.Conv3DSimple] * 4,
            layers=[3, 4, 6, 3],
            stem=parts.R2Plus1dStem if factored else parts.BasicStem,
            num_classes=CLASSES,
        )
    if name.startswith("x3d"):
        network = pytorchvideo.x3d.create_x3d(
            model_num_class=CLASSES, dropout_rate=0.0, head_activation=None
        )
        network.blocks[5].pool.pool = torch.nn.AdaptiveAvgPool3d(1)
        return network
    options = {
        "model_num_class": CLASSES,
        "dropout_rate": 0.0,
        "head_pool": torch.nn.AdaptiveAvgPool3d,
    }
    if name == "slow_r50":
        return pytorchvideo.resnet.create_resnet(stem_conv_kernel_size=(1, 7, 7), **options)
    kernel, ratio = (5, 8) if name == "slowfast_r50" else (7, 4)
    return pytorchvideo.slowfast.create_slowfast(
        slowfast_fusion_conv_kernel_size=(kernel, 1, 1),
        slowfast_fusion_conv_stride=(ratio, 1, 1),
        **{**options, "head_output_size": ((1, 1, 1), (1, 1, 1))},
    )


def randomise(torch, network, seed: int) -> None:
    """Randomises all normalisations, those initialised to 0 included, and keeps logits small."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.weight.uniform_(0.3, 0.9, generator=generator)
                module.bias.uniform_(-0.2, 0.2, generator=generator)
                module.running_mean.uniform_(-0.2, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(0, 0.05, generator=generator)
                module.bias.normal_(0, 0.05, generator=generator)


def as_reference_input(torch, name: str, clips_BTHWC: np.ndarray):
    clips = torch.from_numpy(clips_BTHWC.transpose(0, 4, 1, 2, 3).copy())
    if not name.startswith("slowfast"):
        return clips
    frames = clips.shape[2]
    chosen = torch.linspace(0, frames - 1, frames // (8 if name == "slowfast_r50" else 4)).long()
    return [clips[:, :, chosen], clips]


def imported(name: str, network, torch, folder, clips: np.ndarray):
    """Our module, and the variables that the reference's file gives it."""
    torch.save(network.state_dict(), folder / "weights.pth")
    model = config.default().model
    model.update(name=name, dropout=0.0)
    module = models.build(model, CLASSES)
    blank = models.shapes(module, clips.shape[1:])
    variables, notes = published.load(folder / "weights.pth", name=name, variables=blank)
    assert notes == []
    return module, variables


def random_clips(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape[0]).normal(size=(2, *shape, 3)).astype(np.float32)


@pytest.fixture
def network(name, torch, request):
    torchvision = request.getfixturevalue("torchvision_video")
    pytorchvideo = request.getfixturevalue("pytorchvideo") if name in PYTORCHVIDEO else None
    torch.manual_seed(1)
    network = reference(name, torch, torchvision, pytorchvideo)
    randomise(torch, network, seed=2)
    return network


def assert_equal_logits(name: str, network, torch, ours, clips: np.ndarray, modes) -> None:
    """With `ours`, the module and its variables, in training (True) or not."""
    module, variables = ours

    @jax.jit
    def logits_of(variables, clips):
        return [
            module.apply(variables, clips, train=train, mutable=["batch_stats"])[0]
            for train in modes
        ]

    for train, logits in zip(modes, logits_of(variables, clips), strict=True):
        with torch.no_grad():
            # In training, and pytorchvideo's pathways, overwrite what they are given.
            inputs = as_reference_input(torch, name, clips)
            expected = copy.deepcopy(network).train(train)(inputs).numpy()
        assert np.std(expected) > 0.01
        np.testing.assert_allclose(logits, expected, atol=1e-3)


@pytest.mark.parametrize("name", TRAINED)
def test_logits_equal_the_reference_in_both_modes(name, network, torch, tmp_path):
    """Our convolutions, which do not know the mode, and XLA's own, which trace faster."""
    first, second = (random_clips(*shape) for shape in CLIPS.get(name, SMALL))
    ours = imported(name, network, torch, tmp_path, first)
    assert_equal_logits(name, network, torch, ours, first, (False,))
    with convolution.library_form():
        assert_equal_logits(name, network, torch, ours, first, (True,))
        assert_equal_logits(name, network, torch, ours, second, (False,))


@pytest.mark.usefixtures("library_form")
@pytest.mark.parametrize("name", OF_ANOTHER_DEPTH)
def test_logits_of_another_depth_equal_the_reference(name, network, torch, tmp_path):
    clips = random_clips(*CLIPS.get(name.removesuffix("_8x8"), SMALL)[0])
    ours = imported(name, network, torch, tmp_path, clips)
    assert_equal_logits(name, network, torch, ours, clips, (False, True))


@pytest.mark.optimized
def test_published_x3d_on_larger_clips(torch, pytorchvideo, tmp_path, capsys):
    """It pools by windows and averages their softmax, which `experiments/parity.py` handles."""
    torch.manual_seed(1)
    network = pytorchvideo.x3d.create_x3d(
        input_clip_length=4, input_crop_size=160, model_num_class=CLASSES
    )
    randomise(torch, network, seed=2)
    clips = random_clips(5, 168, 192)
    # Different windows and similarly likely classes: the order of softmax and average matters.
    clips[:, :, 130:] *= 6
    clips[:, 4:] *= 4
    inputs, head = as_reference_input(torch, "x3d_xs", clips), network.eval().blocks[5]
    with torch.no_grad():
        softmax, head.activation = head.activation, None
        head.proj.weight.mul_(200)
        head.proj.bias.sub_(network(inputs).mean(0))
        logits = network(inputs).numpy()
        head.activation = softmax
        probabilities = network(inputs).numpy()
    torch.save(network.state_dict(), tmp_path / "x3d_xs.pth")
    assert np.abs(np.asarray(jax.nn.softmax(logits)) - probabilities).max() > 2e-3
    for expected in (probabilities, logits):
        np.savez(tmp_path / "x3d_xs.npz", x=inputs.numpy(), y=expected)
        assert runpy.run_path("experiments/parity.py")["main"](str(tmp_path)) == 0
        assert " ok" in capsys.readouterr().out


def conv3d_in_float64(x_BTHWC, kernel_THWIO, *, strides, padding, feature_group_count):
    """Dense or depthwise, as matrix products: XLA's own takes minutes in float64 on a CPU."""
    taps, features = kernel_THWIO.shape[:3], kernel_THWIO.shape[-1]
    pads = convolution.explicit_padding(x_BTHWC.shape, taps, strides, padding)
    windows = jnp.pad(x_BTHWC, [(0, 0), *pads, (0, 0)])
    for axis, (tap, stride) in enumerate(zip(taps, strides, strict=True)):
        place = 2 * axis + 1
        last = windows.shape[place] - tap
        shifted = [
            lax.slice_in_dim(windows, first, first + last + 1, stride, place)
            for first in range(tap)
        ]
        windows = jnp.stack(shifted, place + 1)  # slices: gathers have slow gradients
    if feature_group_count == 1:
        return jnp.einsum("btxhywzi,xyzio->bthwo", windows, kernel_THWIO)
    assert feature_group_count == x_BTHWC.shape[-1] == features
    return jnp.einsum("btxhywzi,xyzi->bthwi", windows, kernel_THWIO[:, :, :, 0])


@pytest.mark.filterwarnings("ignore:'saved_variables':DeprecationWarning")  # in pytorchvideo
@pytest.mark.parametrize("name", TRAINED)
def test_gradients_of_a_training_step_equal_the_reference(
    name, network, torch, tmp_path, monkeypatch
):
    """In float64: in float32, rounding at the kink of a ReLU changes a gradient by percents.

    The fast convolutions are for float32; `test_convolution` compares them with XLA's own.
    """
    monkeypatch.setattr(convolution, "conv3d", conv3d_in_float64)
    clips, labels = random_clips(*CLIPS.get(name, SMALL)[0]), np.array([2, 5])
    module, variables = imported(name, network, torch, tmp_path, clips)
    module = module.clone(dtype=jnp.float64)

    def loss(params, others, clips):
        logits, _ = module.apply(
            {**others, "params": params}, clips, train=True, mutable=["batch_stats"]
        )
        return -jax.nn.log_softmax(logits)[jnp.arange(2), labels].mean()

    with jax.enable_x64(True):
        params, others, doubles = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.float64),
            (variables["params"], {"batch_stats": variables["batch_stats"]}, clips),
        )
        gradient = jax.device_get(jax.jit(jax.grad(loss))(params, others, doubles))

    inputs = as_reference_input(torch, name, clips)
    doubles = [x.double() for x in inputs] if isinstance(inputs, list) else inputs.double()
    logits = network.double().train()(doubles)
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    expected = published.convert(
        {key: leaf.grad.numpy() for key, leaf in network.named_parameters()},
        name=name,
        wanted={"/".join(key): leaf for key, leaf in flatten_dict(variables).items()},
    )
    ours = {"/".join(key): leaf for key, leaf in flatten_dict({"params": gradient}).items()}
    assert set(ours) == set(expected)
    largest = max(np.linalg.norm(leaf) for leaf in expected.values())
    for key, leaf in expected.items():
        scale = max(np.linalg.norm(leaf), 1e-6 * largest)
        assert np.linalg.norm(ours[key] - leaf) < 1e-3 * scale, key

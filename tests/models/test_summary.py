"""The numbers of `vid3d summary`, against arithmetic done by hand."""

import io

import pytest
from flax import linen as nn
from rich.console import Console

from vid3d import config
from vid3d.models import summary
from vid3d.models.layers import Conv3D, MaxPool3D


def described(**changes):
    c = config.default()
    with c.unlocked():
        for key, value in changes.items():
            group, name = key.split("__")
            c[group][name] = value
    return c


def test_tutorial_network_equals_hand_counts():
    """10x224x224x3 -> 4x75x75 -> 2x25x25 -> 1x9x9 -> 1x3x3 -> 1x1x1; 128 to 32 features."""
    table = summary.summarise(described())
    assert [row.shape for row in table.rows] == [
        (4, 75, 75, 128),
        (2, 25, 25, 64),
        (1, 9, 9, 32),
        (1, 3, 3, 32),
        (1, 1, 1, 32),
        (1024,),
        (5,),
    ]
    assert [row.parameters for row in table.rows] == [
        27 * 3 * 128 + 128,
        27 * 128 * 64 + 64,
        27 * 64 * 32 + 32,
        27 * 32 * 32 + 32,
        27 * 32 * 32 + 32,
        32 * 1024 + 1024,
        1024 * 5 + 5,
    ]
    assert table.parameters == 381_349
    # Before pooling: 10*224*224 positions, 27*3 inputs, 128 outputs, two FLOPs each, and so on.
    assert [row.flops for row in table.rows] == [
        2 * 501_760 * 81 * 128,
        2 * 22_500 * 3456 * 64,
        2 * 1250 * 1728 * 32,
        2 * 81 * 864 * 32,
        2 * 9 * 864 * 32,
        2 * 32 * 1024,
        2 * 1024 * 5,
    ]
    # A kernel of 3 adds 2 steps; a pooling window of 3 adds 2 and triples the step: 5, 5+4*3,
    # 17+4*9, ...
    sees = [row.receptive_field for row in table.rows]
    assert sees[:5] == [(n, n, n) for n in (5, 17, 53, 161, 485)]
    assert sees[5] == sees[6] == (summary.ALL,) * 3
    assert table.receptive_field == (485, 485, 485)


# (positions of the output, values of the kernel, channels in, channels out, count) of every
# convolution and dense layer for 16 frames at 112x112 and 5 classes, from the tables of the papers;
# then the parameters of biases or norms.
STAGE1, STAGE2, STAGE3, STAGE4 = 16 * 56 * 56, 8 * 28 * 28, 4 * 14 * 14, 2 * 7 * 7
BY_HAND = {
    "c3d": (
        [
            (16 * 112 * 112, 27, 3, 64, 1),
            (16 * 56 * 56, 27, 64, 128, 1),
            (8 * 28 * 28, 27, 128, 256, 1),
            (8 * 28 * 28, 27, 256, 256, 1),
            (4 * 14 * 14, 27, 256, 512, 1),
            (4 * 14 * 14, 27, 512, 512, 1),
            (2 * 7 * 7, 27, 512, 512, 2),
            (1, 4 * 4, 512, 4096, 1),
            (1, 1, 4096, 4096, 1),
            (1, 1, 4096, 5, 1),
        ],
        64 + 128 + 2 * 256 + 4 * 512 + 2 * 4096 + 5,
    ),
    "r3d_18": (
        [
            (STAGE1, 3 * 7 * 7, 3, 64, 1),
            (STAGE1, 27, 64, 64, 4),
            (STAGE2, 27, 64, 128, 1),
            (STAGE2, 27, 128, 128, 3),
            (STAGE2, 1, 64, 128, 1),
            (STAGE3, 27, 128, 256, 1),
            (STAGE3, 27, 256, 256, 3),
            (STAGE3, 1, 128, 256, 1),
            (STAGE4, 27, 256, 512, 1),
            (STAGE4, 27, 512, 512, 3),
            (STAGE4, 1, 256, 512, 1),
            (1, 1, 512, 5, 1),
        ],
        2 * (5 * 64 + 5 * 128 + 5 * 256 + 5 * 512) + 5,
    ),
    "mc3_18": (  # kernels without time after the first stage, and all frames to the end
        [
            (STAGE1, 3 * 7 * 7, 3, 64, 1),
            (STAGE1, 27, 64, 64, 4),
            (2 * STAGE2, 9, 64, 128, 1),
            (2 * STAGE2, 9, 128, 128, 3),
            (2 * STAGE2, 1, 64, 128, 1),
            (4 * STAGE3, 9, 128, 256, 1),
            (4 * STAGE3, 9, 256, 256, 3),
            (4 * STAGE3, 1, 128, 256, 1),
            (8 * STAGE4, 9, 256, 512, 1),
            (8 * STAGE4, 9, 512, 512, 3),
            (8 * STAGE4, 1, 256, 512, 1),
            (1, 1, 512, 5, 1),
        ],
        2 * (5 * 64 + 5 * 128 + 5 * 256 + 5 * 512) + 5,
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_architectures_equal_hand_counts(name):
    layers, others = BY_HAND[name]
    found = summary.summarise(described(model__name=name, data__num_frames=16, data__size=112))
    kernels = [size * channels * features * n for _, size, channels, features, n in layers]
    assert found.parameters == sum(kernels) + others
    assert found.flops == 2 * sum(
        layer[0] * size for layer, size in zip(layers, kernels, strict=True)
    )


def test_frames_only_network_has_a_field_of_one_frame():
    table = summary.summarise(
        described(model__kernel=(1, 3, 3), model__pool=(1, 3, 3), model__head="time_average")
    )
    assert table.receptive_field == (1, 485, 485)
    assert table.rows[0].parameters == 9 * 3 * 128 + 128


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_norm_replaces_the_bias_by_two_parameters_per_channel(norm):
    table = summary.summarise(described(model__norm=norm, model__head="average"))
    assert table.parameters == 381_349 + 128 + 64 + 32 + 32 + 32
    assert table.flops == summary.summarise(described()).flops
    assert table.receptive_field == (485, 485, 485)


def test_difference_input_adds_a_frame_to_the_field():
    table = summary.summarise(described(model__input="difference", data__color="gray"))
    assert table.rows[0].receptive_field == (6, 5, 5)
    assert table.rows[0].parameters == 27 * 128 + 128


class Branches(nn.Module):
    """Two paths of different extent, a strided slice, groups, and a gate over the whole clip."""

    @nn.compact
    def __call__(self, x, *, train):
        wide = Conv3D(8, (5, 7, 7), strides=(1, 2, 2), padding=((2, 2), (3, 3), (3, 3)))(x)
        wide = MaxPool3D((1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (1, 1)))(wide)
        narrow = Conv3D(8, (1, 1, 1), strides=(1, 4, 4), padding="VALID")(x)
        x = Conv3D(8, (3, 1, 1), groups=4)((wide + narrow)[:, ::4])
        x = x * nn.sigmoid(nn.Dense(8)(x.mean(axis=(1, 2, 3), keepdims=True)))
        x = Conv3D(8, (1, 1, 3))(x)
        return nn.Dense(2)(x.mean(axis=(1, 2, 3)))


def test_branches_slices_groups_and_gates_equal_hand_counts():
    table = summary.trace(Branches(), clip_shape=(16, 32, 32, 3), title="branches")
    rows = {row.name: row for row in table.rows}
    assert rows["Conv3D_0"].shape == (16, 16, 16, 8)
    assert rows["Conv3D_0"].receptive_field == (5, 7, 7)
    assert rows["MaxPool3D_0"].shape == (16, 8, 8, 8)
    assert rows["MaxPool3D_0"].receptive_field == (5, 11, 11)
    assert rows["Conv3D_1"].receptive_field == (1, 1, 1)
    # Three values of every fourth frame, each of which saw five frames.
    assert rows["Conv3D_2"].receptive_field == (13, 11, 11)
    assert rows["Conv3D_2"].parameters == 3 * 2 * 8 + 8
    assert rows["Conv3D_2"].flops == 2 * (4 * 8 * 8) * 3 * 2 * 8
    # Beside the gate, which says the same everywhere; the step is 4 pixels.
    assert rows["Conv3D_3"].receptive_field == (13, 11, 19)
    assert rows["Dense_0"].receptive_field == (summary.ALL,) * 3
    assert rows["Dense_1"].receptive_field == (summary.ALL,) * 3


def test_table_lists_every_layer_and_the_totals():
    text = io.StringIO()
    table = summary.render(summary.summarise(described(data__classes=("jump", "run"))))
    Console(file=text, width=100).print(table)
    for word in ("layer5", "hidden", "2 classes", "378,274", "20.50 G", "10.25 G", "485", "all"):
        assert word in text.getvalue()


def test_command_prints_the_table_of_a_config(call):
    small = ("--config.model.features=2", "--config.model.hidden=0", "--config.model.head=average")
    done = call("summary", "--config=configs/demo.py", *small)
    assert "conv3d" in done.stdout and "5 classes" in done.stdout
    # Two kernels of 27 weights a channel, their normalisation, two weights and a bias a class.
    assert f"{2 * 27 * 3 + 2 * 2 + 2 * 5 + 5} parameters, 2.99 MFLOPs per clip" in done.stdout

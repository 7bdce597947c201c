"""Weights files are read without running anything in them, and fit or say exactly what does not."""

import collections
import io
import os
import pickle
import zipfile

import jax
import numpy as np
import pytest

from vid3d import config, errors, models
from vid3d.weights import published, tensor_file

pytestmark = [pytest.mark.slow, pytest.mark.optimized]


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(4, 3, 2, 2, 2)).astype(np.float32),
        "norm.running_mean": rng.normal(size=(4,)).astype(np.float64),
        "half": rng.normal(size=(3, 5)).astype(np.float16),
        "norm.num_batches_tracked": np.array(12, np.int64),
    }


def assert_same(read: dict, expected: dict) -> None:
    assert set(read) == set(expected)
    for name, value in expected.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_torch_save_are_read(zipped, torch, tmp_path):
    state = collections.OrderedDict(
        (name, torch.from_numpy(value.copy())) for name, value in tensors().items()
    )
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert_same(tensor_file.read(tmp_path / "w.pth"), tensors())


@pytest.mark.parametrize("zipped", [True, False])
def test_strided_shared_and_bfloat16_tensors_are_read(zipped, torch, tmp_path):
    base = torch.arange(24, dtype=torch.float32)
    state = {
        "transposed": base.reshape(4, 6).T,
        "part": base[5:11],
        "whole": base,
        "parameter": torch.nn.Parameter(base[:3]),
        "coarse": base.to(torch.bfloat16),
        "nothing": base[:0],
    }
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    read = tensor_file.read(tmp_path / "w.pth")
    for name, value in state.items():
        np.testing.assert_array_equal(read[name].astype(np.float32), value.detach().float().numpy())


def test_nested_and_distributed_checkpoints_are_read(torch, tmp_path):
    state = {f"module.{name}": torch.from_numpy(value) for name, value in tensors().items()}
    torch.save({"epoch": 3, "cfg": "TRAIN: true", "model_state": state}, tmp_path / "w.pyth")
    assert_same(tensor_file.read(tmp_path / "w.pyth"), tensors())


def test_safetensors_are_read(write_safetensors, tmp_path):
    write_safetensors(tmp_path / "w.safetensors", tensors())
    assert_same(tensor_file.read(tmp_path / "w.safetensors"), tensors())


class Runs:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_in_a_pickle_is_not_run(tmp_path):
    evil = pickle.dumps({"weight": Runs(tmp_path / "ran")})
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", evil)
    (tmp_path / "old.pth").write_bytes(evil)
    for name in ("w.pth", "old.pth"):
        with pytest.raises(errors.UserError, match="mkdir: only tensors by name are read"):
            tensor_file.read(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_pickled_modules_are_refused_with_advice(torch, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(errors.UserError, match=r"save model\.state_dict\(\)"):
        tensor_file.read(tmp_path / "w.pth")


class Reference:
    """What a pickle says of data outside of it."""

    def __init__(self, *identity):
        self.identity = identity


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identity if isinstance(value, Reference) else None


def pickled(*values) -> bytes:
    """A pickle for each of them, as PyTorch wrote before 1.6."""
    file = io.BytesIO()
    for value in values:
        Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def reach_beyond(*, offset: int, shape: tuple, strides: tuple) -> bytes:
    """The pickle of a tensor over a storage of two numbers."""

    class Tensor:
        def __reduce__(self):
            import torch._utils

            storage = Reference("storage", torch.FloatStorage, "0", "cpu", 2)
            return torch._utils._rebuild_tensor_v2, (storage, offset, shape, strides, False, {})

    return pickled({"weight": Tensor()})


@pytest.mark.parametrize(
    "view",
    [
        {"offset": 0, "shape": (3,), "strides": (1,)},
        {"offset": 2, "shape": (1,), "strides": (1,)},
        {"offset": 0, "shape": (2,), "strides": (1000000,)},
        {"offset": -1, "shape": (1,), "strides": (1,)},
        {"offset": 1, "shape": (2,), "strides": (-1,)},
    ],
)
def test_tensors_beyond_their_storage_are_refused(view, torch, tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", reach_beyond(**view))
        archive.writestr("archive/data/0", np.ones(2, np.float32).tobytes())
    with pytest.raises(errors.UserError, match="damaged"):
        tensor_file.read(tmp_path / "w.pth")


def test_other_files_raise_a_clear_error(torch, tmp_path):
    with pytest.raises(errors.UserError, match="no weights file"):
        tensor_file.read(tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("hello, these are no weights")
    with pytest.raises(errors.UserError, match="neither a PyTorch file"):
        tensor_file.read(tmp_path / "text.pth")
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(errors.UserError, match="neither a PyTorch file"):
        tensor_file.read(tmp_path / "empty.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(errors.UserError, match="no tensors by name"):
        tensor_file.read(tmp_path / "list.pth")
    state = {"weight": torch.zeros(4096)}
    for zipped, words in ((True, "is cut off or damaged"), (False, "")):
        torch.save(state, tmp_path / "cut.pth", _use_new_zipfile_serialization=zipped)
        cut = (tmp_path / "cut.pth").read_bytes()[:-2000]
        (tmp_path / "cut.pth").write_bytes(cut)
        with pytest.raises(errors.UserError, match=rf"cut\.pth.*{words}"):
            tensor_file.read(tmp_path / "cut.pth")


def archive(path, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)


def test_damaged_files_raise_a_specific_error(write_safetensors, tmp_path):
    path = tmp_path / "w.pth"

    def refused(words: str) -> None:
        with pytest.raises(errors.UserError, match=words) as raised:
            tensor_file.read(path)
        assert str(path) in str(raised.value)

    archive(path, {"notes.txt": b"no tensors"})
    refused("zip archive without data.pkl")
    content = pickle.dumps({"weight": 1}, protocol=2)
    archive(path, {"w/data.pkl": content, "w/byteorder": b"big"})
    refused("big-endian machine")
    archive(path, {"w/data.pkl": content[:-4]})
    refused("cannot be read")
    path.write_bytes(pickle.dumps(7, protocol=2))
    refused("not one that torch.save wrote")
    write_safetensors(path, tensors())
    path.write_bytes(path.read_bytes()[:-8])
    refused("ends too early")


def test_unknown_storages_are_refused(torch, tmp_path):
    kind = torch.FloatStorage
    beyond = Reference("storage", kind, "0", "cpu", 2)
    begin = (tensor_file.LEGACY_MAGIC, 1001)
    little = {"little_endian": True}
    view = Reference("storage", kind, "0", "cpu", 2, ("1", 0, 2))
    for content, words in (
        (pickled(beyond), "a storage outside of the content"),
        (pickled(*begin, {"little_endian": False}), "big-endian machine"),
        (pickled(*begin, little, {"weight": view}), "keeps views of storages"),
        (
            pickled(*begin, little, {"weight": Reference("module", 7)}),
            "unknown kind of data, 'module'",
        ),
    ):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(errors.UserError, match=words):
            tensor_file.read(tmp_path / "w.pth")


def blank(name: str, num_classes: int, frames: int = 8):
    """Shapes of the variables of an architecture."""
    model = config.default().model
    model.name = name
    return models.shapes(models.build(model, num_classes), (frames, 32, 32, 3))


def x3d(num_classes: int):
    """The variables of the smallest published network."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), blank("x3d_xs", num_classes)
    )


@pytest.fixture(scope="module")
def x3d_state(published_state):
    """What the file of an X3D with 6 classes holds."""
    return published_state("x3d_s", 6)


# torchvision's and pytorchvideo's layouts, and what else they fit.
LAYOUTS = {
    "r3d_18": "r3d_18",
    "mc3_18": "mc3_18",
    "r2plus1d_18": "r2plus1d_18",
    "s3d": "s3d",
    "x3d_xs": "x3d_s",
    "x3d_s": "x3d_s",
    "x3d_m": "x3d_s",
    "slow_r50": "slow_r50",
    "slowfast_r50": "slowfast_r50",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_published_tensor_maps_to_one_variable(name, published_shapes):
    wanted = published.by_path(blank(name, 400))
    shapes = published_shapes(LAYOUTS[name], 400)
    tensors = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    found = published.convert(tensors, name=name, wanted=wanted)
    assert {key: tensor.shape for key, tensor in found.items()} == {
        key: leaf.shape for key, leaf in wanted.items()
    }
    counted = [key for key in shapes if not key.endswith("num_batches_tracked")]
    assert len(counted) == len(found)


def test_tensors_are_loaded_in_the_right_layout(x3d_state, write_safetensors, tmp_path):
    write_safetensors(tmp_path / "w.safetensors", x3d_state)
    variables, notes = published.load(tmp_path / "w.safetensors", name="x3d_xs", variables=x3d(6))
    assert notes == []
    block = variables["params"]["stage2_block1"]
    kernel = x3d_state["blocks.2.res_blocks.0.branch2.conv_b.weight"]
    np.testing.assert_array_equal(block["conv_b"]["kernel"], kernel.transpose(2, 3, 4, 1, 0))
    squeeze = x3d_state["blocks.2.res_blocks.0.branch2.norm_b.1.block.0.weight"]
    np.testing.assert_array_equal(block["gate"]["squeeze"]["kernel"], squeeze[:, :, 0, 0, 0].T)
    np.testing.assert_array_equal(
        variables["params"]["classes"]["kernel"], x3d_state["blocks.5.proj.weight"].T
    )
    np.testing.assert_array_equal(
        variables["batch_stats"]["stem_norm"]["var"], x3d_state["blocks.0.norm.running_var"]
    )


def test_other_class_counts_keep_the_new_head(x3d_state, write_safetensors, tmp_path):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, x3d_state)
    fresh = x3d(3)
    variables, notes = published.load(path, name="x3d_xs", variables=fresh)
    assert notes == ["w.safetensors has 6 classes: the last layer starts anew, for 3"]
    np.testing.assert_array_equal(
        variables["params"]["classes"]["kernel"], fresh["params"]["classes"]["kernel"]
    )
    fresh = x3d(6)
    variables, notes = published.load(path, name="x3d_xs", variables=fresh, new_head=True)
    assert notes
    np.testing.assert_array_equal(
        variables["params"]["classes"]["bias"], fresh["params"]["classes"]["bias"]
    )


def test_missing_surplus_and_misshapen_tensors_are_listed(x3d_state, write_safetensors, tmp_path):
    state = dict(x3d_state)
    del state["blocks.0.norm.bias"]
    del state["blocks.4.res_blocks.6.branch2.conv_c.weight"]
    state["blocks.9.conv.weight"] = np.zeros(1, np.float32)
    state["blocks.0.norm.weight"] = np.zeros(25, np.float32)
    write_safetensors(tmp_path / "w.safetensors", state)
    with pytest.raises(errors.UserError) as error:
        published.load(tmp_path / "w.safetensors", name="x3d_xs", variables=x3d(6))
    for words in (
        "2 missing: params/stage4_block7/conv_c/kernel, params/stem_norm/bias",
        "1 too many: blocks.9.conv.weight",
        "1 misshapen: params/stem_norm/scale (25,) instead of (24,)",
    ):
        assert words in str(error.value)


def test_every_tensor_of_a_damaged_file_is_listed(published_state, write_safetensors, tmp_path):
    state = published_state("x3d_s", 6)
    kept = {key: tensor for key, tensor in state.items() if "conv_a.weight" not in key}
    write_safetensors(tmp_path / "w.safetensors", kept)
    with pytest.raises(errors.UserError) as error:
        published.load(tmp_path / "w.safetensors", name="x3d_xs", variables=x3d(6))
    lost = len(state) - len(kept)
    assert lost > published.MOST_NAMED
    assert str(error.value).count("/conv_a/kernel") == lost


def test_another_architecture_is_recognised(published_state, write_safetensors, tmp_path):
    write_safetensors(tmp_path / "w.safetensors", published_state("mc3_18", 6))
    with pytest.raises(errors.UserError) as error:
        published.load(tmp_path / "w.safetensors", name="x3d_xs", variables=x3d(6))
    said = str(error.value)
    assert "does not fit config.model.name='x3d_xs'" in said
    assert said.endswith("; it fits mc3_18")
    assert len(said) < 3000
    assert "102 too many: fc.bias, fc.weight, layer1.0.conv1.0.weight" in said
    assert "and 82 more" in said
    with pytest.raises(errors.UserError, match="no published weights for"):
        published.load(tmp_path / "w.safetensors", name="conv3d", variables=x3d(6))


def test_slowfast_8x8_is_recognised(write_safetensors, tmp_path):
    name = "blocks.0.multipathway_fusion.conv_fast_to_slow.weight"
    write_safetensors(tmp_path / "w.safetensors", {name: np.zeros((16, 8, 7, 1, 1), np.float32)})
    with pytest.raises(errors.UserError, match="'slowfast_r50_8x8', not 'slowfast_r50'"):
        published.load(tmp_path / "w.safetensors", name="slowfast_r50", variables={})

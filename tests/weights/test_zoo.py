"""The presets of published weights: preprocessing and class names equal the reference's."""

from __future__ import annotations

import ast
import importlib.util
import runpy
from pathlib import Path

import numpy as np
import pytest

from vid3d import config as configs, errors, models
from vid3d.models.normalise import normalise
from vid3d.video import frames, resize
from vid3d.weights import published, zoo


def test_architectures_have_presets_and_addresses_layouts():
    assert set(zoo.ENTRIES) == set(models.NAMES) - {"conv3d"}
    for name, entry in zoo.ENTRIES.items():
        preset = zoo.preset(name)
        configs.validate(preset)
        assert preset.model.name == name
        if entry.address:
            assert name in published.NAMES
            assert entry.top1 > 50
            assert entry.sha256 in entry.address
    with pytest.raises(errors.UserError, match="no preset for 'r3d_50'"):
        zoo.preset("r3d_50")
    with pytest.raises(errors.UserError, match=r"no preset for 'r3d_19'.*did you mean 'r3d_18'"):
        zoo.preset("r3d_19")


def test_docs_list_every_file_and_checksum():
    rows = [line.split("|") for line in Path("docs/architectures.md").read_text().splitlines()]
    listed = {
        row[1].strip().strip("`"): (row[2].strip().strip("<>"), row[3].strip())
        for row in rows
        if len(row) == 5 and "https://" in row[2]
    }
    assert listed == {
        name: (e.address, f"begins with `{e.sha256}`" if e.sha256 else "not published")
        for name, e in zoo.ENTRIES.items()
        if e.address
    }


def photograph(height: int, width: int) -> np.ndarray:
    """A uint8 frame with structure at every scale, so that another filter gives other pixels."""
    rng = np.random.default_rng(height)
    coarse = (
        rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3)).repeat(16, 0).repeat(16, 1)
    )
    fine = rng.integers(-60, 60, (height, width, 3))
    return np.clip(coarse[:height, :width] + fine, 0, 255).astype(np.uint8)


def prepared(name: str, frame_HWC: np.ndarray) -> np.ndarray:
    """What the network of a preset sees of a frame, float32 [H, W, C]."""
    data = zoo.preset(name).data
    size = resize.stored_size(data)
    fitted = resize.fit(frame_HWC, size=size, resize=data.resize, color=data.color)
    return np.asarray(normalise(fitted[None], data)[0])


def real_frames(shared: Path) -> list[np.ndarray]:
    """Frames of videos of several sizes, upright ones and long ones."""
    videos = [
        *sorted(shared.glob("ucf101_sample/*/*.avi")),
        *sorted(shared.glob("fights/*/*"))[::24],
        shared / "decoding" / "media__hlg10-color-test.mp4",
        shared / "odd_videos" / "video_90.mov",
    ]
    return [next(frames.read_frames(video))[0] for video in videos]


ODD_SHAPES = [(240, 320), (361, 641), (641, 361), (120, 100), (49, 119), (1080, 1920)]


@pytest.fixture(params=["made", "real"])
def pictures(request) -> list[np.ndarray]:
    if request.param == "real":
        return real_frames(request.getfixturevalue("shared"))
    return [photograph(*shape) for shape in ODD_SHAPES]


# The share of values that may be one level off because they lie half way between two. At 256x256
# the weights are short binary fractions, so halves are exact.
HALF_WAY = {"r3d_18": 5e-4, "s3d": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", HALF_WAY)
def test_preprocessing_equals_torchvision(name, pictures, torch, torchvision_video):
    weights = {
        "r3d_18": torchvision_video.R3D_18_Weights,
        "s3d": torchvision_video.S3D_Weights,
    }[name].KINETICS400_V1
    differing = []
    for frame in pictures:
        expected = weights.transforms()(torch.from_numpy(frame.transpose(2, 0, 1).copy())[None])
        expected = expected[:, 0].numpy().transpose(1, 2, 0)
        difference = np.abs(prepared(name, frame) - expected)
        assert difference.max() < 1.01 / 255 / 0.216
        differing.append(difference > 1e-4)
    assert np.mean(differing) <= HALF_WAY[name]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The 'torchvision.transforms._:UserWarning")
@pytest.mark.parametrize("name", ["x3d_s", "slow_r50"])
def test_preprocessing_equals_pytorchvideo(name, pictures, torch, torchvision_video):
    """In the order of its hub example: normalise, then scale; stored frames are rounded."""
    from torchvision.transforms import _transforms_video as transforms

    spec = importlib.util.find_spec("pytorchvideo")
    if spec is None:
        pytest.skip("pytorchvideo is not installed")
    package = Path(spec.origin).parent
    # Its package of transforms imports a module that torchvision has removed.
    short_side_scale = runpy.run_path(package / "transforms" / "functional.py")["short_side_scale"]
    data = zoo.preset(name).data
    for frame in pictures:
        clip_CTHW = torch.from_numpy(frame.transpose(2, 0, 1).copy()).float()[:, None] / 255
        clip_CTHW = transforms.NormalizeVideo(data.mean, data.std)(clip_CTHW)
        clip_CTHW = short_side_scale(clip_CTHW, data.size)
        expected = transforms.CenterCropVideo(data.size)(clip_CTHW)[:, 0].numpy()
        found = prepared(name, frame).transpose(2, 0, 1)
        # Half a level of rounding; PyTorch's float32 coordinates in a 1080p frame are 1e-4 pixels
        # off.
        np.testing.assert_allclose(found, expected, atol=0.55 / 255 / 0.225)


def test_frame_times_equal_pytorchvideo():
    from vid3d.video.clips import clip_indices

    times_N = np.arange(300) / 30
    for name, frames_of_video in (("slow_r50", 64), ("x3d_m", 80), ("slowfast_r50", 64)):
        data = zoo.preset(name).data
        chosen = clip_indices(times_N, data, sampling="first")
        expected = np.linspace(0, frames_of_video - 1, data.num_frames)
        assert np.abs(chosen - expected).max() <= 0.5 + 1e-6
        assert (chosen[0], chosen[-1]) == (0, frames_of_video - 1)


def test_kinetics_class_names_equal_torchvision():
    names = zoo.class_names("kinetics400")
    assert len(names) == len(set(names)) == 400
    assert (names[0], names[5], names[291], names[399]) == (
        "abseiling",
        "archery",
        "sharpening pencil",
        "zumba",
    )
    spec = importlib.util.find_spec("torchvision")
    if spec is None:
        pytest.skip("torchvision is not installed")
    tree = ast.parse((Path(spec.origin).parent / "models" / "_meta.py").read_text())
    theirs = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_KINETICS400_CATEGORIES"
    )
    assert names == tuple(theirs)


def test_class_names_are_read_and_checked(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("run\njump \nswim\n")
    assert zoo.class_names(str(path)) == ("run", "jump", "swim")
    for text, words in (
        ("run\nrun\n", "line 2: 'run' is listed twice"),
        ("run\n\njump\n", "line 2: the line is empty"),
        ("", "holds no class names"),
    ):
        path.write_text(text)
        with pytest.raises(errors.UserError, match=words):
            zoo.class_names(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(errors.UserError, match=r"not UTF-8 text"):
        zoo.class_names(str(path))
    with pytest.raises(errors.UserError, match="cannot be read"):
        zoo.class_names("kinetics700")


def test_wrong_checksum_in_the_name_raises(tmp_path):
    path = tmp_path / "r3d_18-b3b3357e.pth"
    path.write_bytes(b"cut off")
    with pytest.raises(errors.UserError, match="is damaged: by its name its sha256 begins with"):
        zoo.sha256(path)
    for name in ("r3d_18.pth", "r3d_18-20261125.pth"):  # a date is no promise
        (tmp_path / name).write_bytes(b"abc")
        assert zoo.sha256(tmp_path / name).startswith("ba7816bf8f01cfea")

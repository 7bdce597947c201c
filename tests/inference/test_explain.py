"""`vid3d explain`: heat maps lie on what the answer comes from, in place and time."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vid3d.errors import UserError
from vid3d.inference import heat
from vid3d.video import frames

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def red_patch(noisy):
    """Grey noise in which the upper right quarter is red from frame 6 on: 12 frames."""
    frames_THWC = np.repeat(noisy("red", 12).mean(axis=3, keepdims=True), 3, axis=3)
    frames_THWC[6:, : HEIGHT // 2, WIDTH // 2 :] = noisy("red", 6)[:, : HEIGHT // 2, WIDTH // 2 :]
    return frames_THWC.astype(np.uint8)


@pytest.fixture(scope="module")
def patch_file(red_patch, write_video, tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("patch") / "patch.mp4", red_patch[6:])


@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients"])
def test_map_lies_on_what_is_red(method, load, red_patch):
    found = load().explain(red_patch[6:], label="red", method=method)
    mass_HW = np.maximum(found.map_THW, 0).sum(axis=0)
    height, width = mass_HW.shape
    quarter = mass_HW[: height // 2, width // 2 :].sum() / mass_HW.sum()
    assert found.label == "red"
    assert quarter > 0.6, "chance gives 0.25"
    x, y = np.nanmean(found.centres(), axis=0)
    assert x > 0.55 and y < 0.45


def test_curve_rises_when_it_becomes_red(load, red_patch):
    found = load({"eval.views": 3}).explain(red_patch, label="red")
    assert found.curve().sum() == pytest.approx(1)
    late = found.times_T >= 6 / 25
    assert found.curve()[late].mean() > 1.5 * found.curve()[~late].mean()


def test_parts_that_are_cut_off_have_no_heat(load, red_patch):
    found = load({"data.resize": "short_side"}).explain(red_patch)
    on_frame = heat.on_frame(np.ones_like(found.map_THW[0]), (HEIGHT, WIDTH), "short_side")
    side = (WIDTH - HEIGHT) // 2
    assert on_frame[:, :side].max() == on_frame[:, -side:].max() == 0
    assert on_frame[:, side:-side].min() == 1


def test_command_prints_json_and_writes_heated_copies(call, workdir, patch_file, tmp_path):
    output = tmp_path / "out"
    done = call(
        "explain", f"--workdir={workdir}", f"--output={output}", "--json", "--label=red", patch_file
    )
    printed = json.loads(done.stdout)
    assert printed["path"] == str(patch_file) and printed["method"] == "gradcam"
    assert len(printed["times"]) == len(printed["shares"]) == len(printed["centres"])
    assert sum(printed["shares"]) == pytest.approx(1)
    copied = list(frames.read_frames(output / "patch.mp4"))
    original = list(frames.read_frames(patch_file))
    times = [seconds for _, seconds in original]
    assert [seconds for _, seconds in copied] == pytest.approx(times, abs=2e-3)
    spread = copied[-1][0].astype(int).max(axis=2) - copied[-1][0].min(axis=2)
    middle = slice(len(spread) // 4, len(spread) // 2)
    columns = spread.shape[1] // 2
    assert spread[middle, columns:].mean() > 2 * spread[middle, :columns].mean()


def test_broken_file_is_named_and_the_others_are_explained(call, workdir, patch_file, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    done = call("explain", f"--workdir={workdir}", "--json", broken, patch_file, check=1)
    first, second = map(json.loads, done.stdout.splitlines())
    assert "not a video" in first["error"] and "error: " in done.stderr
    assert second["shares"]


def test_a_training_run_that_has_not_ended_is_noted(call, make_workdir, patch_file, tmp_path):
    """Whoever labels with weights that will change has to know it, by whichever command."""
    workdir = make_workdir({"finished": False})
    onnx = ("--format=onnx", f"--output={tmp_path / 'x.onnx'}", "--videos", patch_file)
    for name, *arguments in (
        ("predict", patch_file),
        ("explain", "--json", patch_file),
        ("live", "--json", f"--source={patch_file}"),
        ("export", *onnx),
    ):
        said = call(name, f"--workdir={workdir}", *arguments).stderr
        assert f"vid3d {name}: note: the training run in {workdir} has not ended (step 40" in said


def test_wrong_use_is_one_line(call, load, workdir, patch_file):
    done = call("explain", f"--workdir={workdir}", patch_file, check=1)
    assert "--output=DIR" in done.stderr
    done = call("explain", f"--workdir={workdir}", "--json", "--label=rde", patch_file, check=1)
    assert "did you mean 'red'" in done.stderr
    with pytest.raises(UserError, match="did you mean 'gradcam'"):
        load().explain(patch_file, method="grad_cam")

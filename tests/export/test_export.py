"""`vid3d export`: files that their own runtimes load, with the answers of JAX, or nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import vid3d
from vid3d.errors import UserError
from vid3d.export import proof
from vid3d.export.formats import SUFFIXES

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def test_video(smoke_run):
    """A test video of the workdir."""
    rows = vid3d.Workdir(smoke_run).videos()
    config = vid3d.config.read(smoke_run / "config.json")
    root = vid3d.config.cache_folder(config.data.cache_dir)
    name = next(row["path"] for row in rows if row["split"] == "test")
    return next(path for path in root.glob(f"synthetic-*/{name}"))


@pytest.mark.slow
@pytest.mark.parametrize("format", SUFFIXES)
def test_a_file_is_proved_and_labels_a_video_without_vid3d(
    format, call, smoke_run, test_video, tmp_path
):
    output = tmp_path / f"net{SUFFIXES[format]}"
    more = ["--evaluate"] if format == "onnx" else [f"--videos={test_video}"]
    done = call(
        "export", f"--workdir={smoke_run}", f"--format={format}", f"--output={output}", *more
    )
    facts = json.loads((tmp_path / "export.json").read_text())
    assert f"wrote {output}: on {facts['proof']['num_clips']} clips" in done.stdout
    assert facts["proof"]["largest_difference"] < 1e-5 and facts["proof"]["flipped"] == 0
    assert {*facts["files"], "export.json"} == {path.name for path in tmp_path.iterdir()}
    assert facts["checkpoint"]["step"] == vid3d.load(smoke_run).step
    if format == "onnx":
        tested = facts["evaluation"]
        assert facts["proof"]["num_clips"] == tested["num_videos"] == 15
        assert tested["accuracy"] == tested["accuracy_jax"]
    arguments = [f"docs/export_{format}.py", str(output), str(test_video)]
    code = f"import runpy, sys; sys.modules['vid3d'] = None; sys.argv = {arguments}"
    code += "; runpy.run_path(sys.argv[0])"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"XLA_FLAGS": ""}, capture_output=True, text=True,
    )  # fmt: skip
    answer = vid3d.load(smoke_run).predict(test_video)
    assert shown.returncode == 0, shown.stderr
    label, probability = shown.stdout.split()
    assert label == answer.label and abs(float(probability) - answer.probability) < 0.02


def test_the_file_describes_itself(call, smoke_run, test_video, tmp_path):
    """All that a program needs that has only the file."""
    import onnx

    output = tmp_path / "net.onnx"
    call("export", f"--workdir={smoke_run}", "--format=onnx", f"--output={output}",
         f"--videos={test_video}")  # fmt: skip
    model = onnx.load(output)
    about = json.loads({entry.key: entry.value for entry in model.metadata_props}["vid3d"])
    config = vid3d.load(smoke_run).config
    assert about["classes"] == list(vid3d.load(smoke_run).classes)
    size = config.data.size
    assert about["input"]["shape"] == [None, config.data.num_frames, size, size, 3]
    assert about["input"]["colour"] == "RGB" and about["clip"]["sampling"] == "first"
    assert about["threshold"] == config.predict.threshold
    (entry,) = model.graph.input
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_where_it_fails_nothing_is_left(call, smoke_run, test_video, tmp_path, monkeypatch):
    arguments = ["export", f"--workdir={smoke_run}", "--format=onnx", f"--videos={test_video}"]
    monkeypatch.setitem(proof.BOUNDS, "f32", -1.0)
    done = call(*arguments, f"--output={tmp_path / 'net.onnx'}", check=1)
    assert "the onnx file does not answer as JAX does: a probability differs by" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_full_disk_is_one_line(call, smoke_run, test_video, small_disk):
    disk = small_disk("64k")
    arguments = ["export", f"--workdir={smoke_run}", "--format=stablehlo"]
    done = call(*arguments, f"--videos={test_video}", f"--output={disk / 'net.npz'}", check=1)
    assert done.stderr.splitlines()[-1].startswith(f"vid3d export: error: cannot write {disk}")
    assert not list(disk.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format=onx", "--output=net.onnx"], "'onx' is not one of onnx, openvino, stablehlo"),
        (["--format=onnx", "--output=net.xml"], "the name of a file for onnx ends in .onnx"),
        (["--format=onnx", "--output=nowhere/net.onnx"], "there is no folder"),
        (["--format=onnx", "--output=net.onnx", "--clips=0"], "compare on 1 clip or more"),
        (["--format=onnx", "--output=taken/net.onnx"], "belongs to another export"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, words, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "export.json").write_text('{"files": {"other.onnx": ""}}')
    done = call("export", "--workdir=w", *arguments, check=1)
    assert words in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_missing_package_is_named_with_its_extra(
    call, smoke_run, test_video, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    output = tmp_path / "net.onnx"
    done = call("export", f"--workdir={smoke_run}", "--format=onnx", f"--output={output}",
                f"--videos={test_video}", check=1)  # fmt: skip
    assert "onnxruntime is not installed: pip install 'vid3d[export]'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_proof_counts_other_answers_and_refuses_what_is_not_a_number():
    wanted = np.array([[0.6, 0.4], [0.2, 0.8]], np.float32)
    found = np.array([[0.45, 0.55], [0.2, 0.8]], np.float32)
    one = proof.compare(wanted, found, "f32")
    assert one.flipped == 1 and one.largest_difference == pytest.approx(0.15)
    with pytest.raises(UserError, match="1 of 2 answers are others"):
        one.check("it")
    proof.compare(wanted, wanted + 5e-5, "f32").check("it")
    with pytest.raises(UserError, match="differs by nan"):
        proof.compare(wanted, wanted * np.nan, "f32").check("it")

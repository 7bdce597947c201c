"""Pretrained weights initialise a training run, or make a workdir without one."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.videos import write_frames

import vid3d
from vid3d import checkpoint, config as configs, models
from vid3d.cli import main
from vid3d.errors import UserError
from vid3d.evaluation.evaluate import evaluate
from vid3d.inference.classifier import Classifier
from vid3d.training import transfer
from vid3d.weights import zoo


def fresh(model, num_classes: int, frames: int = 4, size: int = 32) -> dict:
    """Variables of a model, all leaves -1."""
    module = models.build(model, num_classes)
    clips = jax.ShapeDtypeStruct((1, frames, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), clips)
    shapes = {"params": shapes["params"], "batch_stats": shapes.get("batch_stats", {})}
    return jax.tree.map(lambda leaf: np.full(leaf.shape, -1, np.float32), shapes)


def test_initialising_keeps_the_last_layer_for_the_same_classes(smoke_run):
    step = checkpoint.resolve(smoke_run)
    weights, meta = checkpoint.restore_weights(smoke_run, step)
    config = configs.from_json(json.dumps(meta["config"]))
    config.model.init_from = str(smoke_run)
    classes = tuple(meta["classes"])
    shape = {"frames": config.data.num_frames, "size": config.data.size}

    start = transfer.initial(config.model, fresh(config.model, 5, **shape), classes)
    assert start.notes == [f"starting from step {step} of {smoke_run}"]
    jax.tree.map(np.testing.assert_array_equal, start.variables, weights)
    assert sorted(start.videos.values()) == sorted(meta["training_videos"].values())

    renamed = transfer.initial(
        config.model, fresh(config.model, 5, **shape), (*classes[:4], "something else")
    )
    assert "5 classes: the last layer starts anew, for 5" in renamed.notes[1]
    assert (renamed.variables["params"]["classes"]["kernel"] == -1).all()
    turned = transfer.initial(config.model, fresh(config.model, 5, **shape), classes[::-1])
    assert (turned.variables["params"]["classes"]["kernel"] == -1).all()
    # From shapes alone, before there is a state, it is the same in the end.
    values = fresh(config.model, 5, **shape)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), values)
    early = transfer.initial(config.model, shapes, (*classes[:4], "something else"))
    jax.tree.map(np.testing.assert_array_equal, early.over(values), renamed.variables)
    np.testing.assert_array_equal(
        renamed.variables["params"]["layer1"]["conv"]["kernel"],
        weights["params"]["layer1"]["conv"]["kernel"],
    )

    config.model.features = (8, 12)
    with pytest.raises(UserError) as error:
        transfer.initial(config.model, fresh(config.model, 5, **shape), classes)
    assert "misshapen" in str(error.value)
    assert "params/layer2/conv/kernel (3, 3, 3, 8, 16) instead of (3, 3, 3, 8, 12)" in str(
        error.value
    )


def test_unusable_initial_weights_are_one_line(smoke_run, tmp_path):
    model = configs.default().model
    model.name = "mc3_18"
    for origin, words in (
        (str(tmp_path / "absent.pth"), "no such file or workdir"),
        (str(tmp_path), "no checkpoint in"),
        (str(smoke_run), "is config.model.name='conv3d', not 'mc3_18'"),
    ):
        model.init_from = origin
        with pytest.raises(UserError, match=words):
            transfer.initial(model, fresh(model, 5), ("a", "b", "c", "d", "e"))


@pytest.mark.slow
def test_a_published_last_layer_is_kept_for_its_classes(
    published_state, write_safetensors, tmp_path
):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, published_state("mc3_18", 400))
    model = configs.default().model
    model.name, model.init_from = "mc3_18", str(path)
    kinetics = zoo.class_names("kinetics400")
    kept = transfer.initial(model, fresh(model, 400), kinetics)
    assert (kept.variables["params"]["classes"]["bias"] != -1).all()
    assert "sha256" in kept.notes[0] and len(kept.notes) == 1
    for classes in (tuple(f"class {n}" for n in range(400)), ("run", "jump")):
        new = transfer.initial(model, fresh(model, len(classes)), classes)
        assert (new.variables["params"]["classes"]["bias"] == -1).all()
        assert f"starts anew, for {len(classes)}" in new.notes[1]

    write_safetensors(path, published_state("mc3_18", 2))
    own = transfer.initial(model, fresh(model, 2), ("run", "jump"))
    assert (own.variables["params"]["classes"]["bias"] != -1).all()
    assert "its classes have to be run, jump" in own.notes[1]


@pytest.fixture(scope="module")
def weights(published_state, write_safetensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mc3_18.safetensors"
    write_safetensors(path, published_state("mc3_18", 400))
    return path


def import_mc3(weights, workdir):
    options = [f"--weights={weights}", "--classes=kinetics400", f"--workdir={workdir}"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(["import", "--arch=mc3_18", *options]) == 0
    assert "holds mc3_18 with 400 classes" in said.getvalue()
    return workdir


@pytest.fixture(scope="module")
def imported(weights, tmp_path_factory):
    return import_mc3(weights, tmp_path_factory.mktemp("imported") / "run")


@pytest.fixture(scope="module")
def imported_for_small_clips(weights, tmp_path_factory):
    """As if the weights were published for clips of 8x32x32, which take a hundredth of the time."""
    small = zoo.torchvision_clips(8, 32, (36, 40))
    with pytest.MonkeyPatch.context() as patch:
        entry = dataclasses.replace(zoo.ENTRIES["mc3_18"], data=small)
        patch.setitem(zoo.ENTRIES, "mc3_18", entry)
        return import_mc3(weights, tmp_path_factory.mktemp("imported") / "small")


def test_an_imported_workdir_has_the_preprocessing_of_its_weights(imported):
    config = configs.from_json((imported / "config.json").read_text())
    assert (config.data.num_frames, config.data.fps, config.data.size) == (16, 15.0, 112)
    assert config.data.stored_size == (128, 171)
    assert config.data.mean == (0.43216, 0.394666, 0.37645)
    assert config.eval.views == 5
    classifier = vid3d.load(str(imported))
    assert classifier.classes == zoo.class_names("kinetics400")
    assert classifier.window_seconds == 10


SMALL = {"data.size": "32", "data.stored_size": "36,40", "data.num_frames": "4", "eval.views": "1"}


def test_an_imported_workdir_evaluates_like_a_trained_one(imported, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("archery", "zumba"):
        for number in range(4):
            frames = rng.integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
            write_frames(tmp_path / "videos" / name / f"{number}.avi", frames, codec="MJPG")
    overrides = list((SMALL | {"eval.batch_size": "8"}).items())
    figures, folder = evaluate(str(imported), data=str(tmp_path / "videos"), overrides=overrides)
    assert (figures["num_videos"], figures["step"]) == (8, 0)
    assert set(figures["overrides"]) == set(SMALL)

    # The same numbers from the network itself, on the clips that its preprocessing makes.
    weights, meta = checkpoint.restore_weights(imported, 0)
    config = configs.from_json(json.dumps(meta["config"]))
    for key, text in SMALL.items():
        configs.apply(config, key, text)
    classifier = Classifier(weights, config, classes=meta["classes"])
    answer = classifier.predict(str(tmp_path / "videos" / "zumba" / "2.avi"))
    table = (folder / "predictions.csv").read_text()
    row = next(line for line in table.splitlines() if "zumba/2.avi" in line)
    assert float(row.rsplit(",", 1)[1]) == pytest.approx(answer.probabilities["zumba"], abs=1e-6)
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_an_imported_workdir_labels_a_file_and_a_stream(imported_for_small_clips, tmp_path, capsys):
    video = tmp_path / "short.avi"
    noise = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    write_frames(video, noise, codec="MJPG")
    answers = []
    for command in (("predict", str(video)), ("live", f"--source={video}")):
        assert main([*command, f"--workdir={imported_for_small_clips}", "--json"]) == 0
        answers.append(capsys.readouterr().out)
    [predicted] = json.loads(answers[0])["predictions"]
    [seen] = map(json.loads, answers[1].splitlines())
    # The video is shorter than a clip, so that all views of the one and the window of the other are
    # the same frames.
    assert tuple(predicted["probabilities"]) == zoo.class_names("kinetics400")
    assert predicted["probability"] > 1.5 / 400  # the weights say something
    assert seen["probabilities"] == pytest.approx(predicted["probabilities"], abs=1e-5)
    assert seen["label"] == predicted["label"]


def test_testing_an_imported_workdir_needs_data(imported, tmp_path):
    for overrides in ([], [("data.root", str(tmp_path))]):
        with pytest.raises(UserError, match=r"name the videos to test with --data=FOLDER\|CSV"):
            evaluate(str(imported), overrides=overrides)


def test_training_in_an_imported_workdir_is_refused(imported, call):
    done = call("train", "--config=configs/demo.py:smoke", f"--workdir={imported}", check=1)
    assert f"--config.model.init_from={imported}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_unusable_imports_are_one_line(weights, tmp_path):
    (tmp_path / "five.txt").write_text("a\nb\nc\nd\ne\n")
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    for options, words in (
        ({"arch": "r3d_50"}, "no preset for 'r3d_50'"),
        ({"arch": "r3d_18"}, "does not fit"),
        ({"weights": str(tmp_path / "absent.pth")}, "no weights file"),
        ({"classes": str(tmp_path / "five.txt")}, "has 400 classes, and .*five.txt names 5"),
        ({"workdir": full}, "is not empty"),
    ):
        given = {
            "arch": "mc3_18",
            "weights": str(weights),
            "classes": "kinetics400",
            "workdir": tmp_path / "new",
        } | options
        with pytest.raises(UserError, match=words):
            transfer.import_weights(
                given["arch"], given["weights"], classes=given["classes"], workdir=given["workdir"]
            )
    assert [path.name for path in full.iterdir() if path.name != ".lock"] == ["notes.txt"]

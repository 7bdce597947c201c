"""A training run starts from weights that fit, and resumes with the same videos only."""

from __future__ import annotations

import functools
import json
import re
import shutil
from pathlib import Path

import pytest
from fixtures.videos import write_video

from vid3d import checkpoint, config as configs
from vid3d.checkpoint import Workdir
from vid3d.checkpoint.writing import CheckpointStore
from vid3d.data import prepare
from vid3d.data.store import FrameStore
from vid3d.errors import UserError
from vid3d.sweep import table
from vid3d.training import loop, recorder

pytestmark = pytest.mark.slow

SMALL = {
    "data.size": "16",
    "data.num_frames": "4",
    "data.val_fraction": "0",
    "model.features": "4",
    "model.hidden": "0",
    "model.pool": "1,2,2",
    "train.batch_size": "8",
    "train.epochs": "2",
}


write_small = functools.partial(write_video, num_frames=6, size=(32, 32), step=3)


def keys(videos: Path, **more: str) -> dict[str, str]:
    return SMALL | {"data.root": str(videos)} | more


def options(videos: Path, workdir: Path, **more: str) -> list[str]:
    found = (f"--config.{key}={value}" for key, value in keys(videos, **more).items())
    return ["train", "--config=configs/videos.py:tutorial", f"--workdir={workdir}", *found]


@pytest.fixture(scope="module")
def started(once) -> tuple[Path, Path]:
    """(videos, workdir): 24 videos of two classes, two epochs of a training without validation."""

    def begin(root: Path) -> None:
        for k in range(24):
            write_small(
                root / "videos" / ("down", "up")[k % 2] / f"{k}.avi", shade=5 * k + 100 * (k % 2)
            )
        config = configs.load("configs/videos.py:tutorial", keys(root / "videos").items())
        assert loop.train(config, root / "run")

    root = once("begin", begin)
    return root / "videos", root / "run"


@pytest.fixture
def copied(started, tmp_path) -> tuple[Path, Path]:
    """A copy that a test may go on with; the videos are in another place."""
    videos, workdir = (shutil.copytree(path, tmp_path / path.name) for path in started)
    return videos, workdir


def rows(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def training_videos(workdir: Path) -> list[str]:
    step = checkpoint.resolve(workdir, "latest")
    return sorted(Workdir(workdir).meta(step)["training_videos"])


def test_without_validation_the_latest_checkpoint_is_best(copied, call):
    videos, workdir = copied
    step = checkpoint.resolve(workdir, "latest")
    assert checkpoint.resolve(workdir, "best") == step
    done = call(*options(videos, workdir, **{"train.epochs": "3"}))
    assert f"resuming at step {step} of" in done.stderr
    assert "no validation videos: the best checkpoint is the latest\n" in done.stderr
    assert "augment.flip=off: clips are not mirrored\n" in done.stderr
    assert "the best so far" not in done.stderr
    found = rows(workdir)
    assert [row["epoch"] for row in found] == [1, 2, 3]
    assert all(row["train/loss"] > 0 for row in found)
    assert not any(key.startswith("val/") for row in found for key in row)

    figures = json.loads(call("evaluate", f"--workdir={workdir}", "--json").stdout)
    assert figures["step"] == found[-1]["step"] > step
    predicted = call("predict", f"--workdir={workdir}", videos / "up" / "1.avi", "--json")
    assert len(json.loads(predicted.stdout)["predictions"]) == 1
    done = call("evaluate", f"--workdir={workdir}", "--split=val", check=1)
    assert "no video in the val split of" in done.stderr
    output = workdir / "compared"
    assert f"{figures['accuracy']:.3f}" in call("compare", workdir, f"--output={output}").stdout
    assert (output / "curves.png").exists()
    assert table.Status(run=None, workdir=workdir).best_accuracy() is None  # in a sweep


def test_early_stopping_without_validation_is_reported(started, tmp_path, call):
    videos, _ = started
    more = {"train.early_stopping": "1", "train.profile_steps": "1,1000000"}
    done = call(*options(videos, tmp_path / "run", **more))
    assert "train.early_stopping never ends it" in done.stderr
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [1, 2]
    # The profile is written though the run ended inside its steps.
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


def test_resuming_needs_the_same_training_videos(copied, call):
    videos, workdir = copied
    first, second, third, *_ = training_videos(workdir)
    (videos / first).unlink()
    write_small(videos / second, shade=77)
    more = options(videos, workdir, **{"train.epochs": "4"})
    before = (workdir / "metrics.jsonl").read_bytes()
    # Where few videos are split together, others may take the place of those that are gone.
    for expected in (r"\(1 gone, (\d new, )?1 changed\)", r"\(2 gone, (\d new, )?1 changed\)"):
        done = call(*more, check=1)
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f"vid3d train: error: {workdir} was started with")
        assert re.search(expected, last) and "restore them, or start in a new --workdir" in last
        (videos / third).unlink(missing_ok=True)
    assert (workdir / "metrics.jsonl").read_bytes() == before
    assert Workdir(workdir).checkpoints()


def test_a_new_training_video_is_refused(copied, call):
    videos, workdir = copied
    for k in range(9):  # some of them train
        write_small(videos / "up" / f"more{k}.avi", shade=21 + 5 * k)
    done = call(*options(videos, workdir, **{"train.epochs": "4"}), check=1)
    assert " new): restore them, or start in a new --workdir" in done.stderr.splitlines()[-1]
    for k in range(9):  # a class of its own
        shutil.move(videos / "up" / f"more{k}.avi", videos / f"more{k}.avi")
        write_small(videos / "left" / f"more{k}.avi", shade=21 + 5 * k)
    done = call(*options(videos, workdir, **{"train.epochs": "4"}), check=1)
    words = "have the classes down, up, the data down, left, up: take another --workdir"
    assert words in done.stderr.splitlines()[-1]


def test_too_long_a_warm_up_fails_before_decoding(started, tmp_path, monkeypatch, call):
    monkeypatch.setattr(prepare, "prepare", lambda *_, **__: pytest.fail("it decodes"))
    more = {"train.epochs": "1", "optim.warmup": "1 epoch"}
    done = call(*options(started[0], tmp_path / "run", **more), check=1)
    [line] = done.stderr.splitlines()
    assert "config.optim.warmup='1 epoch' is not shorter than the training" in line


def test_a_small_validation_split_is_reported(started, tmp_path, call):
    done = call(*options(started[0], tmp_path / "run", **{"data.val_fraction": "0.1"}))
    assert "FEW: the validation split has" in done.stderr


@pytest.mark.parametrize("rate", ["0", "0.1"])
def test_a_probe_of_random_features_fails_before_decoding(
    rate, started, tmp_path, monkeypatch, call
):
    monkeypatch.setattr(prepare, "prepare", lambda *_, **__: pytest.fail("it decodes"))
    more = {"optim.backbone_rate": rate}
    done = call(*options(started[0], tmp_path / "run", **more), check=1)
    [line] = done.stderr.splitlines()
    assert f"config.optim.backbone_rate={rate} holds back layers that start at random" in line
    assert "--config.model.init_from" in line
    assert not (tmp_path / "run").exists()


def test_unfit_initial_weights_fail_before_decoding(started, tmp_path, monkeypatch):
    videos, origin = started
    monkeypatch.setattr(prepare, "prepare", lambda *_, **__: pytest.fail("it decodes"))
    for more, words in (
        ({"model.init_from": str(tmp_path / "absent.pth")}, "there is no such file or workdir"),
        ({"model.init_from": str(origin), "model.features": "5"}, "does not fit .*misshapen"),
    ):
        config = configs.load("configs/videos.py:tutorial", keys(videos, **more).items())
        with pytest.raises(UserError, match=words):
            loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_initial_weights_are_read_once_and_not_to_resume(copied, call, tmp_path, monkeypatch):
    videos, origin = copied
    more = {"model.init_from": str(origin), "optim.backbone_rate": "0.5"}
    read, load = [], checkpoint.load
    monkeypatch.setattr(checkpoint, "load", lambda *asked: read.append(asked) or load(*asked))
    call(*options(videos, tmp_path / "mine", **more))
    assert read == [(origin,)]
    before = Workdir(tmp_path / "mine").meta(checkpoint.resolve(tmp_path / "mine", "latest"))
    shutil.rmtree(origin)
    call(*options(videos, tmp_path / "mine", **more, **{"train.epochs": "3"}))
    after = Workdir(tmp_path / "mine").meta(checkpoint.resolve(tmp_path / "mine", "latest"))
    assert after["training_videos"] == before["training_videos"]


@pytest.mark.parametrize(
    "change", [("23.avi,up,test", "23.avi,up,val"), ("down/0.avi,down,", "down/0.avi,up,")]
)
def test_resuming_needs_the_same_labels_and_validation(change, copied, tmp_path, call):
    videos, _ = copied
    splits = ["train"] * 16 + ["val"] * 4 + ["test"] * 4
    labels = [("down", "up")[k % 2] for k in range(24)]
    lines = [f"{labels[k]}/{k}.avi,{labels[k]},{splits[k]}" for k in range(24)]
    manifest = videos / "manifest.csv"
    manifest.write_text("path,label,split\n" + "\n".join(lines) + "\n")
    workdir = tmp_path / "listed"
    call(*options(videos, workdir))
    listed = (workdir / "videos.csv").read_bytes()
    manifest.write_text(manifest.read_text().replace(*change))
    more = options(videos, workdir, **{"train.epochs": "4"})
    said = call(*more, check=1).stderr.splitlines()[-1]
    assert "was started with other labels or validation videos" in said
    assert (workdir / "videos.csv").read_bytes() == listed


@pytest.mark.parametrize("left", ["evaluation", "metrics.jsonl"])
def test_a_workdir_without_its_checkpoints_is_refused(left, copied, call):
    videos, workdir = copied
    if left == "evaluation":
        call("evaluate", f"--workdir={workdir}")
        (workdir / "metrics.jsonl").unlink()
    shutil.rmtree(workdir / "checkpoints")
    before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"}
    done = call(*options(videos, workdir, **{"seed": "3"}), check=1)
    assert f"the checkpoints of {workdir} are gone" in done.stderr.splitlines()[-1]
    after = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"}
    assert after == before


@pytest.mark.parametrize("left", [1, 0, None])
def test_resuming_names_lost_rows(left, copied, call):
    videos, workdir = copied
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 2
    lost = [json.loads(line)["step"] for k, line in enumerate(lines) if k != left]
    path.write_text(lines[left]) if left is not None else path.unlink()
    said = call(*options(videos, workdir, **{"train.epochs": "3"})).stderr
    numbers = ", ".join(map(str, lost))
    assert f"{path} has lost the rows of {len(lost)} evaluations (step {numbers})" in said
    assert [row["epoch"] for row in rows(workdir)] == [k + 1 for k in (0, 1) if k == left] + [3]


def test_an_error_stops_the_progress_bar(started, tmp_path, call, monkeypatch):
    """The bar is stopped, which hides the cursor as long as it runs."""
    closed = []
    monkeypatch.setattr(recorder.Recorder, "close", lambda self: closed.append(self.bar.stop()))

    def fail(*_, **__) -> None:
        raise UserError("the disk is gone")

    monkeypatch.setattr(CheckpointStore, "save", fail)
    assert "the disk is gone" in call(*options(started[0], tmp_path / "run"), check=1).stderr
    assert len(closed) == 1


def test_a_run_killed_before_its_first_step_resumes(started, tmp_path, call, monkeypatch):
    videos, _ = started
    command = options(videos, tmp_path / "run")

    def kill(*_) -> None:
        raise KeyboardInterrupt

    for where in ("resume", "run"):
        with monkeypatch.context() as patch:
            patch.setattr(loop, where, kill)
            call(*command, check=75)
        assert (tmp_path / "run" / "checkpoints").is_dir()
    # And a moment earlier, while config.json was written.
    (tmp_path / "run" / "config.json").rename(tmp_path / "run" / "config.json.incomplete")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    for path in (*(tmp_path / "run").glob("*.csv"), tmp_path / "run" / "provenance.json"):
        path.unlink()
    shutil.rmtree(tmp_path / "run" / "tensorboard", ignore_errors=True)
    call(*command)
    assert not list((tmp_path / "run").glob("*.incomplete"))


def test_a_run_without_manifests_is_left_untouched(copied, call):
    videos, workdir = copied
    call("evaluate", f"--workdir={workdir}")
    for manifest in workdir.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"}
    said = call(*options(videos, workdir, **{"train.epochs": "4"}), check=1).stderr
    assert "have lost their manifest.json: restore it" in said.splitlines()[-1]
    after = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"}
    assert after == before


def test_initial_weights_that_saw_test_videos_are_refused(copied, tmp_path, call):
    videos, origin = copied
    more = {"model.init_from": str(origin), "seed": "1"}
    done = call(*options(videos, tmp_path / "mine", **more), check=1)
    words = rf"\d of \d test videos were in the training of {re.escape(str(origin))}, such as "
    assert re.search(words, done.stderr.splitlines()[-1])
    assert not (tmp_path / "mine").exists()


def test_a_checkpoint_without_manifest_keeps_its_config(copied, call):
    """Its manifest was lost; it was not evaluated."""
    videos, workdir = copied
    shutil.rmtree(workdir / "checkpoints" / "2")
    (workdir / "checkpoints" / "4" / "manifest.json").unlink()
    done = call(*options(videos, workdir, **{"optim.learning_rate": "0.5"}), check=1)
    assert "was trained with another config (optim.learning_rate" in done.stderr
    before = rows(workdir)
    done = call(*options(videos, workdir))
    assert f"removing {workdir}/checkpoints/4: its writing was cut off" in done.stderr
    assert rows(workdir) == before


def test_resuming_needs_videos_csv(copied, call):
    videos, workdir = copied
    (workdir / "videos.csv").unlink()
    done = call(*options(videos, workdir, **{"train.epochs": "3"}), check=1)
    assert "videos.csv is gone, which says what labels and validation videos" in done.stderr
    assert not (workdir / "videos.csv").exists()


def test_a_run_without_update_or_profile_is_reported(started, tmp_path, call):
    done = call(*options(started[0], tmp_path / "run", **{"optim.accumulate": "5"}), check=1)
    words = "config.optim.accumulate=5 is more than the training's 4 steps"
    assert words in done.stderr.splitlines()[-1]
    done = call(*options(started[0], tmp_path / "run", **{"train.profile_steps": "4,9"}))
    assert "begin after the last step, 3: there will be no profile" in done.stderr


def test_files_in_place_of_checkpoints_are_named_or_ignored(started, tmp_path, call):
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "checkpoints").write_text("")
    done = call(*options(started[0], workdir), check=1)
    assert f"{workdir}/checkpoints is a file: give a folder" in done.stderr.splitlines()[-1]
    (workdir / "checkpoints").unlink()
    call(*options(started[0], workdir))
    (workdir / "checkpoints" / "123").write_text("")
    call(*options(started[0], workdir, **{"train.epochs": "3"}))
    assert (workdir / "checkpoints" / "123").read_text() == ""


def test_an_unreadable_shard_is_one_line(started, tmp_path, call, monkeypatch):
    """Through tf.data, which makes pages of it."""

    def fail(self, shard: int) -> None:
        raise UserError("cannot read the shard: Input/output error")

    monkeypatch.setattr(FrameStore, "open", fail)
    done = call(*options(started[0], tmp_path / "run", **{"data.memory_budget_mb": "0"}), check=1)
    assert done.stderr.splitlines()[-1].endswith("error: cannot read the shard: Input/output error")
    assert "Traceback" not in done.stderr


def test_videos_that_chose_initial_weights_are_noted(started, tmp_path, call):
    """Through two trainings, and where the first was stopped and went on."""
    videos, _ = started
    more = {"data.validate_on_test": "true", "data.val_fraction": "0.2"}
    call(*options(videos, tmp_path / "first", **more))
    for before, name in (("first", "second"), ("second", "third")):
        start = {"model.init_from": str(tmp_path / before)}
        call(*options(videos, tmp_path / name, **start))
        call(*options(videos, tmp_path / name, **start, **{"train.epochs": "3"}))
    notes = json.loads(call("evaluate", f"--workdir={tmp_path / 'third'}", "--json").stdout)[
        "notes"
    ]
    tested = [
        {row["path"] for row in Workdir(tmp_path / name).videos() if row["split"] == "test"}
        for name in ("first", "third")
    ]
    count = len(set.intersection(*tested))  # the first run validates on its test videos
    assert count > 2
    assert any(f"{count} of these videos were validation videos of" in note for note in notes)

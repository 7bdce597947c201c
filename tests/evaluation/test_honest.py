"""A figure that means less than it seems is refused, or has a note beside it."""

from __future__ import annotations

import csv
import functools
import json
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.videos import write_video

from vid3d import checkpoint, cli, config as configs
from vid3d.datasets import index, splits
from vid3d.datasets.videos import ListedVideo
from vid3d.errors import UserError
from vid3d.evaluation import evaluate, sets
from vid3d.training import loop

LABELS = ("down", "up")


write_small = functools.partial(write_video, num_frames=6, size=(32, 32), step=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """(videos, workdir): 16 training, 4 validation and 4 test videos, one source in two splits."""
    root = tmp_path_factory.mktemp("honest") / "videos"
    root.mkdir()
    rows = []
    for k in range(24):
        split = "train" if k < 16 else "val" if k < 20 else "test"
        group = "tape" if k in (0, 23) else f"g{k}"
        name = f"{k}.avi"
        write_small(root / name, shade=5 * k + 100 * (k % 2))
        rows.append((name, LABELS[k % 2], group, split))
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "group", "split"), *rows])
    workdir = root.parent / "run"
    keys = {
        "data.root": str(root), "data.size": "16", "data.num_frames": "4", "model.features": "4",
        "model.hidden": "0", "model.pool": "1,2,2", "train.epochs": "1", "train.batch_size": "8",
    }  # fmt: skip
    config = configs.load("configs/videos.py:tutorial", keys.items())
    assert loop.train(config, workdir)
    return root, workdir


@pytest.fixture
def copied(trained, tmp_path) -> tuple[Path, Path, list]:
    """(videos, workdir, overrides) of a copy that a test may spoil."""
    root, workdir = (shutil.copytree(path, tmp_path / path.name) for path in trained)
    return root, workdir, [("data.root", str(root))]


def written(workdir: Path, name: str) -> dict:
    return json.loads((workdir / "evaluation" / name / "metrics.json").read_text())


def printed(capsys, workdir: Path, *more: str) -> str:
    """What `vid3d evaluate` says."""
    capsys.readouterr()
    assert cli.main(["evaluate", f"--workdir={workdir}", *more]) == 0
    return capsys.readouterr().out


def test_a_recording_in_two_splits_is_reported_as_leaky(trained, capsys):
    _, workdir = trained
    said = printed(capsys, workdir)
    figures = written(workdir, "test-best")
    assert figures["protocol"] == "manifest (leaky)"
    assert "4 of 4 test videos, protocol: manifest (leaky)" in said
    (note,) = (note for note in figures["notes"] if "'tape' in t" in note)
    assert "test and train" in note or "train and test" in note
    assert f"note: {note}" in said
    assert (figures["num_videos"], figures["num_expected"]) == (4, 4)


@pytest.mark.slow
def test_evaluating_training_videos_is_noted(trained, capsys):
    _, workdir = trained
    assert f"note: {evaluate.TRAINED_ON}" in printed(capsys, workdir, "--split=train")
    assert evaluate.TRAINED_ON in written(workdir, "train-best")["notes"]
    assert evaluate.TRAINED_ON not in printed(capsys, workdir, "--split=val")
    assert evaluate.TRAINED_ON not in written(workdir, "val-best")["notes"]


def test_a_validation_video_among_test_videos_is_noted(copied, capsys):
    """It helped to choose the checkpoint."""
    root, workdir, _ = copied
    shutil.copy(root / "17.avi", root / "21.avi")
    said = printed(capsys, workdir, f"--config.data.root={root}")
    note = "the same video is in two splits: 17.avi (val, up), 21.avi (test, up)"
    (folder,) = workdir.glob("evaluation/test-best-root=data-videos-*")
    assert note in written(workdir, folder.name)["notes"]
    assert f"note: {note}" in said


@pytest.mark.slow
def test_other_clips_do_not_replace_the_test(copied, capsys):
    root, workdir, _ = copied
    moved = f"--config.data.root={root}"
    printed(capsys, workdir, moved, "--config.eval.batch_size=16")
    test = written(workdir, "test-best")
    assert test["overrides"] == {} and test["data"] == str(root)  # the same videos elsewhere
    more = ("--config.eval.views=2", "--config.data.sampling=uniform")
    said = printed(capsys, workdir, moved, *more)
    assert written(workdir, "test-best") == test
    figures = written(workdir, "test-best-sampling=uniform-views=2")
    assert figures["overrides"] == {"data.sampling": "uniform", "eval.views": 2}
    assert "note: override: eval.views is 2, not 1 as trained" in said
    assert "test-best-sampling=uniform-views=2/metrics.json" in said
    assert "override" not in printed(capsys, workdir, moved, "--config.eval.views=1")


@pytest.mark.slow
def test_other_videos_of_the_same_names_are_noted(copied, capsys):
    root, workdir, _ = copied
    printed(capsys, workdir)
    test = written(workdir, "test-best")
    write_small(root / "21.avi", shade=77)
    said = printed(capsys, workdir, f"--config.data.root={root}")
    assert "note: override: these are not the videos that videos.csv lists in this split" in said
    assert written(workdir, "test-best") == test


def test_a_training_video_among_test_videos_is_refused(copied):
    root, workdir, moved = copied
    shutil.copy(root / "3.avi", root / "21.avi")
    with pytest.raises(UserError, match=r"1 of 4 test videos were in the training.*21\.avi"):
        evaluate.evaluate(workdir, overrides=moved)


@pytest.mark.slow
def test_a_version_that_draws_other_splits_tests_the_same_videos(smoke_run, monkeypatch):
    config = checkpoint.Workdir(smoke_run).config()
    before, folder = evaluate.evaluate(smoke_run)
    answers = (folder / "predictions.csv").read_text()
    drawn = index.find(config.data, config.seed).split("test")
    monkeypatch.setattr(splits, "FEW", 0)
    assert index.find(config.data, config.seed).split("test") != drawn
    after, folder = evaluate.evaluate(smoke_run)
    assert (folder / "predictions.csv").read_text() == answers
    assert after["accuracy"] == before["accuracy"]


@pytest.mark.parametrize("row", [22, 23])
def test_a_missing_test_video_is_named(copied, row):
    root, workdir, moved = copied
    (root / f"{row}.avi").unlink()
    with pytest.raises(
        UserError, match=f"1 of 4 test videos cannot be read.*{row}.avi .no such file"
    ):
        evaluate.evaluate(workdir, overrides=moved)


@pytest.mark.slow
def test_other_classes_are_refused(copied):
    root, workdir, moved = copied
    manifest = root / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",up,", ",above,"))
    with pytest.raises(UserError, match="have the classes above, down, the checkpoint down, up"):
        evaluate.evaluate(workdir, overrides=moved)


def test_a_class_that_came_later_is_left_out(copied, capsys):
    """Whether or not it has videos for all splits."""
    root, workdir, moved = copied
    before, _ = evaluate.evaluate(workdir, overrides=moved)
    with (root / "manifest.csv").open("a") as file:
        file.write("new.avi,sideways,x,test\n")
    write_small(root / "new.avi", shade=3)
    after, _ = evaluate.evaluate(workdir, overrides=moved)
    assert list(after["per_class"]) == ["down", "up"] and after["num_videos"] == 4
    assert after["accuracy"] == before["accuracy"] and after["overrides"] == {}
    (note,) = set(after["notes"]) - set(before["notes"])
    assert note == "the videos of 'sideways' are left out: the training had no such class"


def test_a_leak_that_is_known_later_is_admitted(copied):
    """As of a run that an earlier version trained, or after the manifest was completed."""
    root, workdir, _ = copied
    drawn = index.Index(
        str(root),
        tuple(
            ListedVideo(f"{k}.avi", LABELS[k % 2], "tape" if k in (0, 23) else f"g{k}", "train")
            for k in range(24)
        ),
        LABELS,
        "grouped",
    )
    found = sets.as_recorded(drawn, checkpoint.Workdir(workdir))
    assert found.protocol == "grouped (leaky)" and "'tape' in t" in found.notes[-1]
    apart = replace(drawn, videos=tuple(replace(v, group=v.path) for v in drawn.videos))
    assert sets.as_recorded(apart, checkpoint.Workdir(workdir)).protocol == "grouped"


def test_classes_in_another_order_are_refused(copied):
    """As a checkpoint that was written with another order of the labels would say it."""
    _, workdir, moved = copied
    step = checkpoint.resolve(workdir)
    folder = workdir / "checkpoints" / str(step)
    meta = json.loads((folder / "meta" / "metadata").read_text())
    meta["classes"] = meta["classes"][::-1]
    (folder / "meta" / "metadata").write_text(json.dumps(meta))
    manifest = json.dumps({"sha256": checkpoint.digests(folder)})
    (folder / checkpoint.MANIFEST).write_text(manifest)
    with pytest.raises(UserError, match="have the classes down, up, the checkpoint up, down"):
        evaluate.evaluate(workdir, overrides=moved)


@pytest.mark.slow
def test_other_videos_in_the_same_root_are_noted(copied, capsys, monkeypatch):
    """As where the root is relative, or a file was replaced in its place."""
    root, workdir, _ = copied
    printed(capsys, workdir, f"--config.data.root={root}")
    test = written(workdir, "test-best")
    step = checkpoint.resolve(workdir)
    folder = workdir / "checkpoints" / str(step)
    meta = json.loads((folder / "meta" / "metadata").read_text())
    meta["config"]["data"]["root"] = str(root)
    (folder / "meta" / "metadata").write_text(json.dumps(meta))
    (folder / checkpoint.MANIFEST).write_text(json.dumps({"sha256": checkpoint.digests(folder)}))
    assert "override" not in printed(capsys, workdir)
    write_small(root / "21.avi", shade=77)
    assert "not the videos that videos.csv lists in this split" in printed(capsys, workdir)
    assert written(workdir, "test-best") == test


def test_another_set_ignores_folds_and_group_pattern(trained, tmp_path):
    root, workdir = trained
    for name in ("down/1.avi", "up/2.avi"):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        shutil.copy(root / "21.avi", tmp_path / "set" / name)
    (tmp_path / "set.csv").write_text("path,label,fold\nset/down/1.avi,down,A\n")
    config = configs.default()
    config.data.test_fold, config.data.val_fold = 1, 2
    config.data.group_pattern = r"_(g\d+)_"
    for data, count in (("set", 2), ("set.csv", 1)):
        other = sets.other_config(config, str(tmp_path / data))
        assert len(index.find_unsplit(other.data, LABELS).videos) == count
    with pytest.raises(UserError, match="--data=: there is no such folder"):
        evaluate.evaluate(workdir, data="")


@pytest.mark.slow
def test_another_set_notes_validation_videos(copied, tmp_path, capsys):
    root, workdir, _ = copied
    for k, label in ((16, "down"), (17, "up"), (21, "up")):
        (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(root / f"{k}.avi", tmp_path / "set" / label / f"{k}.avi")
    words = (
        "note: 2 of these videos were validation videos of the training run or of the weights it"
    )
    assert words in printed(capsys, workdir, f"--data={tmp_path / 'set'}")


@pytest.mark.slow
def test_simultaneous_evaluations_write_in_turn(copied, monkeypatch):
    _, workdir, moved = copied
    together, inside, most = threading.Barrier(2), [], []

    def make_folder(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        together.wait(timeout=120)

    def write(*args) -> None:
        inside.append(args)
        most.append(len(inside))
        time.sleep(0.3)  # the other would come in meanwhile
        original(*args)
        inside.pop()

    original = evaluate.output.write
    monkeypatch.setattr(evaluate.storage, "make_folder", make_folder)
    monkeypatch.setattr(evaluate.output, "write", write)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(evaluate.evaluate, workdir, overrides=moved) for _ in range(2)]
        assert [one.result()[0]["num_videos"] for one in asked] == [4, 4]
    assert most == [1, 1]


@pytest.mark.parametrize("listed", [True, False])
def test_validation_videos_in_the_test_split_are_noted(listed, copied, capsys):
    root, workdir, _ = copied
    manifest = root / "manifest.csv"
    text = manifest.read_text().replace(",val", ",was").replace(",test", ",val")
    manifest.write_text(text.replace(",was", ",test"))
    if not listed:
        (workdir / "videos.csv").unlink()
    said = printed(capsys, workdir, f"--config.data.root={root}")
    assert "note: 4 of these videos were validation videos of the training" in said
    words = "not the videos that videos.csv lists" if listed else "videos.csv is gone"
    assert f"note: override: {words}" in said.replace("these are ", "")


@pytest.mark.slow
def test_validating_on_test_videos_keeps_both_splits(trained, tmp_path, capsys):
    root, _ = trained
    keys = {
        "data.root": str(root), "data.size": "16", "data.num_frames": "4", "model.features": "4",
        "model.hidden": "0", "model.pool": "1,2,2", "train.epochs": "1", "train.batch_size": "8",
        "data.validate_on_test": "true",
    }  # fmt: skip
    config = configs.load("configs/videos.py:tutorial", keys.items())
    workdir = tmp_path / "run"
    assert loop.train(config, workdir)
    for split in ("val", "test"):
        assert "override" not in printed(capsys, workdir, f"--split={split}")
    (tmp_path / "set" / "up").mkdir(parents=True)
    shutil.copy(root / "21.avi", tmp_path / "set" / "up")
    said = printed(capsys, workdir, f"--data={tmp_path / 'set'}")
    assert "note: 1 of these videos were validation videos of the training" in said
    # And it goes on only with the labels of these.
    manifest = root / "manifest.csv"
    before = manifest.read_text()
    manifest.write_text(before.replace("21.avi,up", "21.avi,down"))
    try:
        config.train.epochs = 2
        with pytest.raises(UserError, match="other labels or validation videos: 1 differ"):
            loop.train(config, workdir)
    finally:
        manifest.write_text(before)


def test_a_refused_test_names_missing_videos(copied):
    """A split is drawn from those that exist: a training video takes the place of a missing one."""
    root, workdir, moved = copied
    manifest = root / "manifest.csv"
    lines = [line for line in manifest.read_text().splitlines() if not line.startswith("21.avi")]
    manifest.write_text("\n".join(lines).replace("3.avi,up,g3,train", "3.avi,up,g3,test") + "\n")
    words = (
        "1 of 4 test videos were in the training.* 1 test videos that .*videos.csv lists are gone, "
        "such as 21.avi"
    )
    with pytest.raises(UserError, match=words):
        evaluate.evaluate(workdir, overrides=moved)


def test_an_unwritable_workdir_fails_before_computing(copied, monkeypatch):
    _, workdir, moved = copied
    shutil.rmtree(workdir / "evaluation", ignore_errors=True)
    (workdir / "evaluation").write_text("no folder")
    monkeypatch.setattr(evaluate.prepare, "prepare", lambda *_, **__: pytest.fail("it decodes"))
    with pytest.raises(UserError, match=r"evaluation is a file"):
        evaluate.evaluate(workdir, overrides=moved)


def test_an_empty_videos_csv_is_damaged(copied):
    _, workdir, moved = copied
    for text in ("", "path,label\n"):
        (workdir / "videos.csv").write_text(text)
        with pytest.raises(UserError, match=r"videos\.csv is damaged"):
            evaluate.evaluate(workdir, overrides=moved)


@pytest.mark.slow
def test_classes_may_have_any_name(tmp_path, capsys):
    """Those of other columns of predictions.csv, and one that matplotlib takes for a formula."""
    classes = ("true", "path", "$5_or_$10")
    for k in range(24):
        (tmp_path / "videos" / classes[k % 3]).mkdir(parents=True, exist_ok=True)
        write_small(tmp_path / "videos" / classes[k % 3] / f"{k}.avi", shade=10 * k)
    keys = {
        "data.root": str(tmp_path / "videos"), "data.size": "16", "data.num_frames": "4",
        "data.protocol": "random", "model.features": "4", "model.hidden": "0",
        "model.pool": "1,2,2",
        "train.epochs": "1", "train.batch_size": "8",
    }  # fmt: skip
    for rate in ("0.001", "0.1"):
        learn = {"optim.learning_rate": rate}
        config = configs.load("configs/videos.py:tutorial", (keys | learn).items())
        assert loop.train(config, tmp_path / "runs" / rate)
    capsys.readouterr()
    assert cli.main(["compare", str(tmp_path / "runs"), "--evaluate"]) == 0
    said = capsys.readouterr().out
    figures = [written(tmp_path / "runs" / rate, "test-best") for rate in ("0.001", "0.1")]
    both, neither, one, other = map(
        int,
        re.search(
            r"both have (\d+) right and (\d+) wrong; only \S+ has (\d+) right, only \S+ (\d+)", said
        ).groups(),
    )
    assert [both + one, both + other] == [f["correct"] for f in figures]
    for rate in ("0.001", "0.1"):
        path = tmp_path / "runs" / rate / "evaluation" / "test-best" / "predictions.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            each = {name: float(row[f"probability:{name}"]) for name in classes}
            assert max(each, key=each.get) == row["predicted"]
            assert row["true"] == row["path"].split("/")[0]
    assert both + neither + one + other == figures[0]["num_videos"]


def test_split_and_data_together_are_refused(trained, capsys):
    root, workdir = trained
    command = ["evaluate", f"--workdir={workdir}", f"--data={root}", "--split=val"]
    assert cli.main(command) == 1
    assert "--split is for the run's own videos" in capsys.readouterr().err

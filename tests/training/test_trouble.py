"""A bad number, a full disk or falling accuracy loses no good checkpoint."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from vid3d import checkpoint, cli, config as configs, parallel
from vid3d.checkpoint import Workdir
from vid3d.checkpoint.writing import CheckpointStore
from vid3d.evaluation.predictions import Predictions
from vid3d.training import loop
from vid3d.training.running_sums import BadNumberError

pytestmark = pytest.mark.slow

SMALL = {
    "data.size": "16",
    "data.num_frames": "4",
    "model.features": "4",
    "model.norm": "none",
    "train.batch_size": "8",
    "train.epochs": "3",
}


def arguments(workdir: Path, **more: str) -> list[str]:
    found = {f"--config.{key}={value}" for key, value in (SMALL | more).items()}
    return ["train", "--config=configs/demo.py:smoke", f"--workdir={workdir}", *sorted(found)]


def train(workdir: Path, **more: str) -> bool:
    config = configs.load("configs/demo.py:smoke", (SMALL | more).items())
    return loop.train(config, workdir)


def rows(workdir: Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("where", ["the loss", "the gradient of", "the new value of"])
def test_a_bad_number_stops_the_run_without_a_checkpoint(where, tmp_path, monkeypatch):
    """A training run; before step 9, in the second epoch of six steps, an input is spoilt."""
    bad_step, steps = 9, []

    def spoil(state, batch):
        params = dict(state.params)
        if where == "the loss":
            return state, batch | {"mask_B": batch["mask_B"] * np.inf}
        scale = np.inf if where == "the gradient of" else np.nan
        params["classes"] = jax.tree.map(lambda p: p * scale, params["classes"])
        return state.replace(params=params), batch

    def map_step(step):
        mapped = original(step)

        def one(state, batch):
            steps.append(len(steps) + 1)
            return mapped(*(spoil(state, batch) if steps[-1] == bad_step else (state, batch)))

        return one

    original = parallel.map_step
    monkeypatch.setattr(parallel, "map_step", map_step)
    workdir = tmp_path / "run"
    with pytest.raises(BadNumberError, match=f"^step {bad_step}: .*{where}") as caught:
        train(workdir)
    assert steps[-1] <= bad_step + 1
    assert str(caught.value).count(".avi") == 8  # the videos of the batch
    assert checkpoint.resolve(workdir, "best") == checkpoint.resolve(workdir, "latest") == 6
    assert [row["step"] for row in rows(workdir)] == [6]


def test_a_non_finite_validation_loss_stops_the_run(tmp_path, monkeypatch):
    """The weights are finite, and so large that what they say of the validation videos is not."""

    def map_eval(step):
        mapped = original(step)
        return lambda weights, batch: mapped(jax.tree.map(lambda p: p * 1e30, weights), batch)

    original = parallel.map_eval
    monkeypatch.setattr(parallel, "map_eval", map_eval)
    with pytest.raises(BadNumberError, match=r"^step 6: the validation loss is not finite"):
        train(tmp_path / "run")
    assert not rows(tmp_path / "run") and not Workdir(tmp_path / "run").checkpoints()


@pytest.fixture(scope="module")
def whole(once) -> Path:
    """A run that nothing happened to."""
    return once("trouble", train)


def test_a_run_on_a_full_disk_resumes_later(whole, small_disk, capfd, monkeypatch, assert_same_run):
    disk = small_disk("64m")
    workdir, ballast = disk / "run", disk / "ballast"
    save = CheckpointStore.save

    def fill(self, step, *rest, **options):
        if step == 12 and not ballast.exists():
            with ballast.open("wb") as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
                    file.flush()
        return save(self, step, *rest, **options)

    monkeypatch.setattr(CheckpointStore, "save", fill)
    capfd.readouterr()
    assert cli.main(arguments(workdir)) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("vid3d train: error:")
    assert "No space left" in said.splitlines()[-1]
    assert Workdir(workdir).checkpoints() == [6]
    Workdir(workdir).verify(6)
    ballast.unlink()
    ballast.mkdir()  # not again
    assert cli.main(arguments(workdir)) == 0
    assert "resuming at step 6" in capfd.readouterr().err
    assert_same_run(workdir, whole)


def test_a_run_on_a_lost_disk_resumes_later(
    whole, tmp_path, small_disk, capfd, monkeypatch, assert_same_run
):
    real = tmp_path / "real"
    real.mkdir()
    disk = small_disk("1m")
    workdir, mount = disk / "run", ["mount", "--bind", str(real), str(disk)]
    subprocess.run(mount, check=True)
    validate, calls = loop.validate, []

    def lose(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            subprocess.run(["umount", "-l", str(disk)], check=True)
        return validate(*arguments)

    monkeypatch.setattr(loop, "validate", lose)
    assert cli.main(arguments(workdir)) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith(f"vid3d train: error: {workdir}") and "No such file" in last
    assert not list(disk.iterdir())  # nothing was written in its place
    subprocess.run(mount, check=True)
    assert Workdir(workdir).checkpoints() == [6]
    assert cli.main(arguments(workdir)) == 0
    assert "resuming at step 6" in capfd.readouterr().err
    assert_same_run(workdir, whole)
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_an_unwritable_workdir_is_one_line(small_disk, capsys):
    disk = small_disk("1m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert cli.main(arguments(disk / "run")) == 1
    said = capsys.readouterr().err
    where = f"cannot write in the workdir {disk / 'run'}"
    assert said == f"vid3d train: error: {where}: Read-only file system\n"


@pytest.fixture
def overfitting(monkeypatch):
    """Validation gets worse with every epoch."""
    judged = []

    def worse(self):
        judged.append(self)
        return 0.9 - 0.01 * len(judged)

    monkeypatch.setattr(Predictions, "accuracy", worse)


def test_an_overfitting_run_keeps_best_and_latest(overfitting, tmp_path, capfd):
    """Resume starts from the latest, which is not the best."""
    more = {"train.epochs": "6", "train.batch_size": "48", "optim.schedule": "constant"}
    workdir = tmp_path / "run"
    assert train(workdir, **more)
    accuracies = [row["val/accuracy"] for row in rows(workdir)]
    assert len(accuracies) == 6 and accuracies == sorted(accuracies, reverse=True)
    assert checkpoint.resolve(workdir, "best") == 1
    assert checkpoint.resolve(workdir, "latest") == 6
    best, meta = checkpoint.restore_weights(workdir, 1)
    latest, _ = checkpoint.restore_weights(workdir, 6)
    assert meta["metrics"]["accuracy"] == accuracies[0]
    assert not np.array_equal(jax.tree.leaves(best)[0], jax.tree.leaves(latest)[0])
    capfd.readouterr()
    assert train(workdir, **(more | {"train.epochs": "7"}))
    assert "resuming at step 6 of 7" in capfd.readouterr().err
    assert Workdir(workdir).checkpoints() == [1, 6, 7]


def test_more_epochs_after_early_stopping_change_nothing(overfitting, tmp_path, capfd):
    more = {"optim.schedule": "constant", "train.early_stopping": "1", "train.epochs": "4"}
    workdir = tmp_path / "run"
    assert train(workdir, **more)
    assert [row["epoch"] for row in rows(workdir)] == [1, 2]
    for epochs in ("4", "9"):
        capfd.readouterr()
        assert train(workdir, **(more | {"train.epochs": epochs}))
        said = capfd.readouterr().err
        assert said.startswith(f"{workdir} stopped early and is finished: ")
        assert "resuming" not in said

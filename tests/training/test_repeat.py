"""A run is repeated from its workdir, watched without a change, and extended on request."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from vid3d import checkpoint, config as configs
from vid3d.checkpoint import Workdir
from vid3d.training import extension, loop

pytestmark = pytest.mark.slow

SMALL = {
    "data.size": "16",
    "data.num_frames": "4",
    "model.features": "4",
    "model.norm": "none",
    "eval.every": "3 epochs",
    "train.epochs": "3",
}


def rows(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of three epochs with a cosine schedule, validated once at its end."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    assert loop.train(configs.load("configs/demo.py:smoke", SMALL.items()), workdir)
    return workdir


def test_curves_of_every_epoch_change_no_weight(whole, tmp_path, call):
    """--like takes the config; the overrides only look more often, and at training videos, too."""
    watched = ("eval.every=1 epoch", "checkpoint.choose=last", "eval.train_videos=10")
    arguments = ["train", f"--like={whole}", f"--workdir={tmp_path / 'run'}"]
    said = call(*arguments, *[f"--config.{key}" for key in watched]).stderr
    assert "the best so far" not in said
    assert said.count("; training videos as in validation loss") == 3

    [once], found = rows(whole), rows(tmp_path / "run")
    assert [row["epoch"] for row in found] == [1, 2, 3]
    last = found[-1]
    assert (last["val/loss"], last["val/accuracy"]) == (once["val/loss"], once["val/accuracy"])
    # As a mean over equal epochs, the training of one row is that of the three.
    mean = np.mean([row["train/loss"] for row in found])
    assert once["train/loss"] == pytest.approx(mean, rel=1e-6)
    assert all(row["train_eval/accuracy"] * 10 % 1 == pytest.approx(0) for row in found)
    assert not any(key.startswith("train_eval") for key in once)

    step = checkpoint.resolve(tmp_path / "run", "best")
    assert step == checkpoint.resolve(whole, "latest") == last["step"]
    for item in ("weights", "optimizer"):
        one, two = (checkpoint.restore_item(run, step, item) for run in (whole, tmp_path / "run"))
        assert len(jax.tree.leaves(one)) > 2

        jax.tree.map(np.testing.assert_array_equal, one, two)

    # Each line that was printed is in the log, and what ran where beside it.
    log = (tmp_path / "run" / "log.txt").read_text().splitlines()
    printed = said.splitlines()
    assert log[0].startswith("# 2") and log[1:] == printed
    [entry] = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert entry["step"] == 0 and log[0] == f"# {entry['date']} {entry['command']}"


def test_a_finished_run_is_extended_on_request(whole, tmp_path, call):
    workdir = shutil.copytree(whole, tmp_path / "run")
    own = call("train", f"--config={workdir / 'config.json'}", f"--workdir={workdir}")
    assert "is finished: " in own.stderr
    more = ["train", f"--like={workdir}", f"--workdir={workdir}", "--config.train.epochs=6"]
    before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"}
    [line] = call(*more, check=1).stderr.splitlines()
    assert "(train.epochs: 3 -> 6): train --extend goes on from its last checkpoint" in line
    [line] = call(*more[:3], "--config.train.epochs=2", "--extend", check=1).stderr.splitlines()
    assert "--config.train.epochs=2 is fewer than the 3 of" in line and "more than 3" in line
    after = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"}
    assert after == before
    [line] = call(*more[:3], "--extend").stderr.splitlines()
    assert "is finished: " in line
    assert line.endswith("; --extend goes on with a --config.train.epochs above 3")

    said = call(*more, "--extend").stderr
    step = rows(whole)[-1]["step"]
    [line] = [line for line in said.splitlines() if line.startswith("extended")]
    assert "the cosine schedule is stretched over all 6" in line
    rate = re.search(rf"at step {step}, where training goes on, was 0 and is now (\S+);", line)[1]
    assert float(rate) == pytest.approx(1e-3)  # half of 2e-3: half of the way is done
    first, second = json.loads((workdir / "provenance.json").read_text())
    assert "extended" not in first and second["step"] == step
    extended = second["extended"]
    assert (extended["from_epochs"], extended["to_epochs"], extended["from_rate"]) == (3, 6, 0)
    assert extended["to_rate"] == pytest.approx(1e-3)
    assert [row["epoch"] for row in rows(workdir)] == [3, 6] and rows(workdir)[:1] == rows(whole)
    assert Workdir(workdir).config().train.epochs == 6
    assert "is finished: " in call(*more).stderr  # and needs no flag any more
    [line] = extension.on_the_way(Workdir(workdir))
    assert line.startswith(f"{workdir} was extended from 3 to 6 epochs on its way, and ends other")
    assert extension.on_the_way(Workdir(whole)) == []
    log = (workdir / "log.txt").read_text()
    assert log.count("\n# 2") == 1 and f"resuming at step {step}" in log


def test_evaluations_say_where_they_ran(whole, tmp_path, call):
    workdir = shutil.copytree(whole, tmp_path / "run")
    path = workdir / "provenance.json"
    [entry] = json.loads(path.read_text())
    path.write_text(path.read_text().replace('"flax": "', '"flax": "0.0.'))
    figures = json.loads(call("evaluate", f"--workdir={workdir}", "--json").stdout)
    for key, value in figures["environment"].items():
        assert value == entry[key]
    assert {"versions", "devices", "cores", "commit", "platform"} <= figures["environment"].keys()
    flax = entry["versions"]["flax"]
    expected = (
        f"other versions than in the training, results may differ: flax 0.0.{flax}, now {flax}"
    )
    assert expected in figures["notes"]


def test_a_workdir_that_is_not_there_cannot_be_repeated(tmp_path, call):
    done = call("train", f"--like={tmp_path / 'no'}", f"--workdir={tmp_path / 'new'}", check=1)
    assert f"error: no workdir {tmp_path / 'no'}: it is the folder" in done.stderr
    done = call("train", f"--config={tmp_path}/no.json", f"--workdir={tmp_path / 'new'}", check=1)
    assert f"error: no config file {tmp_path}/no.json" in done.stderr

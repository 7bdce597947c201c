"""A workdir is read as it was written, or refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import pytest

from vid3d import checkpoint, config as configs, parallel
from vid3d.checkpoint import FORMAT, Workdir
from vid3d.checkpoint.rows import append_row, cut_rows
from vid3d.checkpoint.writing import CheckpointStore
from vid3d.errors import UserError
from vid3d.training.resume import announce_finished

SMOKE = "configs/demo.py:smoke"


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    """A workdir of the smoke config with one checkpoint, in no training run's hands."""
    made = Workdir(tmp_path / "run")
    config = configs.load(SMOKE, ())
    with made.hold():
        made.claim(config)
        checkpoints = CheckpointStore(made)
        weights = parallel.replicate({"params": {"bias": jnp.zeros(4)}, "batch_stats": {}})
        meta = {
            "config": config.to_dict(),
            "classes": ["a", "b"],
            "validation_videos": 0,
            "progress": {"best": None, "since_best": 3},
            "finished": True,
        }
        checkpoints.save(7, weights, parallel.replicate({"step": jnp.int32(7)}), meta=meta)
        checkpoints.close()
    return made


def test_the_first_file_of_a_workdir_is_its_format(tmp_path, monkeypatch):
    written = []

    def note(path: Path, content: str | bytes) -> None:
        written.append((path.name, content))

    monkeypatch.setattr(checkpoint.workdir.storage, "write_whole", note)
    Workdir(tmp_path).claim(configs.default())
    assert written[0] == ("format.txt", f"{FORMAT}\n")
    assert written[1][0] == "config.json"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "has no format.txt, so its format is not known: read it with the version"),
        ("2\n", f"format.txt says format '2', not {FORMAT}: read it with the version"),
        ("", f"format.txt says format '', not {FORMAT}: read it with the version"),
    ],
)
def test_another_format_is_refused_by_every_command(content, words, workdir, call):
    if content is None:
        workdir.format_file.unlink()
    else:
        workdir.format_file.write_text(content)
    before = {p: p.read_bytes() for p in workdir.path.rglob("*") if p.is_file()}
    for command in (
        ("train", f"--config={SMOKE}", f"--workdir={workdir}"),
        ("evaluate", f"--workdir={workdir}"),
        ("predict", f"--workdir={workdir}", "README.md"),
        ("compare", str(workdir)),
    ):
        line = call(*command, check=1).stderr.splitlines()[-1]
        assert line.startswith(f"vid3d {command[0]}: error: {workdir}"), line
        assert words in line and "or train again in a new --workdir" in line
    after = {p: p.read_bytes() for p in workdir.path.rglob("*") if p.is_file()}
    assert after == before


def test_a_folder_of_something_else_is_not_a_workdir(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="is not empty and is not a workdir: take a new folder"):
        Workdir(tmp_path).check_claim(configs.default())


@pytest.mark.parametrize("name", ["format.txt", "format.txt.incomplete", "config.json.incomplete"])
def test_a_killed_first_moment_leaves_a_folder_that_starts(name, tmp_path):
    (tmp_path / name).write_text("")
    Workdir(tmp_path).check_claim(configs.default())


def test_a_workdir_without_a_config_leaves_nothing(tmp_path):
    made = Workdir(tmp_path / "new" / "run")
    with pytest.raises(UserError, match="wrong"), made.hold():
        made.format_file.write_text("1\n")
        assert made.is_held()
        raise UserError("wrong")
    assert not list(tmp_path.iterdir())


def test_early_stopping_finishes_a_run_of_more_epochs(workdir):
    config = workdir.config()
    assert workdir.is_finished(config)
    config.train.epochs += 1
    assert not workdir.is_finished(config)
    for patience, finished in ((4, False), (3, True)):
        config.train.early_stopping = patience
        assert workdir.is_finished(config) == finished
    shutil.rmtree(workdir.checkpoint_folder(7) / "weights")
    assert not workdir.is_finished(config)


def test_more_epochs_have_to_be_asked_for(workdir):
    """Its schedule is cosine: the result is not that of a run with the epochs from the start."""
    config = workdir.config()
    config.train.epochs += 1
    words = (
        r"train\.epochs: 4 -> 5\): train --extend goes on from its last checkpoint with these; or"
    )
    with pytest.raises(UserError, match=words):
        workdir.check_claim(config)
    workdir.check_claim(config, extend=True)
    config.train.early_stopping = 2
    workdir.check_claim(config, extend=True)
    config.optim.learning_rate = 0.5
    for extend in (False, True):
        with pytest.raises(UserError, match=r"optim\.learning_rate.*: take another --workdir"):
            workdir.check_claim(config, extend=extend)
    config = workdir.config()
    config.train.epochs -= 1
    with pytest.raises(UserError, match=r"epochs=3 is fewer than the 4 of .*: ask for more than 4"):
        workdir.check_claim(config, extend=True)


def test_a_run_that_stopped_early_is_extended_by_patience(workdir, capsys):
    config = workdir.config()
    config.train.early_stopping = 3  # and since_best is 3
    meta = workdir.checkpoint_folder(7) / "meta" / "metadata"
    text = meta.read_text().replace('"early_stopping":0', '"early_stopping":3')
    text = text.replace('"early_stopping": 0', '"early_stopping": 3')
    assert "3" in text and text != meta.read_text()
    meta.write_text(text)
    manifest = workdir.checkpoint_folder(7) / checkpoint.MANIFEST
    digests = checkpoint.digests(workdir.checkpoint_folder(7))
    manifest.write_text(json.dumps({"sha256": digests}))
    config.train.epochs = 9
    assert workdir.is_finished(config)
    announce_finished(workdir, config, extend=True)
    said = capsys.readouterr().err
    assert "stopped early and is finished: " in said and said.count("\n") == 1
    assert "--extend with --config.train.early_stopping=0, or more than 3, goes on" in said
    config.train.early_stopping = 4
    assert not workdir.is_finished(config)


def test_a_workdir_of_a_workdir_is_the_same(workdir):
    again = Workdir(workdir)
    assert (str(again), again.path) == (str(workdir), workdir.path)
    assert again.checkpoints() == again.started_checkpoints() == [7]


def test_rows_are_read_and_cut_as_they_were_appended(workdir):
    assert workdir.rows() == workdir.timings() == []
    for step in (1, 2, 3):
        append_row(workdir.metrics_file, {"step": step})
    with workdir.metrics_file.open("a") as file:
        file.write('{"step": 4')  # a kill
    assert [row["step"] for row in workdir.rows()] == [1, 2, 3]
    cut_rows(workdir.metrics_file, last=2)
    assert workdir.metrics_file.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_damaged_row_is_one_line(workdir):
    workdir.metrics_file.write_text('{"step": 1}\n{"step" 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged: one of its lines is not JSON"):
        workdir.rows()
    with pytest.raises(UserError, match="line 2 is not a row; restore the file, or delete"):
        cut_rows(workdir.metrics_file, last=5)

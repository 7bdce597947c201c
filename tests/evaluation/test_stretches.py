"""Stretches through training and evaluation: named in every file, and never on two sides."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from fixtures.videos import write_video

import vid3d
from vid3d import config as configs
from vid3d.checkpoint import Workdir
from vid3d.errors import UserError
from vid3d.evaluation import evaluate, report, runs
from vid3d.judge import evaluate_events
from vid3d.training import loop

KEYS = {
    "data.size": "16", "data.num_frames": "4", "model.features": "4", "model.hidden": "0",
    "model.pool": "1,2,2", "train.epochs": "1", "train.batch_size": "8", "data.background": "rest",
}  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """(videos, workdir): six recordings of four seconds, with two labelled stretches each."""
    root = tmp_path_factory.mktemp("stretches") / "videos"
    root.mkdir()
    lines = ["path,label,start,end,split"]
    for k, split in enumerate(("train", "train", "train", "val", "test", "test")):
        write_video(root / f"{k}.avi", 100, size=(32, 32), shade=40 * k, step=1)
        lines += [f"{k}.avi,up,0.5,1,{split}", f"{k}.avi,down,2,2.5,{split}"]
    (root / "manifest.csv").write_text("\n".join(lines))
    workdir = root.parent / "run"
    config = configs.load("configs/videos.py:tutorial", (KEYS | {"data.root": str(root)}).items())
    assert loop.train(config, workdir)
    return root, workdir


@pytest.mark.slow
def test_every_file_names_the_stretch(trained):
    _, workdir = trained
    listed = rows(workdir / "videos.csv")
    assert len(listed) == 6 * 4  # the background, too
    assert {row["label"] for row in listed} == {"up", "down", "rest"}
    assert {row["group"] for row in listed} == {f"{k}.avi" for k in range(6)}
    figures, folder = evaluate.evaluate(workdir)
    assert (figures["num_videos"], figures["num_groups"]) == (8, 2)
    assert not any("override" in note for note in figures["notes"])
    answers = rows(folder / "predictions.csv")
    assert {(row["path"], row["start"], row["end"], row["true"]) for row in answers} >= {
        (f"{k}.avi", *times) for k in (4, 5) for times in (("0.5", "1", "up"), ("2", "2.5", "down"))
    }
    assert {(row["path"], row["group"]) for row in answers} == {(f"{k}.avi",) * 2 for k in (4, 5)}
    for row in figures["mistakes"]:
        assert row["path"] == f"{Path(row['file']).name} {row['start']:g}-{row['end']:g} s"
        assert report.pasteable(row).endswith(f"{row['path'].split(maxsplit=1)[1]}")
    found = runs.read_answers(Workdir(workdir), figures)
    assert len(found) == 8 and ("4.avi 0.5-1 s", listed[-8]["sha256"]) in found


@pytest.mark.slow
def test_a_stretch_that_shares_frames_with_training_is_refused(trained, tmp_path):
    root, workdir = trained
    other = tmp_path / "other.csv"
    header = "path,label,start,end\n"
    # So does a part of the file that is background here and was labelled there.
    other.write_text(f"{header}{root}/1.avi,up,0.9,1.5\n{root}/4.avi,down,2,2.5\n")
    with pytest.raises(UserError, match=r"2 of 4 test videos were in the train.*1.avi 0.9-1.5 s"):
        evaluate.evaluate(workdir, data=str(other))
    other.write_text(f"path,label\n{root}/1.avi,up\n{root}/4.avi,down\n")
    with pytest.raises(UserError, match="1 of 2 test videos were in the training"):
        evaluate.evaluate(workdir, data=str(other))
    other.write_text(f"{header}{root}/4.avi,jump,2,2.5\n")
    with pytest.raises(UserError, match="does not know: 'jump' in line 2"):
        evaluate.evaluate(workdir, data=str(other))


@pytest.mark.slow
def test_a_recording_with_stretches_in_the_training_is_not_judged(trained, tmp_path):
    root, workdir = trained
    truth = tmp_path / "truth.csv"
    truth.write_text(f"path,start,end,label\n{root}/1.avi,0.5,1,up\n{root}/4.avi,2,2.5,down\n")
    for choose in (False, True):
        with pytest.raises(UserError, match=r"1 of 2 recordings were in the training.*1.avi"):
            evaluate_events(workdir, truth, choose=choose)
    truth.write_text(f"path,start,end,label\n{root}/3.avi,0.5,1,up\n")
    figures, _ = evaluate_events(workdir, truth)
    said = "\n".join(figures["notes"])
    assert "1 of 1 recordings were validation videos" in said and "source" not in said


@pytest.mark.slow
def test_a_tested_stretch_gets_the_same_answer_from_predict(trained):
    root, workdir = trained
    _, folder = evaluate.evaluate(workdir)
    (row,) = [
        row
        for row in rows(folder / "predictions.csv")
        if (row["path"], row["start"]) == ("4.avi", "2")
    ]
    answer = vid3d.load(workdir).predict(vid3d.stretch(root / "4.avi", 2, 2.5))
    for name, probability in answer.probabilities.items():
        assert float(row[f"probability:{name}"]) == pytest.approx(probability, abs=1e-5)

"""Every video is tested once by a run that has seen none of its source, and all are pooled."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from vid3d import checkpoint, config as configs
from vid3d.errors import UserError
from vid3d.sweep import cross_validation as cv, cross_validation_report as report

TINY = (
    "--config.data.size=16",
    "--config.data.num_frames=4",
    "--config.data.stored_frames=4",
    "--config.model.features=4",
    "--config.model.hidden=4",
    "--config.train.epochs=1",
    "--config.train.batch_size=2",
    "--config.eval.batch_size=8",
)


def read_predictions(workdir: Path) -> list[dict[str, str]]:
    with (workdir / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_each_video_is_tested_once_and_the_same_command_resumes(
    two_classes, tmp_path, call, one_device
):
    workdir = tmp_path / "cv"
    arguments = (
        "cv", "--config=videos:tutorial", f"--config.data.root={two_classes}",
        r"--config.data.group_pattern=(g\d)_", f"--workdir={workdir}", "--folds=2", *TINY,
    )  # fmt: skip
    printed = call(*arguments).stdout
    answers = read_predictions(workdir)
    videos = {path.relative_to(two_classes).as_posix() for path in two_classes.rglob("*.avi")}
    assert sorted(answer["path"] for answer in answers) == sorted(videos)
    folds_of: dict[str, set[str]] = {}
    for answer in answers:
        folds_of.setdefault(answer["group"], set()).add(answer["fold"])
    assert len(folds_of) == 5 and all(len(folds) == 1 for folds in folds_of.values())
    for fold in "01":
        with (workdir / f"seed0-fold{fold}" / "videos.csv").open() as file:
            splits = {row["path"]: row["split"] for row in csv.DictReader(file)}
        tested = {answer["path"] for answer in answers if answer["fold"] == fold}
        assert tested == {path for path, split in splits.items() if split == "test"}
    figures = json.loads((workdir / "cv.json").read_text())
    right = sum(answer["true"] == answer["predicted"] for answer in answers)
    assert figures["accuracy"] == right / 20
    assert (figures["num_videos"], figures["num_sources"], figures["majority"]) == (20, 5, 0.5)
    low, high = figures["interval"]
    assert f"accuracy {right / 20:.3f} (95% interval {low:.3f} to {high:.3f} over 5" in printed

    # What is lost is made anew, and nothing else.
    (workdir / "cv.json").unlink()
    shutil.rmtree(workdir / "seed0-fold1" / "evaluation")
    trained = {path: path.stat().st_mtime_ns for path in workdir.rglob("metrics.jsonl")}
    again = json.loads(call(*arguments, "--json").stdout)
    assert again == figures == json.loads((workdir / "cv.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in trained} == trained

    several_seeds(workdir, figures)


def several_seeds(workdir: Path, figures: dict) -> None:
    """More seeds are no more videos: two that answer alike say as much as one."""
    for fold in (0, 1):
        shutil.copytree(workdir / f"seed0-fold{fold}", workdir / f"seed1-fold{fold}")
    tested = [
        cv.FoldRun(seed, fold, checkpoint.Workdir(workdir / f"seed{seed}-fold{fold}"))
        for seed in (0, 1)
        for fold in (0, 1)
    ]
    answers = [answer for run in tested for answer in cv.read_answers(run)]
    cv.check_answers(answers)
    both = cv.summarise(tested, answers)
    for key in ("accuracy", "interval", "num_videos", "num_sources", "per_class"):
        assert both[key] == figures[key]
    assert both["seed_deviation"] == 0 and len(both["accuracy_per_seed"]) == 2
    assert "over 2 seeds" in report.lines(both, folds=2)[0]
    moved = [answers[0] | {"fold": 1}, *answers]
    with pytest.raises(UserError, match="was not tested exactly once per seed"):
        cv.check_answers(moved)


def test_the_folds_of_a_manifest_are_taken_and_others_are_drawn(two_classes, tmp_path):
    rows = [
        (path.relative_to(two_classes).as_posix(), path.parent.name, path.stem[:2])
        for path in sorted(two_classes.rglob("*.avi"))
    ]
    lines = [f"{path},{label},{group},{int(group[1]) % 3 + 4}" for path, label, group in rows]
    (two_classes / "manifest.csv").write_text("\n".join(["path,label,group,fold", *lines]))
    overrides = [("data.root", str(two_classes))]
    planned = cv.plan_runs("videos", overrides, folds=0, seeds=2)
    assert [run.name for run in planned] == [f"seed{s}-fold{f}" for s in (0, 1) for f in (4, 5, 6)]
    assert [run.config.data.val_fold for run in planned[:3]] == [5, 6, 4]
    drawn = cv.plan_runs("videos", overrides, folds=5, seeds=1)
    assert Counter(run.config.data.folds for run in drawn) == {5: 5}


@pytest.mark.parametrize(
    ("key", "text", "options", "words"),
    [
        ("data.test_fold", "1", {}, "leave out --config.data.test_fold=1"),
        ("seed", "0", {"folds": 1}, "--folds=1 has to be at least 2"),
        ("seed", "0", {"seeds": 0}, "--seeds=0 has to be at least 1"),
        ("seed", "0", {"folds": 6}, "6 folds: the class 'down' has 5 source groups"),
        ("data.protocol", "manifest", {"folds": 3}, "has to be auto, grouped or random"),
    ],
)
def test_what_cannot_be_cross_validated_is_one_line(key, text, options, words, two_classes):
    groups = ("data.group_pattern", r"(g\d)_")
    overrides = [("data.root", str(two_classes)), groups, (key, text)]
    with pytest.raises(UserError) as raised:
        cv.plan_runs("videos", overrides, **{"folds": 2, "seeds": 1} | options)
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_one_fold_can_be_trained_by_itself(two_classes):
    data = [("data.root", str(two_classes)), ("data.folds", "3")]
    with pytest.raises(UserError, match="the folds are 0 to 2"):
        configs.load("videos", [*data, ("data.test_fold", "3")])
    with pytest.raises(UserError, match="is the fold to test on as well"):
        configs.load("videos", [*data, ("data.val_fold", "0")])

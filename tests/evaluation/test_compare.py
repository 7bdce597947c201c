"""Runs side by side: on workdirs that were really trained and tested."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from scipy.stats import binom

from vid3d import checkpoint
from vid3d.evaluation import compare, runs


@pytest.fixture(scope="module")
def pair_of_runs(smoke_run, once, run) -> Path:
    """A folder of two tested runs with the same test videos, of 4 epochs and of 1."""

    def train(folder: Path) -> None:
        shutil.copytree(smoke_run, folder / "long")
        short = ("--config.train.epochs=1", "--config.model.features=4,8")
        run("train", "--config=configs/demo.py:smoke", *short, f"--workdir={folder / 'short'}")
        run("compare", folder, "--evaluate")

    return once("pair", train)


def predictions(workdir: Path) -> dict[str, dict[str, str]]:
    with (workdir / "evaluation" / "test-best" / "predictions.csv").open() as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_the_table_holds_what_the_workdirs_hold(pair_of_runs, tmp_path, call):
    done = call("compare", pair_of_runs / "long", pair_of_runs / "short", f"--output={tmp_path}")
    with (tmp_path / "runs.csv").open() as file:
        table = {row["run"]: row for row in csv.DictReader(file)}
    assert list(table) == ["long", "short"]
    for name, row in table.items():
        figures = json.loads(
            (pair_of_runs / name / "evaluation/test-best/metrics.json").read_text()
        )
        assert float(row["test_accuracy"]) == figures["accuracy"]
        assert [float(row["test_low"]), float(row["test_high"])] == figures["interval"]
        assert int(row["test_videos"]) == figures["num_videos"]
        weights, _ = checkpoint.restore_weights(pair_of_runs / name, figures["step"])
        sizes = [x.size for x in _leaves(weights["params"])]
        assert int(row["parameters"]) == sum(sizes)
        assert float(row["clips_per_second"]) > 0
        assert f"{figures['accuracy']:.3f}" in done.stdout
    # What differs in the configs, and nothing else.
    assert (table["long"]["train.epochs"], table["short"]["train.epochs"]) == ("4", "1")
    assert (table["long"]["model.features"], table["short"]["model.features"]) == ("8,16", "4,8")
    assert "optim.learning_rate" not in table["long"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)


def test_the_paired_test_recounts_from_the_predictions(pair_of_runs, tmp_path, call):
    done = call("compare", pair_of_runs, f"--output={tmp_path}")
    a, b = (predictions(pair_of_runs / name) for name in ("long", "short"))
    assert a.keys() == b.keys()
    right = [(a[p]["true"] == a[p]["predicted"], b[p]["true"] == b[p]["predicted"]) for p in a]
    only_a, only_b = right.count((True, False)), right.count((False, True))
    tail = binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)
    p = min(1.0, 2 * tail) if only_a + only_b else 1.0
    assert f"only long has {only_a} right, only short {only_b}: p = {p:.3g}" in done.stdout
    with (tmp_path / "differing_videos.csv").open() as file:
        listed = {row["path"]: (row["long"], row["short"]) for row in csv.DictReader(file)}
    assert listed == {
        path: (a[path]["predicted"], b[path]["predicted"])
        for path in a
        if a[path]["predicted"] != b[path]["predicted"]
    }
    assert listed
    assert all(path in done.stdout for path in listed)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"), [(0, 0, 1.0), (6, 0, 0.03125), (2, 8, 0.109375)]
)
def test_mcnemar_against_the_binomial_by_hand(pair_of_runs, only_first, only_second, p_value):
    base = runs.read(pair_of_runs / "long", "a")

    def answering(right: list[bool]) -> runs.Run:
        answers = {(f"{i}.avi", ""): ("x", "x" if ok else "y") for i, ok in enumerate(right)}
        return runs.Run(**(base.__dict__ | {"answers": answers}))

    both = [True] * 5
    first = answering([True] * only_first + [False] * only_second + both)
    second = answering([False] * only_first + [True] * only_second + both)
    found = compare.pair(first, second)
    assert found.p_value == pytest.approx(p_value)
    assert (found.only_first, found.only_second, found.both) == (only_first, only_second, 5)
    # Other videos: no test, rather than one on those that happen to be in both.
    assert compare.pair(first, answering([True] * (only_first + only_second + 6))) is None


def test_a_test_of_an_older_checkpoint_is_not_shown_as_this_one(pair_of_runs, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(pair_of_runs / "long", workdir)
    assert runs.read(workdir, "run").test is not None
    path = workdir / "evaluation" / "test-best" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 1}))
    assert runs.read(workdir, "run").test is None


def test_a_run_that_was_not_validated_yet_holds_up_no_other(pair_of_runs, tmp_path, call):
    shutil.copytree(pair_of_runs, tmp_path / "runs")
    begun = tmp_path / "runs" / "short"
    shutil.rmtree(begun / "evaluation")
    for path in begun.glob("checkpoints/*/meta/metadata"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": None}))
    done = call("compare", tmp_path / "runs", "--evaluate")
    assert "not tested" in done.stdout
    assert "1 of 2 runs are not tested" in done.stdout


def test_repeats_over_seeds_are_summed_up(pair_of_runs, tmp_path):
    found = []
    for seed in (0, 1):
        workdir = tmp_path / f"seed{seed}"
        shutil.copytree(pair_of_runs / "long", workdir)
        config = json.loads((workdir / "config.json").read_text()) | {"seed": seed}
        (workdir / "config.json").write_text(json.dumps(config))
        found.append(runs.read(workdir, workdir.name))
    found.append(runs.read(pair_of_runs / "short", "short"))
    assert {name: len(group) for name, group in runs.over_seeds(found).items()} == {"seed0": 2}


@pytest.mark.parametrize(
    ("folder", "words"), [("none", "no folder"), ("empty", "is no workdir, and no folder of")]
)
def test_bad_folders_are_one_line(folder, words, tmp_path, call):
    (tmp_path / "empty").mkdir()
    done = call("compare", tmp_path / folder, check=1)
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

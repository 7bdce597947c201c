"""Runs side by side: on workdirs that were really trained and tested."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from scipy.stats import binom

from vid3d import checkpoint, cli
from vid3d.checkpoint import Workdir
from vid3d.evaluation import compare, compare_report, plots, runs
from vid3d.evaluation.compare_report import paired_lines
from vid3d.evaluation.paired import pair


@pytest.fixture(scope="module")
def pair_of_runs(smoke_run, once) -> Path:
    """A folder of two tested runs with the same test videos, of 4 epochs and of 1."""

    def train(folder: Path) -> None:
        shutil.copytree(smoke_run, folder / "long")
        short = ("--config.train.epochs=1", "--config.model.features=4,8")
        workdir = f"--workdir={folder / 'short'}"
        assert cli.main(["train", "--config=configs/demo.py:smoke", *short, workdir]) == 0
        assert cli.main(["compare", str(folder), "--evaluate"]) == 0

    return once("pair", train)


def predictions(workdir: Path) -> dict[str, dict[str, str]]:
    with (workdir / "evaluation" / "test-best" / "predictions.csv").open() as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_the_table_holds_the_figures_of_the_workdirs(pair_of_runs, tmp_path, call):
    done = call("compare", pair_of_runs / "long", pair_of_runs / "short", f"--output={tmp_path}")
    with (tmp_path / "runs.csv").open() as file:
        table = {row["run"]: row for row in csv.DictReader(file)}
    assert list(table) == ["long", "short"]
    for name, row in table.items():
        figures = json.loads(
            (pair_of_runs / name / "evaluation/test-best/metrics.json").read_text()
        )
        assert float(row["test_accuracy"]) == figures["accuracy"]
        kind = "interval_groups" if figures["interval_groups"] else "interval"
        assert [float(row["test_low"]), float(row["test_high"])] == figures[kind]
        low, high = figures[kind]
        assert f"{low:.3f} to {high:.3f}" in done.stdout
        assert row["test_interval"] == {"interval_groups": "groups", "interval": "wilson"}[kind]
        for key in ("balanced_accuracy", "macro_f1"):
            assert float(row[f"test_{key}"]) == figures[key]
            assert f" {figures[key]:.3f} │" in done.stdout
        assert int(row["test_videos"]) == figures["num_videos"]
        assert int(row["test_sources"]) == figures["num_groups"] == 3
        assert f" {figures['num_videos']} │       3 │" in done.stdout
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
    assert "95% interval: over the sources" in done.stdout


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)


def test_the_paired_test_equals_a_recount(pair_of_runs, tmp_path, call):
    done = call("compare", pair_of_runs, f"--output={tmp_path}")
    a, b = (predictions(pair_of_runs / name) for name in ("long", "short"))
    assert a.keys() == b.keys()
    right = [(a[p]["true"] == a[p]["predicted"], b[p]["true"] == b[p]["predicted"]) for p in a]
    only_a, only_b = right.count((True, False)), right.count((False, True))
    tail = binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)
    p = min(1.0, 2 * tail) if only_a + only_b else 1.0
    assert f"only long has {only_a} right, only short {only_b}: p = {p:.3g}" in done.stdout
    with (pair_of_runs / "long" / "videos.csv").open() as file:
        sources = {row["group"] for row in csv.DictReader(file) if row["split"] == "test"}
    assert f"they come from {len(sources)} sources: p = " in done.stdout
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
def test_mcnemar_equals_the_binomial_by_hand(pair_of_runs, only_first, only_second, p_value):
    base = runs.read(pair_of_runs / "long", "a")

    def answering(right: list[bool]) -> runs.ComparedRun:
        answers = {(f"{i}.avi", ""): ("x", "x" if ok else "y") for i, ok in enumerate(right)}
        groups = {path: path for path, _ in answers}
        return runs.ComparedRun(**(base.__dict__ | {"answers": answers, "groups": groups}))

    both = [True] * 5
    first = answering([True] * only_first + [False] * only_second + both)
    second = answering([False] * only_first + [True] * only_second + both)
    found = pair(first, second)
    assert (found.p_value, found.p_value_groups) == (pytest.approx(p_value),) * 2
    assert (found.only_first, found.only_second, found.both) == (only_first, only_second, 5)
    # Other videos: no test, rather than one on those that happen to be in both.
    assert pair(first, answering([True] * (only_first + only_second + 6))) is None


def test_a_test_of_an_older_checkpoint_is_not_shown(pair_of_runs, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(pair_of_runs / "long", workdir)
    assert runs.read(workdir, "run").test is not None
    path = workdir / "evaluation" / "test-best" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 1}))
    assert runs.read(workdir, "run").test is None


def test_an_unvalidated_run_does_not_block_others(pair_of_runs, tmp_path, call):
    shutil.copytree(pair_of_runs, tmp_path / "runs")
    begun = tmp_path / "runs" / "short"
    shutil.rmtree(begun / "evaluation")
    for path in begun.glob("checkpoints/*/meta/metadata"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": None}))
        sums = {"sha256": checkpoint.digests(path.parents[1])}
        (path.parents[1] / checkpoint.MANIFEST).write_text(json.dumps(sums))
    done = call("compare", tmp_path / "runs", "--evaluate")
    assert "not tested" in done.stdout
    assert "1 of 2 runs are not tested" in done.stdout


def test_an_untestable_run_is_named_and_blocks_none(pair_of_runs, tmp_path, call):
    folder = shutil.copytree(pair_of_runs, tmp_path / "runs")
    for name in ("long", "short"):
        shutil.rmtree(folder / name / "evaluation")
    best = folder / "long" / "checkpoints" / str(checkpoint.best(folder / "long"))
    largest = max(best.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    done = call("compare", folder, "--evaluate", check=1)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{folder / 'long'} cannot be tested: ")
    assert runs.read(folder / "short", "short").test is not None
    assert "1 of 2 runs are not tested" in done.stdout and "--evaluate" not in done.stdout
    assert "1 of 2 runs are not tested: --evaluate does it" in call("compare", folder).stdout


def on_own_videos(folder: Path, root: str, *, seed: int, changed: bool) -> None:
    """Makes of a run one that was trained on the videos of a folder."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"seed": seed}
    config["data"] |= {"source": "folder", "root": root}
    path.write_text(json.dumps(config))
    if changed:
        listed = (folder / "videos.csv").read_text()
        sha256 = next(csv.DictReader(io.StringIO(listed)))["sha256"]
        (folder / "videos.csv").write_text(listed.replace(sha256, "0" * 64))


@pytest.mark.parametrize("changed", [False, True])
def test_runs_on_other_videos_are_not_repeats(changed, pair_of_runs, tmp_path, call):
    for seed, root in enumerate(("own", "own2")):
        folder = shutil.copytree(pair_of_runs / "long", tmp_path / f"run{seed}")
        on_own_videos(folder, root, seed=seed, changed=changed and seed == 1)
    done = call("compare", tmp_path / "run0", tmp_path / "run1", f"--output={tmp_path / 'out'}")
    header = (tmp_path / "out" / "runs.csv").read_text().splitlines()[0].split(",")
    assert ("data.root" in header) == changed
    assert ("over 2 seeds" in done.stdout) != changed
    number = len(runs.read(tmp_path / "run0", "").videos)
    words = f"do not have the same videos: {number} in own (run0); {number} in own2 (run1)"
    assert (words in done.stdout) == changed


def test_other_videos_are_noted_under_equal_configs(pair_of_runs, tmp_path, call):
    for number in range(2):
        folder = shutil.copytree(pair_of_runs / "long", tmp_path / f"run{number}")
        on_own_videos(folder, "own", seed=0, changed=number == 1)
    done = call("compare", tmp_path)
    assert "the runs do not have the same videos" in done.stdout
    assert "do not differ" not in done.stdout


def test_a_repeated_seed_is_one_seed(pair_of_runs, tmp_path):
    found = [runs.read(pair_of_runs / "long", name) for name in "ab"]
    assert runs.over_seeds(found) == {}


def test_the_confusion_matrix_shows_the_same_interval(pair_of_runs, tmp_path, call, monkeypatch):
    workdir = shutil.copytree(pair_of_runs / "short", tmp_path / "run")
    drawn = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: drawn.append(figure))
    call("evaluate", f"--workdir={workdir}")
    found = runs.read(workdir, "run")
    kind, (low, high) = compare.interval(found)
    assert kind == "groups"
    title = drawn[0].axes[0].get_title()
    assert f"accuracy {found.test['accuracy']:.1%} of 15 test videos" in title
    assert f"{low:.1%} to {high:.1%} (95%, 3 sources)" in title


@pytest.fixture
def differing(pair_of_runs, tmp_path) -> Path:
    """The two runs, with six keys in which their configs differ."""
    folder = shutil.copytree(pair_of_runs, tmp_path / "runs")
    path = folder / "short" / "config.json"
    config = json.loads(path.read_text()) | {"seed": 3}
    config["optim"] |= {"learning_rate": 0.5, "momentum": 0.25, "weight_decay": 0.125}
    path.write_text(json.dumps(config))
    return folder


def test_any_number_of_keys_may_differ(differing, tmp_path, call):
    done = call("compare", differing, f"--output={tmp_path / 'out'}")
    assert any(line.split()[1::2] == ["optim.momentum", "0.9", "0.25"] for line in lines(done))
    assert any(line.split()[1::2] == ["model.features", "8,16", "4,8"] for line in lines(done))
    with (tmp_path / "out" / "runs.csv").open() as file:
        assert [row["optim.weight_decay"] for row in csv.DictReader(file)] == ["0.0", "0.125"]


def lines(done) -> list[str]:
    return done.stdout.splitlines()


def test_a_piped_table_is_complete(pair_of_runs, tmp_path, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "a_name_that_takes_half_of_a_narrow_terminal"
    shutil.copytree(pair_of_runs / "long", tmp_path / name)
    done = call("compare", tmp_path / name, pair_of_runs / "short")
    (row,) = (line for line in lines(done) if name in line and " to " in line)
    assert "…" not in done.stdout and "clips/s" in done.stdout and row.count("│") == 14


def printed(folder: Path, width: int, count: int = 1) -> str:
    """What stands on a terminal of this width, for so many copies of each run."""
    found = [runs.read(path, path.name) for path in (folder / "long", folder / "short")]
    keys = runs.differing_keys(found)
    text = io.StringIO()
    comparison = compare.Comparison(found * count, keys, paired=None, all_tested=True)
    compare_report.show(comparison, console=Console(file=text, width=width))
    return text.getvalue()


def test_a_narrow_terminal_drops_the_last_columns(pair_of_runs, differing):
    wide, narrow = (printed(pair_of_runs, width) for width in (200, 80))
    assert "clips/s" in wide and "no room" not in wide
    gone = "clips/s, FLOPs per clip, parameters, macro F1, balanced accuracy"
    assert f"no room for {gone}: use a wider terminal" in narrow
    for words in ("│ long ", "│ short ", "train.epochs", "8,16"):
        assert words in narrow
    for run in (pair_of_runs / "long", pair_of_runs / "short"):
        low, high = compare.interval(runs.read(run, "x"))[1]
        assert f"{low:.3f} to {high:.3f} " in narrow
    many = printed(differing, 80, count=8)
    assert many.count("optim.momentum") > 1 and many.count(" 0.25 ") == 8
    for text in (narrow, many):
        assert "…" not in text
        tables = [line for line in text.splitlines() if line.startswith(("│", "┃"))]
        assert max(map(len, tables)) <= 80


def test_a_test_with_overrides_is_not_the_test(pair_of_runs, tmp_path, call):
    workdir = shutil.copytree(pair_of_runs / "long", tmp_path / "run")
    path = workdir / "evaluation" / "test-best" / "metrics.json"
    before = json.loads(path.read_text())
    assert before["overrides"] == {}
    call("evaluate", f"--workdir={workdir}", "--config.eval.views=2")
    assert runs.read(workdir, "run").test == before
    path.write_text(json.dumps(before | {"overrides": {"eval.views": 2}}))
    assert runs.read(workdir, "run").test is None
    call("compare", workdir, "--evaluate")
    again = runs.read(workdir, "run").test
    assert (again["overrides"], again["correct"]) == ({}, before["correct"])


@pytest.mark.parametrize(
    ("output", "words"),
    [("/proc/x", "cannot write in /proc/x"), ("README.md", "README.md is a file: give a folder")],
)
def test_an_unwritable_output_fails_before_testing(output, words, pair_of_runs, tmp_path, call):
    workdir = shutil.copytree(pair_of_runs / "long", tmp_path / "run")
    shutil.rmtree(workdir / "evaluation")
    done = call("compare", workdir, "--evaluate", f"--output={output}", check=1)
    assert words in done.stderr and len(done.stderr.splitlines()) == 1
    assert not done.stdout and not (workdir / "evaluation").exists()


def test_a_broken_config_is_named(pair_of_runs, tmp_path, call):
    folder = shutil.copytree(pair_of_runs, tmp_path / "runs")
    path = folder / "short" / "config.json"
    path.write_text("{\n  oops")
    done = call("compare", folder, check=1)
    assert f"error: {path}: the config is not JSON" in done.stderr
    done = call("train", "--config=configs/demo.py:smoke", f"--workdir={path.parent}", check=1)
    assert f"error: {path}: the config is not JSON" in done.stderr


def test_repeats_over_seeds_are_averaged(pair_of_runs, tmp_path):
    found = []
    for seed in (0, 1):
        workdir = tmp_path / f"seed{seed}"
        shutil.copytree(pair_of_runs / "long", workdir)
        config = json.loads((workdir / "config.json").read_text()) | {"seed": seed}
        (workdir / "config.json").write_text(json.dumps(config))
        found.append(runs.read(workdir, workdir.name))
    found.append(runs.read(pair_of_runs / "short", "short"))
    assert {name: len(group) for name, group in runs.over_seeds(found).items()} == {"seed0": 2}
    accuracy = found[0].test["accuracy"]
    words = f"test accuracy {accuracy:.3f}, standard deviation 0.000 over 2 seeds"
    assert f"seed0: {words}" in compare_report.notes(found, ["seed"])


def test_incomparable_runs_are_noted(pair_of_runs, tmp_path):
    workdir = shutil.copytree(pair_of_runs / "long", tmp_path / "other")
    folder = workdir / "evaluation" / "test-best"
    path = folder / "metrics.json"
    figures = json.loads(path.read_text())
    rows = (folder / "predictions.csv").read_text().splitlines(keepends=True)
    (folder / "predictions.csv").write_text("".join(rows[:-1]))
    _, true, predicted, *_ = rows[-1].split(",")
    fewer = {
        "protocol": "random (leaky)",
        "num_videos": figures["num_videos"] - 1,
        "correct": figures["correct"] - (true == predicted),
    }
    path.write_text(json.dumps(figures | fewer))
    found = [runs.read(path, path.name) for path in (pair_of_runs / "short", workdir)]
    said = compare_report.notes(found, ["train.epochs"])
    assert "note: the test accuracies are of different protocols: grouped, random (leaky)" in said
    assert "note: the runs were not tested on the same videos" in said


@pytest.mark.parametrize(
    ("folder", "words"), [("none", "no folder"), ("empty", "is not a workdir, and not a folder of")]
)
def test_unusable_folders_are_one_line(folder, words, tmp_path, call):
    (tmp_path / "empty").mkdir()
    done = call("compare", tmp_path / folder, check=1)
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_video_of_unknown_source_is_its_own_source(pair_of_runs, tmp_path):
    """Where one was renamed after the training run, nothing is said of sources."""
    folder = Path(shutil.copytree(pair_of_runs, tmp_path / "pair"))
    for name in ("long", "short"):
        listed = folder / name / "videos.csv"
        with listed.open() as file:
            table = list(csv.DictReader(file))
        with listed.open("w", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(row | {"group": ""} for row in table)
    both = [runs.read(folder / name, name) for name in ("long", "short")]
    paired = pair(*both)
    assert paired.num_groups == len(both[0].answers) == 15
    for name in ("long", "short"):
        path = folder / name / "evaluation" / "test-best" / "predictions.csv"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], "moved/" + lines[1], *lines[2:]]) + "\n")
    both = [runs.read(folder / name, name) for name in ("long", "short")]
    paired = pair(*both)
    assert paired.num_groups is None and paired.p_value_groups is None
    assert "their sources are not known" in "\n".join(paired_lines(*both, paired))


def test_the_best_validation_accuracy_survives_lost_rows(pair_of_runs, tmp_path):
    workdir = Path(shutil.copytree(pair_of_runs / "long", tmp_path / "run"))
    before = runs.read(workdir, "run").val_accuracy
    (workdir / "metrics.jsonl").unlink()
    assert before and runs.read(workdir, "run").val_accuracy == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.jsonl", b'{"step": 1#\n'),
        ("timings.jsonl", b"\xff\xff\n"),
        ("videos.csv", b"\x00\xff\x13\n\x01\n"),
        ("evaluation/test-best/metrics.json", b'{"accuracy"'),
        ("evaluation/test-best/predictions.csv", b"path,true\nx,y\n"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(name, content, pair_of_runs, tmp_path, call):
    workdir = Path(shutil.copytree(pair_of_runs / "long", tmp_path / "run"))
    (workdir / name).write_bytes(content)
    said = call("compare", workdir, check=1).stderr
    assert f"{workdir / name} is damaged: " in said and len(said.splitlines()) == 1


def test_a_damaged_test_is_named_and_repeated_on_request(pair_of_runs, tmp_path, call):
    workdir = Path(shutil.copytree(pair_of_runs / "long", tmp_path / "run"))
    folder = workdir / "evaluation" / "test-best"
    whole = {name: (folder / name).read_text() for name in ("metrics.json", "predictions.csv")}
    cut = "".join(whole["predictions.csv"].splitlines(keepends=True)[:3])
    wrong = whole["predictions.csv"].replace(",Clockwise,Wander", ",Clockwise,Clockwise")
    assert wrong != whole["predictions.csv"]
    for name, text, words in (
        ("metrics.json", "{}", "metrics.json is damaged: evaluate again"),
        ("metrics.json", "[]", "metrics.json is damaged: evaluate again"),
        ("predictions.csv", cut, "predictions.csv is not that of metrics.json"),
        ("predictions.csv", wrong, "predictions.csv is not that of metrics.json"),
        ("predictions.csv", None, "predictions.csv is missing: evaluate again"),
    ):
        path = folder / name
        path.unlink() if text is None else path.write_text(text)
        assert words in call("compare", workdir, check=1).stderr.splitlines()[-1]
        call("compare", workdir, "--evaluate")
        assert {name: (folder / name).read_text() for name in whole} == whole


def test_a_run_with_changed_videos_is_not_tested(pair_of_runs, tmp_path, call):
    """Its evaluation has a folder of its own, and would be made again with every call."""
    workdir = Path(shutil.copytree(pair_of_runs / "long", tmp_path / "run"))
    shutil.rmtree(workdir / "evaluation")
    config = json.loads((workdir / "config.json").read_text())
    assert config["data"]["source"] == "synthetic"
    figures = {"overrides": {"data.root": "x"}, "notes": ["override: other videos"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.evaluate, "evaluate", lambda _: (figures, None))
        done = call("compare", workdir, "--evaluate", check=1)
    assert f"{workdir} cannot be tested: override: other videos" in done.stderr


def test_a_damaged_checkpoint_is_left_out_of_the_comparison(pair_of_runs, tmp_path, call):
    folder = Path(shutil.copytree(pair_of_runs, tmp_path / "runs"))
    step = max(Workdir(folder / "long").checkpoints())
    path = folder / "long" / "checkpoints" / str(step) / "meta" / "metadata"
    path.write_bytes(path.read_bytes() + b" ")
    done = call("compare", folder)
    assert f"warning: checkpoint {step} of {folder / 'long'} is damaged" in done.stderr
    assert "long" in done.stdout and "short" in done.stdout


def test_a_run_without_a_config_is_named(pair_of_runs, tmp_path, call):
    folder = Path(shutil.copytree(pair_of_runs, tmp_path / "runs"))
    (folder / "failed").mkdir()
    (folder / "failed" / "log.txt").write_text("vid3d train: error: too large a batch")
    done = call("compare", folder)
    assert f"warning: runs of {folder} without a config.json are left out: failed" in done.stderr


def test_the_page_shows_the_videos_on_which_runs_differ(pair_of_runs, tmp_path, call, visit):
    """Each with its moving clip and the answer of each run; nothing is asked of a network."""
    target = tmp_path / "compared.html"
    done = call("compare", pair_of_runs / "long", pair_of_runs / "short", f"--report={target}")
    assert done.stdout.splitlines()[-1] == str(target)
    one, two = (predictions(pair_of_runs / name) for name in ("long", "short"))
    differing = {
        path: (one[path]["predicted"], two[path]["predicted"])
        for path in one
        if one[path]["predicted"] != two[path]["predicted"]
    }
    assert differing
    shown, seen = visit(target.as_uri())
    cards = {
        card.locator(".name").inner_text(): card.locator("li span:last-child").all_inner_texts()
        for card in shown.locator("#videos figure.clip").all()
    }
    assert cards == {path: list(answers) for path, answers in differing.items()}
    assert shown.evaluate(
        "[...document.querySelectorAll('#videos img')].every(i => i.naturalWidth > 0)"
    )
    assert shown.locator("#videos img").count() == len(differing)
    table = shown.locator("#runs table").inner_text()
    assert "train.epochs" in table and "long" in table and "not tested" not in table
    assert seen.requests == [target.as_uri()] and seen.errors == []

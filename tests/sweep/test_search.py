"""Random search draws what it says; a run that is behind the others at a rung is stopped there."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from fixtures.sweeps import make_race, write_sweep

from vid3d import checkpoint
from vid3d.errors import UserError
from vid3d.sweep import halving, launch, plan, table
from vid3d.sweep.space import Choice, Uniform, draws

SPACE = {
    "optim.learning_rate": Uniform(1e-5, 1e-1, logarithmic=True),
    "model.dropout": Uniform(0, 0.5),
    "train.batch_size": Uniform(4, 6),
    "optim.name": Choice(("adam", "sgd")),
}


def test_draws_are_spread_as_asked_and_their_ends_belong_to_them():
    found = list(draws(400, SPACE))
    rates = [values["optim.learning_rate"] for values in found]
    assert min(rates) >= 1e-5 and max(rates) <= 1e-1
    for low, high in itertools.pairwise((1e-5, 1e-4, 1e-3, 1e-2, 1e-1)):
        assert 70 < sum(low <= rate < high for rate in rates) < 130
    dropouts = [values["model.dropout"] for values in found]
    assert 0.23 < sum(dropouts) / 400 < 0.27 and all(isinstance(d, float) for d in dropouts)
    sizes = [values["train.batch_size"] for values in found]
    assert {4, 5, 6} == set(sizes) and min(map(sizes.count, {4, 5, 6})) > 100
    assert 160 < sum(values["optim.name"] == "adam" for values in found) < 240


def test_a_search_that_grows_keeps_its_draws():
    few = list(draws(5, SPACE))
    assert list(draws(9, SPACE))[:5] == few and list(draws(5, SPACE, seed=1)) != few
    more_keys = list(draws(5, SPACE | {"seed": Choice((1, 2))}))
    assert [{key: values[key] for key in SPACE} for values in more_keys] == few


def test_draws_differ_and_an_exhausted_space_is_an_error():
    space = {"optim.name": Choice(("adam", "sgd")), "seed": Uniform(1, 2)}
    assert len({tuple(values.values()) for values in draws(4, space)}) == 4
    with pytest.raises(UserError, match=r"random\(5, ...\): its space has 4 different draws"):
        list(draws(5, space))


@pytest.mark.parametrize("order", list(itertools.permutations((0.2, 0.4, 0.6, 0.8))))
def test_the_best_run_goes_on_in_whatever_order_they_come(order):
    there, going_on = [], []
    for accuracy in order:
        if halving.judge(accuracy, there, epoch=1, factor=2) is None:
            going_on.append(accuracy)
        there.append(accuracy)
    assert order[0] in going_on and 0.8 in going_on
    assert 0.2 not in going_on or order[0] == 0.2


def test_a_verdict_says_what_it_would_have_taken():
    assert halving.judge(0.5, [], epoch=2, factor=3) is None
    assert halving.judge(0.5, [0.5, 0.4], epoch=2, factor=3) is None  # as good as the best
    verdict = halving.judge(0.5, [0.9, 0.8, 0.4, 0.1, 0.7], epoch=2, factor=3)
    assert str(verdict) == "0.500 after 2 epochs; the best 2 of 6 runs there had 0.800"
    assert len(str(verdict)) <= table.LONGEST_NOTE


def test_a_rung_counts_what_was_reached_by_its_first_evaluation():
    rows = [{"epoch": e, "val/accuracy": a} for e, a in ((2, 0.5), (4, 0.3), (6, 0.9))]
    assert [halving.best_by(rows, epoch) for epoch in (1, 2, 3, 6, 7)] == [0.5, 0.5, 0.5, 0.9, None]
    assert halving.best_by([{"epoch": 1}], 1) is None  # without validation videos
    assert halving.Halving(1, 3).rungs(27) == [1, 3, 9]
    assert halving.Halving(4, 2).rungs(4) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("add.random(2, {'optim.rate': add.uniform(0, 1)})", "no config key 'optim.rate'"),
        ("add.random(2, {'seed': [1, 2]})", "many.py:14: seed: write add.uniform(LOW, HIGH)"),
        ("add.random(2, {'seed': add.uniform(2, 1)})", "many.py:14: 2 is not below 1"),
        ("add.random(2, {'optim.learning_rate': add.log_uniform(0, 1)})", "has to begin above 0"),
        ("add.random(2, {'optim.name': add.choice('adm', 'adam')})", "did you mean 'adam'?"),
        ("add()\nadd.halving(first=0)", "many.py:15: halving(first=0, factor=3): first is"),
        ("add(**{'eval.every': '2 epochs'})\nadd.halving()", "eval.every is '2 epochs'"),
    ],
)
def test_a_search_that_cannot_be_is_one_line(body, words, tmp_path):
    with pytest.raises(UserError) as raised:
        plan.plan(write_sweep(tmp_path / "configs" / "many.py", body))
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_dry_run_shows_the_draws(tmp_path, call):
    body = "add.random(3, {'optim.learning_rate': add.log_uniform(1e-4, 1e-1)})"
    config = write_sweep(tmp_path / "configs" / "many.py", body)
    listed = call("sweep", f"--config={config}", f"--workdir={tmp_path / 'w'}", "--dry-run").stdout
    drawn = [run.overrides["optim.learning_rate"] for run in plan.plan(config)]
    assert len(set(drawn)) == 3 and all(-4 <= math.log10(rate) <= -1 for rate in drawn)
    for line, rate in zip(listed.splitlines(), drawn, strict=False):
        assert line.endswith(f"(optim.learning_rate={rate!r})")


@pytest.mark.slow
def test_a_run_that_is_behind_is_stopped_marked_and_left(tmp_path, call, one_device):
    config, slow, workdir, behind = make_race(tmp_path, call)
    arguments = (f"--config={config}", f"--workdir={workdir}")
    done = call("sweep", *arguments)
    verdict = halving.read(behind)
    assert (verdict.epoch, verdict.cutoff, verdict.kept, verdict.runs) == (1, 1.0, 1, 2)
    assert f"{behind.name}: pruned, {verdict}" in done.stderr
    assert "1 finished, 1 pruned" in done.stderr
    rows = [json.loads(row) for row in (behind / "metrics.jsonl").read_text().splitlines()]
    assert verdict.accuracy == rows[0]["val/accuracy"] < 1 and rows[-1]["epoch"] < 400
    # The same command leaves it; without halving it goes on from its newest checkpoint.
    again = call("sweep", *arguments)
    assert "running" not in again.stderr and str(verdict) in " ".join(again.stderr.split())
    assert "pruned" in call("sweep", *arguments, "--dry-run").stdout
    (status,) = launch.look(plan.plan(slow), workdir)
    assert status.state is table.State.WAITING and checkpoint.Workdir(behind).checkpoints()

"""A sweep on a real Ray: a cluster of one machine, real trainings, real kills."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from fixtures.sweeps import make_race, write_sweep

from vid3d import checkpoint, cli
from vid3d.sweep import halving

pytestmark = pytest.mark.slow

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed")


@pytest.fixture
def config(tmp_path) -> str:
    body = 'add(**{"optim.learning_rate": 1e-3})'
    return write_sweep(tmp_path / "configs" / "many.py", body, epochs=30)


def training_in(workdir: Path) -> int | None:
    """The process that trains there."""
    for process in psutil.process_iter(["cmdline"]):
        if f"--workdir={workdir}" in (process.info["cmdline"] or ()):
            return process.pid
    return None


@needs_ray
def test_a_killed_run_is_retried_and_resumes(config, tmp_path, start):
    workdir = tmp_path / "sweep"
    run = workdir / "learning_rate=0.001"
    options = ("--launcher=ray", "--resources=CPU=1", "--retries=1", f"--workdir={workdir}")
    driver = start("sweep", f"--config={config}", *options)
    driver.wait_until(
        lambda: checkpoint.Workdir(run).checkpoints() and training_in(run) is not None
    )
    os.kill(training_in(run), signal.SIGKILL)
    said = driver.communicate(timeout=240)[0]
    assert driver.returncode == 0, said
    assert "1 finished" in said
    assert "resuming at step" in (run / "log.txt").read_text()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 31))


@needs_ray
def test_a_run_that_is_behind_is_stopped_there(tmp_path, call, run, one_device):
    race = make_race(tmp_path, call)
    options = (f"--config={race.config}", f"--workdir={race.workdir}", "--launcher=ray")
    said = run("sweep", *options, "--retries=1", timeout=600).stderr
    verdict = halving.read(race.behind)
    assert (verdict.epoch, verdict.cutoff, verdict.kept, verdict.runs) == (1, 1.0, 1, 2)
    assert f"{race.behind.name}: pruned, {verdict}" in said and "1 finished, 1 pruned" in said
    step = checkpoint.Workdir(race.behind).checkpoints()[-1]
    log = (race.behind / "log.txt").read_text()  # asked once, and not taken for a kill
    assert f"stopped at step {step}" in log and "resuming" not in log
    assert not training_in(race.behind)
    again = run("sweep", *options).stderr
    assert "running" not in again and str(verdict) in " ".join(again.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--launcher=ray", "--parallel=2"), "--parallel is for --launcher=local"),
        (("--resources=GPU=1",), "--resources and --retries are for --launcher=ray"),
        (("--launcher=ray", "--retries=-1"), "--retries=-1 has to be at least 0"),
        pytest.param(
            ("--launcher=ray", "--resources=GPU"),
            "--resources=GPU has to be NAME=AMOUNT",
            marks=needs_ray,
        ),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_one_clear_line(arguments, words, config, tmp_path, capsys):
    workdir = tmp_path / "sweep"
    assert cli.main(["sweep", f"--config={config}", f"--workdir={workdir}", *arguments]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not workdir.exists()


@needs_ray
def test_missing_resources_are_one_clear_line(config, tmp_path, run):
    workdir = tmp_path / "sweep"
    options = ("--launcher=ray", "--resources=CPU=4000")
    done = run("sweep", f"--config={config}", f"--workdir={workdir}", *options, check=1)
    assert "no machine of the Ray cluster has as much" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not workdir.exists()


def test_another_package_named_ray_is_not_ray(config, tmp_path, run):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").touch()
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    arguments = ("sweep", f"--config={config}", f"--workdir={tmp_path / 's'}", "--launcher=ray")
    done = run(*arguments, check=1, env={"PYTHONPATH": path})
    assert "pip install 'vid3d[ray]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_it_says_what_to_install(config, tmp_path, capsys):
    arguments = ["sweep", f"--config={config}", f"--workdir={tmp_path / 's'}", "--launcher=ray"]
    assert cli.main(arguments) == 1
    assert "pip install 'vid3d[ray]'" in capsys.readouterr().err

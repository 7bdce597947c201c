"""Many runs: real child processes, real workdirs, real signals."""

from __future__ import annotations

import functools
import io
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from fixtures.sweeps import write_sweep
from rich.console import Console

from vid3d import checkpoint, cli, config as configs
from vid3d.errors import UserError
from vid3d.process import RESUME_ME
from vid3d.sweep import child, devices, launch, plan, table

pytestmark = pytest.mark.slow

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux does")


@pytest.fixture
def write(tmp_path):
    """`write(body of sweep(add))` -> a config file."""
    return functools.partial(write_sweep, tmp_path / "configs" / "many.py")


def in_training(start, write, workdir: Path):
    """A sweep whose one run has saved a checkpoint and has far to go."""
    epochs = "--config.train.epochs=400"
    process = start("sweep", f"--config={write('add()')}", f"--workdir={workdir}", epochs)
    process.wait_until(lambda: bool(checkpoint.Workdir(workdir / "base").checkpoints()))
    return process


def trainings(workdir: Path) -> dict[str, int]:
    """Name of the run -> process id, of the trainings of a sweep that are alive."""
    import psutil

    found = {}
    for process in psutil.process_iter(["cmdline"]):
        for argument in process.info["cmdline"] or ():
            if argument.startswith(f"--workdir={workdir}/") and "train" in process.info["cmdline"]:
                found[Path(argument).name] = process.pid
    return found


def test_each_run_is_trained_once_in_its_own_workdir(write, tmp_path, call, one_device):
    config = write(
        "for rate in (1e-3, 1e-2):\n"
        "    add(**{'optim.learning_rate': rate, 'model.features': (4, 8)})\n"
        "add(**{'data.classes': ('Clockwise', 'Leep')})"
    )
    workdir = tmp_path / "sweep"
    names = [
        "learning_rate=0.001,features=4-8",
        "learning_rate=0.01,features=4-8",
        "classes=Clockwise-Leep",
    ]
    listed = call("sweep", f"--config={config}", f"--workdir={workdir}", "--dry-run").stdout
    assert [Path(line.split()[1]).name for line in listed.splitlines()[:3]] == names
    assert not workdir.exists()

    # The last run fails, and does not keep the others from finishing.
    done = call("sweep", f"--config={config}", f"--workdir={workdir}", check=1)
    assert sorted(p.name for p in workdir.iterdir()) == sorted(names)
    for name, rate in zip(names[:2], (1e-3, 1e-2), strict=True):
        found = json.loads((workdir / name / "config.json").read_text())
        assert (found["optim"]["learning_rate"], found["model"]["features"]) == (rate, [4, 8])
        step = checkpoint.resolve(workdir / name, "latest")
        assert checkpoint.Workdir(workdir / name).meta(step)["finished"]
    assert "2 finished, 1 failed" in done.stderr
    assert "did you mean 'Leap'" in done.stderr
    assert (workdir / names[2] / "log.txt").read_text().splitlines()[-1] in done.stderr

    before = {p: p.stat().st_mtime_ns for n in names[:2] for p in (workdir / n).rglob("*.json*")}
    again = call("sweep", f"--config={config}", f"--workdir={workdir}", check=1)
    assert f"{names[0]}: running" not in again.stderr
    assert f"{names[2]}: running" in again.stderr
    assert {p: p.stat().st_mtime_ns for p in before} == before
    # A base config that asks for another result is told before anything runs.
    arguments = ("--config.data.sampling=random", f"--workdir={workdir}")
    other = call("sweep", f"--config={config}", *arguments, check=1)
    assert "data.sampling: 'first' -> 'random'" in other.stderr.splitlines()[-1]


def test_the_next_call_resumes_killed_and_stopped_runs(write, tmp_path, start, call, one_device):
    config = write("for seed in (0, 1):\n    add(**{'optim.learning_rate': 1e-3 + seed})")
    workdir = tmp_path / "sweep"
    names = ["learning_rate=0.001", "learning_rate=1.001"]
    epochs = "--config.train.epochs=30"
    parallel = "--parallel=2" if len(os.sched_getaffinity(0)) > 1 else "--parallel=1"
    process = start("sweep", f"--config={config}", f"--workdir={workdir}", parallel, epochs)

    def begun(name):
        return bool(checkpoint.Workdir(workdir / name).checkpoints())

    process.wait_until(lambda: begun(names[0]))
    if parallel == "--parallel=2":
        process.wait_until(lambda: len(trainings(workdir)) == 2)
        pids = trainings(workdir)
        cores = [os.sched_getaffinity(pids[name]) for name in names]
        assert cores[0] and cores[1] and not cores[0] & cores[1]
    os.kill(trainings(workdir)[names[0]], signal.SIGKILL)
    process.wait_until(lambda: begun(names[1]))
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1, output
    assert f"{names[0]}: failed, killed by SIGKILL" in output
    assert f"{names[1]}: stopped" in output
    assert not trainings(workdir)
    listed = call("sweep", f"--config={config}", f"--workdir={workdir}", epochs, "--dry-run").stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["failed", "stopped", "2"]

    done = call("sweep", f"--config={config}", f"--workdir={workdir}", epochs)
    assert "2 finished" in done.stderr
    for name in names:
        assert "resuming at step" in (workdir / name / "log.txt").read_text()
    rows = [json.loads(r) for r in (workdir / names[0] / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 31))


@ON_LINUX
def test_a_run_saves_and_ends_with_a_killed_sweep(write, tmp_path, start):
    workdir = tmp_path / "sweep"
    process = in_training(start, write, workdir)
    process.kill()
    process.communicate()
    limit = time.monotonic() + 120
    while trainings(workdir):
        assert time.monotonic() < limit, "it trains on"
        time.sleep(0.1)
    last = (workdir / "base" / "log.txt").read_text().splitlines()[-1]
    assert last.startswith(
        f"stopped at step {checkpoint.Workdir(workdir / 'base').checkpoints()[-1]}, all saved"
    )


@ON_LINUX
def test_a_second_ctrl_c_does_not_wait_for_runs(write, tmp_path, start):
    workdir = tmp_path / "sweep"
    process = in_training(start, write, workdir)
    run = trainings(workdir)["base"]
    try:
        os.kill(run, signal.SIGSTOP)  # it cannot save, and so does not end
        process.send_signal(signal.SIGINT)
        process.wait_until(lambda: pending(run, signal.SIGTERM))
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    finally:
        for number in trainings(workdir).values():
            os.kill(number, signal.SIGKILL)
        process.kill()
    assert process.returncode == RESUME_ME
    assert output.splitlines()[-1] == "vid3d sweep: stopped; the same command goes on from here"
    with pytest.raises(ProcessLookupError):
        os.kill(run, 0)


def pending(process: int, number: signal.Signals) -> bool:
    """Whether a process has a signal before it that it has not taken."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def test_a_run_whose_config_cannot_be_read_fails_alone(write, tmp_path, call, one_device):
    workdir = tmp_path / "sweep"
    config = write("for rate in (1e-3, 1e-2):\n    add(**{'optim.learning_rate': rate})")
    broken = workdir / "learning_rate=0.001" / "config.json"
    broken.parent.mkdir(parents=True)
    broken.touch()
    done = call("sweep", f"--config={config}", f"--workdir={workdir}", check=1)
    assert "1 finished, 1 failed" in done.stderr
    assert "config.json: the config is not JSON" in done.stderr
    done = call("sweep", f"--config={config}", f"--workdir={workdir}", "--dry-run")
    assert "config.json: the config is not JSON" in done.stdout.splitlines()[0]


def test_values_that_look_the_same_get_different_folders(write, tmp_path):
    config = write(
        "for value in (('a-b', 'c'), ('a', 'b-c')):\n    add(**{'data.classes': value})\n"
        "for start in ('a-b', 'a,b', 'a b'):\n    add(**{'model.init_from': start})"
    )
    runs = plan.plan(config)
    names = [run.name for run in runs]
    assert len(set(names)) == 5 and names[2] == "init_from=a-b"
    assert plan.name({"model.features": (64, 32)}) == "features=64-32"
    # What an earlier version has trained is found, by its config.
    former = tmp_path / "classes=a-b-c"
    former.mkdir()
    (former / "config.json").write_text(configs.to_json(runs[1].config))
    found = [launch.find(run, tmp_path).name for run in runs]
    assert found == [names[0], "classes=a-b-c", *names[2:]]


def test_a_lock_that_cannot_be_taken_is_a_failure(write, tmp_path, capsys):
    lock = tmp_path / "sweep" / "base" / ".lock"
    lock.mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot lock .*/\.lock: Is a directory"):
        checkpoint.Workdir(lock.parent).is_held()
    arguments = [f"--config={write('add()')}", f"--workdir={tmp_path / 'sweep'}"]
    assert cli.main(["sweep", *arguments]) == 1
    assert f"base: failed, cannot lock {lock}" in capsys.readouterr().err


def a_status(tmp_path, write, **more) -> table.Status:
    (run,) = plan.plan(write("add()"))
    return table.Status(run, tmp_path / "base", **more)


def test_a_long_failure_is_short_in_the_table(write, tmp_path):
    log = Path("runs") / "base" / "log.txt"
    note = "vid3d train: error: " + "no such class " * 60
    status = a_status(tmp_path, write, state=table.State.FAILED, note=note, log=log)
    text = io.StringIO()
    Console(file=text, width=80).print(table.render([status], 1))
    assert len(text.getvalue().splitlines()) < 16
    assert "note" in text.getvalue() and "time left" not in text.getvalue()  # it has none
    assert f"see {log}" in status.short_note() and status.short_note().startswith(note[:60])


def test_a_stopped_sweep_shows_no_time_left(write, tmp_path):
    seen = [(0.0, 0.0), (10.0, 1.0), (20.0, 2.0)]
    statuses = [a_status(tmp_path, write, seen=list(seen)), a_status(tmp_path, write)]
    statuses[0].state = table.State.RUNNING
    assert "left" in table.summary(statuses, 1)
    statuses[0].state = table.State.STOPPED
    assert table.summary(statuses, 1) == "1 waiting, 1 stopped"


def test_a_run_that_another_process_trains_is_left_to_it(write, tmp_path, start):
    config, workdir = write("add()"), tmp_path / "sweep"
    other = start("train", f"--config={config}", f"--workdir={workdir / 'base'}")
    other.wait_until(lambda: (workdir / "base" / "config.json").exists())
    other.send_signal(signal.SIGSTOP)
    process = start("sweep", f"--config={config}", f"--workdir={workdir}")
    process.read_until("base: elsewhere")
    other.send_signal(signal.SIGCONT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "1 finished" in output, output
    assert other.communicate(timeout=60) and other.returncode == 0
    log = (workdir / "base" / "log.txt").read_text().splitlines()
    (start_line,) = (line for line in log if line.startswith("# "))
    assert "vid3d train" in start_line


def test_a_run_that_another_process_takes_is_not_a_failure(write, tmp_path, start):
    config, workdir = write("add()"), tmp_path / "sweep"
    process = start("sweep", f"--config={config}", f"--workdir={workdir}")
    process.wait_until(lambda: bool(trainings(workdir)))
    run = trainings(workdir)["base"]
    os.kill(run, signal.SIGSTOP)
    with checkpoint.Workdir(workdir / "base").hold():
        os.kill(run, signal.SIGCONT)
        process.read_until("base: elsewhere")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "1 finished" in output and "failed" not in output


def test_a_run_whose_folder_is_taken_fails_alone(write, tmp_path, capsys):
    workdir = tmp_path / "sweep"
    workdir.mkdir()
    (workdir / "base").write_text("no folder")
    assert cli.main(["sweep", f"--config={write('add()')}", f"--workdir={workdir}"]) == 1
    said = capsys.readouterr().err
    assert "1 failed" in said
    assert "cannot start (File exists) in" in said


def test_shards_are_disjoint_and_seeds_repeat(write):
    config = write("for width in (4, 8, 16):\n    add(**{'model.features': (width,)})")
    runs = plan.plan(config, [("seed", "5")], seeds=2)
    assert [r.name for r in runs] == [
        "features=4", "features=4,seed=6", "features=8", "features=8,seed=6",
        "features=16", "features=16,seed=6",
    ]  # fmt: skip
    assert [r.config.seed for r in runs] == [5, 6] * 3
    shards = [plan.shard(runs, f"{i}/4") for i in range(4)]
    assert sorted(r.name for s in shards for r in s) == sorted(r.name for r in runs)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    # A sweep that grows finds the runs it already had.
    grown = plan.plan(write("add(**{'model.features': (4,)})\nadd(**{'data.num_frames': 3})"))
    assert [r.name for r in grown] == ["features=4", "data.num_frames=3"]


def test_names_are_folders_on_any_disk():
    long = plan.name({"data.classes": tuple(f"class {i}/{i}" for i in range(40))})
    assert len(long) <= plan.LONGEST_NAME
    assert not set(long) & set("/ \\:*?\"<>|'")
    words = plan.describe({"train.balance_classes": True, "model.features": (8, 4)})
    assert words == "train.balance_classes=true, model.features=8,4"
    assert plan.name({"data.group_pattern": "a/b"}) != plan.name({"data.group_pattern": "a b"})


@pytest.mark.parametrize(
    ("body", "arguments", "words"),
    [
        ("pass", (), "sweep() adds no run"),
        ("add(seed=1)\nadd(seed=2)\nadd(seed=1)", (), "runs 1 and 3 are the same: seed=1"),
        ("add()\nadd(**{'optim.learning_rate': 2e-3})", (), "runs 1 and 2 are the same"),
        ("add()\nadd(**{'model.featurs': (8,)})", (),
         "run 2 (model.featurs=8): no config key 'model.featurs'; did you mean 'model.features'?"),
        ("add(**{'model.features': 8})", (), "config.model.features=8: expected a value like (4,)"),
        ("add(**{'augment.crop_scale': (1.0, 0.2)})", (),
         "config.augment.crop_scale=(1.0, 0.2) ends before it begins"),
        ("add(**{'model.dropout': 1.5})", (), "config.model.dropout=1.5 has to be from 0 to 1"),
        ("add(**{'model.name': 'conv4d'})", (), "did you mean 'conv3d'?"),
        ("add(**{'model': 'conv3d'})", (), "config.model is a group of keys"),
        ("add(**{'model.name': 'r3d_18', 'model.hidden': 8})", (),
         "r3d_18 does not look at model.hidden: leave it out"),
        ("add({'optim.learning_rate': 1e-3})", (),
         "many.py:14: add() takes names and values: add(**{'optim.learning_rate': 1e-3})"),
        ("add(seed=1)\nundefined()", (), "name 'undefined' is not defined"),
        ("add(seed=1)", ("--seeds=2",), "sets seed itself: leave out --seeds=2"),
        ("add(seed=1)", ("--config.seed=2",), "sets seed itself: leave out --config.seed=2"),
        ("add()", ("--seeds=0",), "--seeds=0 has to be at least 1"),
        ("add()", ("--shard=4/4",), "--shard=4/4 has to be i/N with i from 0 to N - 1"),
        ("add()", ("--parallel=4000",), "cores, at least one per run"),
        ("add()", ("--parallel=-1",), "--parallel=-1 has to be at least 1"),
    ],
)  # fmt: skip
def test_a_bad_sweep_is_one_line_and_trains_nothing(
    body, arguments, words, write, tmp_path, capsys
):
    workdir = tmp_path / "sweep"
    assert cli.main(["sweep", f"--config={write(body)}", f"--workdir={workdir}", *arguments]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not workdir.exists()


def test_a_missing_sweep_and_a_taken_folder_are_errors(tmp_path, write, capsys):
    assert cli.main(["sweep", "--config=configs/demo.py", f"--workdir={tmp_path / 'w'}"]) == 1
    assert "configs/demo.py defines no sweep()" in capsys.readouterr().err
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.json").write_text("{}")
    assert cli.main(["sweep", f"--config={write('add()')}", f"--workdir={tmp_path / 'w'}"]) == 1
    assert "is the workdir of one training" in capsys.readouterr().err


@pytest.mark.parametrize(
    "config", sorted(Path("configs").glob("sweep_*.py")), ids=lambda path: path.stem
)
def test_shipped_sweeps_can_be_planned(config):
    runs = plan.plan(str(config), seeds=2)
    assert len({run.name for run in runs}) == len(runs) >= 6


def test_each_device_has_one_slot(monkeypatch):
    monkeypatch.setattr(devices, "probe", lambda: ("gpu", 2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-abc")
    seen = [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in devices.slots(2)]
    assert seen == ["3", "GPU-abc"]
    with pytest.raises(UserError, match="2 gpu devices"):
        devices.slots(3)
    monkeypatch.setattr(devices, "probe", lambda: ("tpu", 4))
    environments = [slot.environment for slot in devices.slots(4)]
    for key in ("TPU_VISIBLE_DEVICES", "TPU_MESH_CONTROLLER_PORT"):
        assert len({environment[key] for environment in environments}) == 4
    shares = [slot.cores for slot in devices.core_slots(len(os.sched_getaffinity(0)))]
    assert frozenset().union(*shares) == os.sched_getaffinity(0)
    assert all(len(share) == 1 for share in shares)


def test_only_the_run_is_bound_to_its_cores(monkeypatch):
    before = os.sched_getaffinity(0)
    share = devices.core_slots(len(before))[0]
    with share.bound():
        assert os.sched_getaffinity(0) == share.cores
    assert os.sched_getaffinity(0) == before
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    slots = devices.core_slots(2)
    assert [slot.name for slot in slots] == ["share 0", "share 1"]
    with slots[1].bound() as environment:
        assert environment == dict(os.environ)


def test_devices_that_cannot_start_are_one_line(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    with pytest.raises(UserError, match=r"JAX finds no device: .*abacus"):
        devices.slots(2)


def test_the_live_table_shows_the_time_left(smoke_run, write, monkeypatch, capfd):
    """Three runs of 10 epochs: one that did its last 3 of 4 in 99 seconds, two that wait."""
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "100"), ("LINES", "10")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(table, "REFRESH_SECONDS", 0.0)
    body = "for seed in (1, 2, 3):\n    add(seed=seed)"
    runs = plan.plan(write(body), [("train.epochs", "10")])
    statuses = [table.Status(run, smoke_run / run.name) for run in runs]
    first = statuses[0]
    first.workdir, first.state, first.place = smoke_run, table.State.RUNNING, "core 0"
    first.seen = [(time.monotonic() - 99, 1.0)]
    with table.Board(statuses, 1) as board:
        shown = capfd.readouterr().err
        board.tick()
        assert "seed=1" in capfd.readouterr().err
        board.changed(first)
        assert "seed=1" in capfd.readouterr().err
    # 6 epochs of 33 seconds, then two runs of 10.
    for words in ("seed=1", "seed=2", "running", "4/10", "3 min", "core 0"):
        assert words in shown
    assert "2 waiting, 1 running; about 14 min left; 1 runs are not shown" in shown
    assert "seed=3" not in shown
    assert "seed=3" in capfd.readouterr().err


def test_a_full_disk_explains_a_missing_log(small_disk):
    disk = small_disk("64k")
    assert child.last_words(disk, 0, 1) == "it said nothing"
    (disk / "other").write_bytes(bytes(2**16 - 2**12))
    assert child.last_words(disk, 0, 1) == "No space left for its log"

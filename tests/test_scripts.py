"""The scripts for TPU slices and Slurm: the commands that they would run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

TPU, SLURM = Path("experiments/tpu/tpu.sh"), Path("experiments/slurm/submit.sh")


def script(*arguments: str | Path, check: int = 0, **environment: str) -> str:
    done = subprocess.run(
        ["bash", *map(str, arguments)], text=True, capture_output=True, env=os.environ | environment
    )
    assert done.returncode == check, done.stdout + done.stderr
    return done.stdout if check == 0 else done.stderr


@pytest.mark.parametrize("path", [TPU, SLURM], ids=str)
def test_scripts_pass_shellcheck(path):
    tool = shutil.which("shellcheck") or shutil.which(
        "shellcheck", path=Path(sys.executable).parent
    )
    if not tool:
        pytest.skip("shellcheck is not installed")
    subprocess.run([tool, path], check=True)


needs_git = pytest.mark.skipif(
    not shutil.which("git"), reason="git, which packs the checkout, is not installed"
)

GCLOUD = """#!/bin/bash
# Stands in for Google's program and records its calls; the slice is lost once and stopped once.
printf '%s\\0' "$@" >>said
printf '\\n' >>said
case "$*" in
  *"queued-resources create"*) echo >>creates ;;
  *vid3d/.venv/bin/vid3d*) echo >>runs ;;
esac
touch creates runs
creates=$(wc -l <creates) runs=$(wc -l <runs)
case "$*" in
  *describe*) if [ "$creates" -gt "$((runs > 0))" ]; then echo READY; else echo PREEMPTED; fi ;;
  *"cat vid3d.code"*) if [ "$runs" -lt 3 ]; then echo 75; else echo 0; fi ;;
esac
"""


@needs_git
def test_watch_recreates_the_slice_until_training_is_finished(tmp_path):
    (tmp_path / "gcloud").write_text(GCLOUD)
    (tmp_path / "gcloud").chmod(0o755)
    place = ("--name=slice", "--zone=z", "--type=v5litepod-16", "--image=v2-alpha-tpuv5-lite")
    arguments = ("train", "--config=vid3d/configs/demo.py", "--workdir=bucket/a run")
    command = (TPU.resolve(), "watch", *place, "--bucket=b", "--from=gs://b/data", "--", *arguments)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [call.split("\0") for call in (tmp_path / "said").read_text().split("\0\n") if call]
    remote = [
        word.removeprefix("--command=") for call in asked for word in call if "--command" in word
    ]
    trainings = [text for text in remote if "vid3d/.venv/bin/vid3d" in text]
    # Lost in the first run, stopped in the second, finished in the third.
    assert len(trainings) == 3
    assert sum("create" in call for call in asked) == 2
    assert sum("scp" in call for call in asked) == 2
    with tarfile.open(tmp_path / "vid3d-slice.tar.gz") as archive:
        assert {"vid3d/pyproject.toml", "vid3d/constraints.txt"} <= set(archive.getnames())

    # What a host would run, with a program that records its arguments.
    program = tmp_path / "vid3d" / ".venv" / "bin" / "vid3d"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >arguments\nexit 75\n')
    program.chmod(0o755)
    host = subprocess.run(["bash", "-c", trainings[0]], env=os.environ | {"HOME": str(tmp_path)})
    assert host.returncode == 75
    assert (tmp_path / "vid3d.code").read_text() == "75\n"
    assert (tmp_path / "arguments").read_text().splitlines() == list(arguments)


@needs_git
def test_dry_run_calls_nothing(tmp_path):
    (tmp_path / "gcloud").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "gcloud").chmod(0o755)
    place = ("--name=slice", "--zone=z", "--type=v5litepod-16", "--image=v2-alpha-tpuv5-lite")
    path = f"{tmp_path}:{os.environ['PATH']}"
    said = script(TPU, "watch", *place, "--dry-run", "--", "train", PATH=path, TMPDIR=str(tmp_path))
    assert len([line for line in said.splitlines() if line.startswith("+ gcloud")]) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["gcloud"]


def test_fetch_copies_from_a_host_or_a_bucket():
    fetch = (TPU, "fetch", "--name=x", "--zone=z", "--to=runs/a", "--dry-run")
    said = script(*fetch, "--from=gs://bucket/runs/a").splitlines()
    assert said == [
        "+ mkdir -p runs/a",
        "+ gcloud storage rsync --recursive gs://bucket/runs/a runs/a",
    ]
    assert "scp --recurse x:runs/a runs/a --zone=z --worker=0" in script(*fetch, "--from=runs/a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((TPU, "create", "--name=x"), "create needs --zone=..."),
        ((TPU, "create", "--name=x", "--zone=z"), "create needs --type=..."),
        ((TPU, "run", "--name=x", "--zone=z"), "needs the arguments of vid3d after --"),
        ((TPU, "crate"), "unknown command crate"),
        ((TPU, "create", "--nmae=x"), "unknown option --nmae=x"),
        ((TPU, "create", "--name", "x"), "write --name=x"),
        ((SLURM, "train", "--nodes", "2"), "write --nodes=2"),
        ((SLURM, "train", "--nodes=2", "--", "x"), "train needs --gpus=N"),
        ((SLURM, "sweep", "--shards=0", "--gpus=1", "--", "x"), "sweep needs --shards=N"),
        ((SLURM, "train", "--nodes=2", "--gpus=1"), "needs the arguments of vid3d after --"),
    ],
)
def test_wrong_arguments_give_one_line(arguments, words):
    said = script(*arguments, check=1)
    assert words in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("arguments", [(TPU, "run"), (TPU,), (SLURM, "train"), (SLURM,)], ids=str)
def test_help_prints_the_usage_anywhere(arguments):
    for word in ("--help", "-h"):
        assert script(*arguments, word).startswith("usage: ")


@pytest.mark.parametrize("code", [0, 1, 75])
def test_slurm_job_passes_arguments_and_requeues_when_stopped(code, tmp_path):
    job = script(
        SLURM, "sweep", "--shards=4", "--gpus=2", "--dry-run", f"--python={tmp_path / 'python'}",
        "--", "--config=a b.py", "--workdir=w",
    )  # fmt: skip
    options, text = job.split(" <<JOB\n")
    assert "--array=0-3" in options
    # Stand in for Slurm's two programs and for Python, and record their calls.
    for name, body in {
        "srun": 'exec "$@"',
        "scontrol": f'echo "scontrol $*" >>{tmp_path}/said',
        "python": f'printf "%s\\n" "$@" >{tmp_path}/said; exit {code}',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "job").write_text(text.removesuffix("JOB\n"))
    script(
        tmp_path / "job", check=code, PATH=f"{tmp_path}:{os.environ['PATH']}", SLURM_JOB_ID="7",
        SLURM_ARRAY_TASK_ID="3", SLURM_ARRAY_TASK_COUNT="4",
    )  # fmt: skip
    said = (tmp_path / "said").read_text().splitlines()
    asked = [
        *("-m", "vid3d.cli", "sweep", "--config=a b.py", "--workdir=w", "--shard=3/4"),
        "--parallel=2",
    ]
    assert said == asked + (["scontrol requeue 7"] if code == 75 else [])

"""What a workdir says of where it was trained: enough to repeat it, and nobody's name."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import jax
import pytest

from vid3d import __version__
from vid3d.checkpoint import Workdir, provenance
from vid3d.errors import UserError

ROOT = Path(__file__).parents[2]


def test_an_entry_says_what_ran_where_and_names_nobody(tmp_path, monkeypatch):
    home = Path.home()
    words = ["train", f"--workdir={home}/runs/a b", "--coordinator=some.host:1", f"/data{home}/x"]
    monkeypatch.setattr(sys, "argv", [f"{home}/vid3d/cli.py", *words])
    workdir = Workdir(tmp_path)
    assert provenance.read(workdir) == [] and provenance.differences(workdir) == ""
    provenance.add(workdir, provenance.entry(step=0))
    provenance.add(workdir, provenance.entry(step=7, extended={"to_epochs": 9}))
    first, second = provenance.read(workdir)
    assert (first["step"], second["step"], second["extended"]) == (0, 7, {"to_epochs": 9})
    assert first["command"] == (
        f"vid3d train '--workdir=~/runs/a b' --coordinator=HOST:PORT /data{home}/x"
    )
    assert first["vid3d"] == __version__ and first["python"] == sys.version.split()[0]
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        assert first["versions"][name] == metadata.version(name)
    assert {"PyAV", "FFmpeg", "OpenCV"} < first["versions"].keys()
    assert first["devices"]["count"] == jax.device_count() and first["cores"] > 0
    assert first["date"][-6] in "+-"  # its zone
    text = json.dumps([{**one, "command": ""} for one in (first, second)])
    for name in (socket.gethostname(), getpass.getuser()):
        assert len(name) < 4 or name not in text
    assert provenance.headline(workdir) == f"# {second['date']} {second['command']}"


def test_the_commit_is_that_of_the_checkout():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    try:
        git = ["git", "-C", str(ROOT)]
        expected = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain", "-uno"], text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"git does not answer here: {error}")
    assert provenance.source() == (expected, bool(changed.strip()))


@pytest.mark.parametrize("content", ["[{", '{"a": 1}', '[{"versions": 1}]', "[1]", "[{}]"])
def test_a_damaged_file_is_one_line(content, tmp_path):
    (tmp_path / "provenance.json").write_text(content)
    with pytest.raises(UserError, match=r"provenance\.json is damaged: restore the file, or"):
        provenance.add(Workdir(tmp_path), {})
    assert (tmp_path / "provenance.json").read_text() == content


def test_versions_that_differ_are_named(tmp_path):
    workdir = Workdir(tmp_path)
    one = provenance.entry(step=0)
    provenance.add(workdir, one)
    assert provenance.differences(workdir) == ""
    one["versions"] |= {"jax": "0.1", "numpy": "0.1"}  # NumPy decides about no bit
    del one["versions"]["FFmpeg"]
    provenance.add(workdir, one)
    jax_now, ffmpeg_now = (provenance.environment()["versions"][name] for name in ("jax", "FFmpeg"))
    assert provenance.differences(workdir) == (
        f"jax 0.1, now {jax_now}; FFmpeg unknown, now {ffmpeg_now}"
    )

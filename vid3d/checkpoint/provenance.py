"""Where a training run or an evaluation took place: versions, devices, cores; no names of hosts."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from vid3d import __version__, parallel, storage
from vid3d.checkpoint.workdir import Workdir
from vid3d.errors import UserError
from vid3d.process import cores
from vid3d.video.reader import DECODER, FFMPEG
from vid3d.video.resize import OPENCV

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
DECISIVE = ("jax", "jaxlib", "flax", "PyAV", "FFmpeg", "OpenCV")  # for the bits of a result
GIT_SECONDS = 10.0


def environment() -> dict[str, Any]:
    """Versions, devices and cores of this process; the same in every call on one machine."""
    commit, is_modified = source()
    return {
        "vid3d": __version__,
        "commit": commit,
        "modified": is_modified,
        "python": platform.python_version(),
        "versions": versions(),
        "devices": parallel.facts(),
        "cores": cores(),
        "platform": platform.platform(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return found | dict(text.split(" ", 1) for text in (DECODER, FFMPEG, OPENCV))


def source() -> tuple[str | None, bool | None]:
    """The git commit of vid3d, and whether tracked files differ from it; None where unknown."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return installed_commit(), None
    command = ["git", "--no-optional-locks", "-C", str(root)]
    command += ["describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    # Inside a hook of another repository, these would name that one.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            command, env=own, capture_output=True, text=True, check=True, timeout=GIT_SECONDS
        )
    except (OSError, subprocess.SubprocessError):  # no git, or one that does not trust the folder
        return None, None
    commit, dirty, _ = done.stdout.strip().partition("-")
    return commit, bool(dirty)


def installed_commit() -> str | None:
    """The commit that pip has installed vid3d from; None where it was not from a repository."""
    try:
        told = metadata.distribution("vid3d").read_text("direct_url.json")
        return json.loads(told or "{}")["vcs_info"]["commit_id"]
    except (metadata.PackageNotFoundError, ValueError, KeyError):
        return None


def command_line() -> str:
    """The command of this process, its home folder as ~, without the address of a coordinator."""
    program, *arguments = sys.argv or [""]
    name = Path(program).name
    words = ["vid3d" if name in ("cli.py", "__main__.py") else name]
    for argument in arguments:
        option, equals, _ = argument.partition("=")
        if words[-1] == "--coordinator" or (option == "--coordinator" and equals):
            argument = f"{option}=HOST:PORT" if equals else "HOST:PORT"
        words.append(argument)
    home = re.escape(os.path.expanduser("~"))
    return re.sub(rf"(?<![\w/.~-]){home}(?=[/\s])", "~", shlex.join(words) + "\n").rstrip()


def entry(*, step: int, **more: Any) -> dict[str, Any]:
    """An entry of provenance.json: one start or resume of a training run.

    Args:
        step: that training goes on from; 0 at the first start.
        more: what else is to be known of this start.
    """
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"date": date, "step": step, "command": command_line(), **more, **environment()}


def read(workdir: Workdir) -> list[dict[str, Any]]:
    """The entries of provenance.json, the oldest first; none where it is missing.

    Raises:
        UserError: it is damaged.
    """
    try:
        entries = json.loads(storage.read_text(workdir.provenance_file))
        if not all(isinstance(one["versions"], dict) for one in entries):
            raise TypeError("no versions")
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"{workdir.provenance_file} is damaged: restore the file, or delete it"
        ) from None
    return entries


def add(workdir: Workdir, one: Mapping[str, Any]) -> None:
    """Adds an entry to provenance.json."""
    entries = [*read(workdir), one]
    storage.write_whole(workdir.provenance_file, json.dumps(entries, indent=1) + "\n")


def headline(workdir: Workdir) -> str:
    """The date and the command of the newest entry."""
    newest = read(workdir)[-1]
    return f"# {newest['date']} {newest['command']}"


def differences(workdir: Workdir) -> str:
    """ "jax 0.10.2, now 0.12.0; ...": what differs from the newest entry; "" where nothing does."""
    entries = read(workdir)
    if not entries:
        return ""
    before, now = entries[-1]["versions"], versions()
    return "; ".join(
        f"{name} {before.get(name, 'unknown')}, now {now[name]}"
        for name in DECISIVE
        if before.get(name) != now[name]
    )

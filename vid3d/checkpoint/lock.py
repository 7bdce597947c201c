"""One training run at a time in a workdir: a lock on a disk, a warning in an object store."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock

from vid3d import storage
from vid3d.errors import UserError


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Takes a folder for this training run until the block, or the process, ends.

    Raises:
        UserError: another training run holds it, or the folder cannot be written.
    """
    held = acquire(folder)
    sign = folder / storage.LOCK
    if storage.is_remote(folder):
        put_sign(sign)
    try:
        yield
    finally:
        if storage.is_remote(folder):
            sign.unlink(missing_ok=True)
        held.release()


def acquire(folder: Path) -> filelock.BaseFileLock:
    """Locks a folder, which is made where it is missing; see `hold`."""
    storage.refuse_file(folder)
    try:
        file = storage.local_copy(folder / storage.LOCK)
        file.parent.mkdir(parents=True, exist_ok=True)
        storage.refuse_file(folder / "checkpoints")
        held = filelock.FileLock(file)
        held.acquire(timeout=2)  # a sweep that looks holds it for a moment
    except filelock.Timeout:
        raise UserError(
            f"another training run is writing in {folder}: wait for it or end it"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write in the workdir {folder}: {error.strerror}") from None
    return held


def put_sign(sign: Path) -> None:
    """Names this machine in an object store, which has no locks; warns where another is named.

    Raises:
        UserError: it cannot be written.
    """
    name = socket.gethostname()
    before = storage.read_text(sign) if sign.exists() else name
    if before != name:
        print(
            f"warning: a training run on {before} started in {sign.parent} and was killed, or is "
            "still alive: end it, because two of them spoil each other's checkpoints",
            file=sys.stderr,
        )
    storage.write_whole(sign, name)


def is_held(folder: Path) -> bool:
    """Whether a training run holds the folder now: on this machine or, on a shared disk, on any.

    Raises:
        UserError: that cannot be found out, such as with a lock of another user.
    """
    file = storage.local_copy(folder / storage.LOCK)
    if not file.exists():
        return False
    probe = filelock.FileLock(file)
    try:
        probe.acquire(blocking=False)
    except filelock.Timeout:
        return True
    except OSError as error:
        raise UserError(f"cannot lock {file}: {error.strerror}") from None
    probe.release()
    return False

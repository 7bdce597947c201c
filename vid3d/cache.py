"""Folders in the cache, each built completely and once by one of the processes that want it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from vid3d.errors import UserError

INCOMPLETE = "incomplete."
STALLED_SECONDS = 900.0
DISK_ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def make_once(
    folder: Path,
    build: Callable[[Path], None],
    *,
    is_whole: Callable[[Path], bool] = Path.is_dir,
    stalled_seconds: float = STALLED_SECONDS,
) -> bool:
    """Calls `build(empty folder)` and renames the result to `folder`, unless that exists already.

    A file lock lets one process build while the others wait; the system releases it when its holder
    dies. What a killed process left behind is removed by the next one that holds the lock.

    Args:
        folder: what is wanted. Its parent is made where it is missing.
        build: fills the empty folder that it is given; it may raise.
        is_whole: says whether an existing folder can be used; one that cannot is built again.
        stalled_seconds: how long to wait for a process that holds the lock and writes nothing.

    Returns:
        Whether it was built now.

    Raises:
        UserError: the cache cannot be written, or another process holds the lock and makes no
            progress.
    """
    if is_whole(folder):
        return False
    incomplete = folder.parent / f"{INCOMPLETE}{folder.name}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f"{folder.name}.lock")
        wait_for(lock, incomplete, stalled_seconds)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder.parent} ({error.strerror}): set data.cache_dir to a folder "
            "that can be written"
        ) from error
    try:
        if is_whole(folder):
            return False
        for leftover in (incomplete, folder):
            if leftover.exists():
                shutil.rmtree(leftover)
        remove_leftovers(folder.parent)
        incomplete.mkdir()
        build(incomplete)
        incomplete.rename(folder)
        return True
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise UserError(
            f"cannot write {incomplete} ({error.strerror}): free some space, or set data.cache_dir "
            "to another disk"
        ) from error
    finally:
        shutil.rmtree(incomplete, ignore_errors=True)
        lock.release()


def remove_leftovers(cache: Path) -> None:
    """Removes what killed processes left of any folder in the cache."""
    for leftover in cache.glob(f"{INCOMPLETE}*"):
        lock = FileLock(cache / f"{leftover.name.removeprefix(INCOMPLETE)}.lock")
        with contextlib.suppress(Timeout, OSError), lock.acquire(blocking=False):
            shutil.rmtree(leftover)


def wait_for(lock: FileLock, incomplete: Path, stalled_seconds: float) -> None:
    """Takes the lock.

    Gives up when its holder has written nothing into `incomplete` for `stalled_seconds`.
    """
    is_told = False
    last_state, last_change = None, time.monotonic()
    while True:
        try:
            lock.acquire(timeout=1.0 if is_told else 0.2)
            return
        except Timeout:
            pass
        if not is_told:
            print(f"another process prepares {lock.lock_file[:-5]}: waiting", file=sys.stderr)
            is_told = True
        state = newest_change(incomplete)
        if state != last_state:
            last_state, last_change = state, time.monotonic()
        elif time.monotonic() - last_change > stalled_seconds:
            raise UserError(
                f"waited {stalled_seconds:g} s for another process that holds {lock.lock_file} and "
                "writes nothing: end that process, or set data.cache_dir to another folder"
            )


def newest_change(folder: Path) -> float:
    """The latest time at which a file in the folder was written; 0 where there is none."""
    try:
        return max((entry.stat().st_mtime for entry in os.scandir(folder)), default=0.0)
    except OSError:
        return 0.0

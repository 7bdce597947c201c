"""Where workdirs are: a folder, or `gs://BUCKET/FOLDER` in an object store.

A folder stays a `pathlib.Path`: files appear under a temporary name and are renamed, rows are
appended and synced. In an object store nothing can be renamed, appended to or locked, but an object
is there whole or not at all: a file is written in one request, and one that grows is rewritten.
What other libraries read or write piece by piece is kept on this machine and sent from there.

No other file imports etils.epath.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import importlib.util
import io
import logging
import math
import os
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO, cast

import filelock

from vid3d.config import cache_folder
from vid3d.errors import UserError

if TYPE_CHECKING:
    from etils import epath

REMOTE = "gs://"
INCOMPLETE = ".incomplete"  # ends the name of a file that is being written
LOCK = ".lock"  # in a folder that one process writes in at a time
WAIT_SECONDS = 300.0
FEW_FILES = 64  # more than a checkpoint has
LATE_SECONDS = 10.0  # after which a bucket that does not answer is named

# Prediction starts without TensorFlow: etils.epath reads this once, when the first path is made.
os.environ.setdefault("EPATH_USE_TF", "0")


def as_path(address: str | PurePath) -> Path:
    """A folder or `gs://` address as a path; the latter is an `epath.Path` with the same methods.

    Raises:
        UserError: an address of another kind, a missing library, or a bucket that cannot be read.
    """
    text = os.fspath(address)
    if not text.startswith(REMOTE):
        if "://" in text:
            raise UserError(f"{text} is not a folder: give one, or {REMOTE}BUCKET/FOLDER")
        return Path(text)
    if not isinstance(address, str):
        return cast("Path", address)  # an epath.Path, which has the same methods
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{text} needs gcsfs: pip install 'vid3d[gcs]'")
    if not text.removeprefix(REMOTE).strip("/").partition("/")[2]:
        raise UserError(f"{text} is a whole bucket: give a folder in it, {text.rstrip('/')}/NAME")
    import fsspec
    from etils import epath

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # what it logs, it raises as well
    # Orbax and other processes write past gcsfs, which would never see it.
    fsspec.config.conf["gcs"] = {"use_listings_cache": False}
    found = epath.Path(text)
    late = threading.Timer(
        LATE_SECONDS, lambda: print(f"trying {text}", file=sys.stderr, flush=True)
    )
    late.daemon = True
    late.start()
    try:
        with remote_errors(found):
            found.exists()
    finally:
        late.cancel()
    return found


def require_local(address: str | PurePath, option: str) -> Path:
    """A path on this machine, for what is not a workdir.

    Raises:
        UserError: an address; it names the option.
    """
    if "://" in os.fspath(address):
        raise UserError(f"{option}={address} has to be on this machine, or on a disk mounted here")
    return Path(address)


def is_remote(path: PurePath) -> bool:
    """Whether a path lies in an object store."""
    return os.fspath(path).startswith(REMOTE)


@contextlib.contextmanager
def remote_errors(path: PurePath, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turns what gcsfs, aiohttp and Google's libraries raise about a remote path into one line.

    Raises:
        UserError: the path cannot be reached.
    """
    try:
        yield
    except Exception as error:
        if not is_remote(path) or isinstance(error, (UserError, *passing)):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        # gcsfs's frames and their error hold each other, and in them a view of the buffer for the
        # upload: collected as one cycle, the buffer is closed under its view, which Python 3.13
        # and newer report.
        traceback.clear_frames(error.__traceback__)
        raise UserError(
            f"{path} cannot be reached ({reason}): does the bucket exist, and does "
            "`gcloud auth application-default login` let you write in it?"
        ) from error


def absolute(path: Path) -> Path:
    """The path from the root."""
    return path if is_remote(path) else path.absolute()


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file so that it is there whole or not at all."""
    if isinstance(content, str):
        # A file name that is not valid text is written as the bytes that it was.
        content = content.encode(errors="surrogateescape")
    if is_remote(path):
        with remote_errors(path):
            path.write_bytes(content)
        return
    temporary = path.with_name(path.name + INCOMPLETE)
    with naming(path), locked_open(temporary) as file:
        try:
            file.truncate(0)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            temporary.unlink()
            raise
        temporary.replace(path)


@contextlib.contextmanager
def locked_open(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for appending that no other process has open here, if the disk knows locks."""
    while True:
        with path.open("ab") as file:
            with contextlib.suppress(OSError):  # some network disks know no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                is_same = path.stat().st_ino == os.fstat(file.fileno()).st_ino
            except FileNotFoundError:  # the process before has renamed it
                is_same = False
            if is_same:
                yield file
                return


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the file's name to an error of the disk; that of a write has none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Waits until no other process is in this block for the same folder.

    Raises:
        UserError: another process stays in it for `WAIT_SECONDS`.
    """
    if is_remote(folder):
        yield
        return
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=2)
    except filelock.Timeout:
        print(f"waiting for another process that writes in {folder}", file=sys.stderr)
        try:
            lock.acquire(timeout=WAIT_SECONDS)
        except filelock.Timeout:
            raise UserError(
                f"another process has held {folder / LOCK} for {WAIT_SECONDS:g} s: end it, and "
                "call again"
            ) from None
    try:
        yield
    finally:
        lock.release()


def append_line(path: Path, line: str) -> None:
    """Adds to the end of a file and waits until it is stored; an object is rewritten whole."""
    if is_remote(path):
        write_whole(path, (read_text(path) if path.exists() else "") + line)
        return
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_text(path: Path) -> str:
    """A whole file as text; bytes that are not text survive being written again."""
    with remote_errors(path, passing=(FileNotFoundError,)):
        return path.read_bytes().decode(errors="surrogateescape")


def read_csv(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict]:
    """These columns of a CSV file, a dictionary per row; optional ones are "" where it has none.

    Raises:
        UserError: one of the columns is missing, or a row ends before it.
    """
    try:
        header, *lines = filter(None, csv.reader(io.StringIO(read_text(path), newline="")))
        # Of two columns with one name the first counts: earlier versions named some after a class,
        # such as "true".
        places = {n: header.index(n) for n in (*columns, *(o for o in optional if o in header))}
        blank = dict.fromkeys(optional, "")
        found = [blank | {name: row[place] for name, place in places.items()} for row in lines]
    except csv.Error as error:
        raise UserError(f"{path} is damaged: {error}") from None
    except (ValueError, IndexError):
        raise UserError(
            f"{path} is damaged: it does not have {', '.join(columns)} in every row"
        ) from None
    return found


def files_below(folder: Path) -> dict[str, Path]:
    """Every file below a folder: its path from there -> its path."""
    if not is_remote(folder):
        return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    found: dict[str, Path] = {}
    for where, _, names in cast("epath.Path", folder).walk():
        # epath's walk leaves the gs:// out.
        inside = os.fspath(where).removeprefix(REMOTE).rstrip("/") + "/"
        inside = inside.removeprefix(os.fspath(folder).removeprefix(REMOTE).rstrip("/") + "/")
        found |= {inside + name: folder / (inside + name) for name in names if name}
    return found


def sha256(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_bytes(folder: Path) -> float:
    """Bytes that still fit on the disk of a folder; 0 where it takes no more files."""
    if is_remote(folder):
        return math.inf
    status = os.statvfs(folder)
    takes_files = not status.f_files or status.f_favail > FEW_FILES  # some disks do not count them
    return status.f_bavail * status.f_frsize if takes_files else 0


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it; an object store has none.

    Raises:
        UserError: it cannot be made.
    """
    if is_remote(folder):
        return
    refuse_file(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror}") from None


def check_folder(folder: Path) -> None:
    """Checks, before hours of work, that a folder can be written or made; leaves nothing behind.

    Raises:
        UserError: it cannot.
    """
    if is_remote(folder):
        return
    refuse_file(folder)
    whole = folder.absolute()
    there = next(path for path in (whole, *whole.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror}") from None


def refuse_file(folder: Path) -> None:
    """Raises a UserError where the folder, or one above it, is a file."""
    if is_remote(folder):
        return
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: give a folder")


def remove_folder(folder: Path) -> None:
    """Deletes a folder, if it exists, with all that is in it."""
    if is_remote(folder):
        cast("epath.Path", folder).rmtree(missing_ok=True)
    elif folder.exists():
        shutil.rmtree(folder)


def local_copy(path: Path) -> Path:
    """The file itself or, for one in an object store, its stand-in in the cache folder."""
    if not is_remote(path):
        return path
    digest = hashlib.sha256(os.fspath(path).encode()).hexdigest()
    return cache_folder() / "remote" / digest


class Staged:
    """A folder for a library that writes files piece by piece.

    It is the real one or, for an object store, one on this machine that is sent there.

    Attributes:
        local: the folder to write in.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.sent: dict[str, int] = {}
        self.local = Path(tempfile.mkdtemp(prefix="vid3d-")) if is_remote(folder) else folder

    def send(self) -> None:
        """Stores what was written since the last time; each file whole."""
        if not is_remote(self.folder):
            return
        for name, path in files_below(self.local).items():
            size = path.stat().st_size
            if self.sent.get(name) != size:
                write_whole(self.folder / name, path.read_bytes())
                self.sent[name] = size

    def close(self) -> None:
        """Sends the rest."""
        self.send()
        if is_remote(self.folder):
            shutil.rmtree(self.local, ignore_errors=True)

"""Rows of predictions, one a video, as they come: CSV or JSON lines, on a stream or in a file.

`RowFile` adds each row by one write. So a run that is killed leaves whole rows, but for the last
one where the disk was full or the machine went down, and the next run goes on after them.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from vid3d import process, storage
from vid3d.config import RESULT_FREE, flatten
from vid3d.errors import UserError
from vid3d.inference.classifier import Classifier
from vid3d.inference.prediction import Prediction, as_dict
from vid3d.inference.whole_rows import whole_rows
from vid3d.schema import BY_NAME
from vid3d.schema_text import write

SUFFIXES = (".csv", ".jsonl")
COLUMNS = (
    "path", "label", "probability", "num_frames", "seconds", "segments", "damage", "note", "error",
    "checkpoint",
)  # fmt: skip


class Row(NamedTuple):
    """What became of one video.

    Attributes:
        path: as it was given or found; also of a folder without videos.
        prediction: None where the video cannot be read.
        error: why it cannot be read, or has no annotated copy; otherwise "".
    """

    path: str
    prediction: Prediction | None
    error: str = ""


class Earlier(NamedTuple):
    """What a later run needs of a row to go on.

    Attributes:
        path: of the video.
        checkpoint: by what it was labelled.
        failed: whether it has an error.
        again: whether it can be tried again.
    """

    path: str
    checkpoint: str
    failed: bool
    again: bool


class Form(Protocol):
    """How rows are written and read again.

    Attributes:
        header: the first line, or "".
        checkpoint: see `fingerprint`.
    """

    header: str
    checkpoint: str

    def text(self, row: Row) -> str:
        """The lines of a row."""

    def read(self, text: str) -> Earlier:
        """The inverse of `text`; raises a ValueError, KeyError or csv.Error where it is no row."""


class CsvRows:
    """CSV: a header, and the timeline as text; see `Form`."""

    def __init__(self, classes: Sequence[str], checkpoint: str):
        """Takes the class names in the order of the labels, and the fingerprint."""
        self.checkpoint = checkpoint
        self.columns = (*COLUMNS, *(f"probability:{name}" for name in classes))
        self.header = csv_line(self.columns)

    def text(self, row: Row) -> str:
        values: dict[str, Any] = {"path": row.path, "error": row.error}
        values["checkpoint"] = self.checkpoint
        if answer := row.prediction:
            values |= {name: getattr(answer, name) for name in COLUMNS if hasattr(answer, name)}
            values["segments"] = "; ".join(
                f"{s.start:.2f}-{s.end:.2f} {s.label}" for s in answer.segments
            )
            values |= {f"probability:{name}": p for name, p in answer.probabilities.items()}
        return csv_line(values.get(column, "") for column in self.columns)

    def read(self, text: str) -> Earlier:
        csv.field_size_limit(2**31 - 1)  # a long timeline
        values = dict(zip(self.columns, next(csv.reader([text], strict=True)), strict=True))
        failed = bool(values["error"])
        return Earlier(values["path"], values["checkpoint"], failed, again=failed)


class JsonRows:
    """JSON lines: the fields of `--json`, the error and the checkpoint; see `Form`."""

    header = ""

    def __init__(self, checkpoint: str):
        """Takes the fingerprint."""
        self.checkpoint = checkpoint

    def text(self, row: Row) -> str:
        answer = as_dict(row.prediction) if row.prediction else {}
        rest = {"error": row.error, "checkpoint": self.checkpoint}
        return json.dumps({"path": row.path} | answer | rest) + "\n"

    def read(self, text: str) -> Earlier:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("not an object")
        failed = bool(values["error"])
        return Earlier(values["path"], values["checkpoint"], failed, again=failed)


def form_of(suffix: str, classifier: Classifier) -> Form:
    """The form of the rows of a classifier: ".csv" or ".jsonl"."""
    checkpoint = fingerprint(classifier)
    if suffix == ".csv":
        return CsvRows(classifier.classes, checkpoint)
    return JsonRows(checkpoint)


def csv_line(values: Iterable[object]) -> str:
    """A row of CSV that ends in a line feed; line breaks in values are quoted."""
    out = io.StringIO()
    # Only a character of the terminator is quoted by every version of Python.
    csv.writer(out, lineterminator="\r\n").writerow(values)
    return out.getvalue().removesuffix("\r\n") + "\n"


def fingerprint(classifier: Classifier, *, events: bool = False) -> str:
    """All that an answer depends on: the step, a hash of weights, classes and the config of the
    training, and each option that has not its default.

    Args:
        classifier: with its config.
        events: the options of events count, too.
    """
    config = flatten(classifier.config)
    chosen = {
        key: value
        for key, value in config.items()
        if key.startswith(("data.", "model.")) and key not in RESULT_FREE
    }
    options = [
        f" {key}={write(value)}"
        for key, value in config.items()
        if key.startswith(("eval.", "predict."))
        and (events or key.count(".") == 1)
        and value != BY_NAME[key].default
    ]
    seconds = (classifier.window_seconds, classifier.p95_seconds)
    digest = hashlib.sha256(json.dumps([classifier.classes, seconds, chosen]).encode())
    if classifier.network.engine != "jax":  # whose answers differ a little
        digest.update(f"{classifier.network.engine} {classifier.network.precision}".encode())
    with process.without_gc():
        from jax import tree
    for leaf in tree.leaves(classifier.weights):
        digest.update(np.asarray(leaf).tobytes())
    return f"{classifier.step}-{digest.hexdigest()[:12]}{''.join(options)}"


def differences(before: str, now: str) -> str:
    """The options that two fingerprints of one checkpoint do not share; "" of two checkpoints."""
    (checkpoint, *old), (same, *new) = before.split(), now.split()
    if checkpoint != same:
        return ""
    values = [dict(option.partition("=")[::2] for option in options) for options in (old, new)]
    return ", ".join(
        f"{key}={' and not '.join(found.get(key, write(BY_NAME[key].default)) for found in values)}"
        for key in BY_NAME
        if values[0].get(key) != values[1].get(key)
    )


def check_target(path: str, *, resume: bool) -> Path:
    """Checks, before anything is loaded, that a file of rows can be begun or gone on with.

    Raises:
        UserError: it has another ending, is there already without `resume`, is not a file, or has
            no folder.
    """
    target = storage.require_local(path, "--rows")
    if target.suffix.lower() not in SUFFIXES:
        raise UserError(f"--rows={path}: end the name in {' or '.join(SUFFIXES)}")
    if not target.parent.is_dir():
        raise UserError(f"cannot write --rows={path}: there is no folder {target.parent}")
    if target.exists():
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"--rows={path} is not a file: give one that ends in .csv or .jsonl")
        if status.st_size and not resume:
            raise UserError(
                f"--rows={path} has rows already: add --resume to go on, or give another file"
            )
    return target


class RowFile:
    """A file of rows that this process alone adds to; a context manager.

    Attributes:
        done: path -> whether the video failed, for each row that was there.
        torn_bytes: length of a torn last row that was removed.
        num_rows: that are there now.
        num_retried: rows of videos that failed, which were removed.
    """

    def __init__(self, path: Path, form: Form, *, retry: bool = False):
        """Opens or makes the file, and reads the rows that are there.

        Args:
            path: of the file.
            form: of the rows.
            retry: removes those of videos that failed, for another try.

        Raises:
            UserError: another process writes it, it has rows of another checkpoint, or a row is
                damaged.
        """
        self.path, self.form = path, form
        self.done: dict[str, bool] = {}
        self.torn_bytes = 0
        self._again: dict[int, str] = {}  # number of a row that may be tried again -> its path
        self._file = path.open("ab+", buffering=0)
        try:
            self._lock()
            self._read()
            self.num_retried = len(self._again) * retry
            if self.num_retried:
                self._forget()
        except BaseException:
            self._file.close()
            raise

    def add(self, row: Row) -> None:
        """Writes a row to the end of the file."""
        self._write(self.form.text(row))
        self.num_rows += 1

    @property
    def held(self) -> str:
        """All that is in it now, in words."""
        return f"{self.num_rows} rows"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.path}: another process is adding rows to it") from None
        except OSError:  # some network disks know no locks
            pass

    def _read(self) -> None:
        end, header = 0, self.form.header
        with self.path.open("rb") as file:
            rows = whole_rows(file, self.path, quoted=bool(header))
            for number, text in enumerate(rows, 1):
                end += len(text.encode(errors="surrogateescape"))
                if header and number == 1:
                    self._check_header(text)
                else:
                    row = self._earlier(number, text)
                    self.done[row.path] = row.failed
                    if row.again:
                        self._again[number] = row.path
        self.num_rows = len(self.done)
        self.torn_bytes = os.fstat(self._file.fileno()).st_size - end
        self._file.truncate(end)
        if not end:
            self._write(header)

    def _forget(self) -> None:
        """Removes the rows that may be tried again: at once, by a file that takes its place."""
        target = self.path.resolve()
        kept = target.with_name(target.name + storage.INCOMPLETE)
        with storage.naming(self.path), kept.open("wb") as new, self.path.open("rb") as old:
            rows = whole_rows(old, self.path, quoted=bool(self.form.header))
            for number, text in enumerate(rows, 1):
                if number not in self._again:
                    new.write(text.encode(errors="surrogateescape"))
        shutil.copymode(target, kept)
        kept.replace(target)
        self._file.close()
        self._file = self.path.open("ab+", buffering=0)
        self._lock()
        for path in self._again.values():
            if self.done.get(path):  # no later row says that it could be read
                del self.done[path]
        self.num_rows = len(self.done)

    def _check_header(self, text: str) -> None:
        if text.rstrip("\r\n") != self.form.header.rstrip("\n"):
            raise UserError(
                f"{self.path} has the columns of other classes or of another version: give "
                "another file"
            )

    def _earlier(self, number: int, text: str) -> Earlier:
        try:
            row = self.form.read(text)
        except (ValueError, KeyError, csv.Error):
            raise UserError(
                f"{self.path} is damaged: row {number} is not one; remove it, or give another file"
            ) from None
        if row.checkpoint != self.form.checkpoint:
            others = differences(row.checkpoint, self.form.checkpoint)
            what = (
                f"with other options ({others})"
                if others
                else (f"of another checkpoint ({row.checkpoint}; this is {self.form.checkpoint})")
            )
            raise UserError(f"{self.path} has answers {what}: give the same, or another file")
        return row

    def _write(self, text: str) -> None:
        left = text.encode(errors="surrogateescape")
        with storage.naming(self.path):
            while left:
                left = left[self._file.write(left) :]

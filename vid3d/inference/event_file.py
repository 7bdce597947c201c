"""Files of events that `vid3d predict --events` writes, recording by recording.

Beside the events stands a list of all recordings, also of those without an event and of those that
failed: `FILE.videos.csv`, or `videos.csv` in a folder. A recording is in it once its events are
written; so a run that is killed can go on, and what it left of a recording is made again.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from vid3d import storage
from vid3d.errors import UserError
from vid3d.inference.event_formats import Format, Labelled
from vid3d.inference.rows import Earlier, Row, RowFile, csv_line

COLUMNS = (
    "path", "events", "seconds", "file", "damage", "note", "error", "checkpoint", "bytes", "hash",
)  # fmt: skip


class VideoRows:
    """The list of recordings as CSV; see `rows.Form`.

    Attributes:
        files: of the recordings so far, in a folder.
        bytes: of the events of the recordings so far, in one file.
        hash: of these bytes.
        num_events: of the recordings that were there.
    """

    header = csv_line(COLUMNS)

    def __init__(self, checkpoint: str):
        """Takes the fingerprint."""
        self.checkpoint = checkpoint
        self.files: list[str] = []
        self.bytes, self.hash = 0, ""
        self.num_events = 0

    def text(self, row: Row) -> str:
        values: dict[str, Any] = {"path": row.path, "error": row.error, "bytes": self.bytes}
        values |= {"checkpoint": self.checkpoint, "hash": self.hash}
        if answer := row.prediction:
            values |= {"events": len(answer.events), "seconds": answer.seconds}
            values |= {"damage": answer.damage, "note": answer.note}
            values["file"] = self.files[-1] if self.files else ""
        return csv_line(values.get(column, "") for column in COLUMNS)

    def read(self, text: str) -> Earlier:
        values = dict(zip(COLUMNS, next(csv.reader([text], strict=True)), strict=True))
        self.bytes, self.hash = int(values["bytes"]), values["hash"]
        if values["file"]:
            self.files.append(values["file"])
        self.num_events += int(values["events"] or 0)
        failed, has_events = bool(values["error"]), bool(values["events"])
        return Earlier(
            values["path"], values["checkpoint"], failed, again=failed and not has_events
        )


class EventFile:
    """A file, or a folder of files, that events are added to; a context manager.

    Attributes:
        path: of the file or folder.
        done: path -> whether the recording failed, for each that was there.
        num_events: added so far.
        torn_bytes: length of a torn last row of the list, which was removed.
        num_retried: recordings that failed before, and are tried again.
    """

    def __init__(
        self,
        target: Path,
        form: Format,
        *,
        classes: Sequence[str],
        checkpoint: str,
        retry: bool = False,
    ):
        """Opens or makes the file; `check_target` comes first. For `retry` see `RowFile`.

        Raises:
            UserError: another process writes it, its events are of another checkpoint or have been
                changed since, or the list of recordings is damaged or missing.
        """
        self.path, self.form = target, form
        self.num_events = 0
        self._has_text, self._hash = False, hashlib.sha256()
        if form.per_recording:
            target.mkdir(exist_ok=True)
        listed = list_of(target, form)
        if not listed.exists() and has_events(target, form):
            raise UserError(
                f"--events={target}: {listed.name}, the list of its videos, is gone: give another "
                "file"
            )
        self._rows = VideoRows(checkpoint)
        self._list = RowFile(listed, self._rows, retry=retry)
        self.done, self.torn_bytes = self._list.done, self._list.torn_bytes
        self.num_retried = self._list.num_retried
        try:
            self._open(form.header(classes))
        except BaseException:
            self._list.__exit__()
            raise

    def add(self, row: Row) -> None:
        """Writes the events of a recording, then its row in the list."""
        if answer := row.prediction:
            self.num_events += len(answer.events)
            fps = answer.num_frames / answer.seconds if answer.seconds else 0.0
            text = self.form.text(Labelled(row.path, answer.events, answer.seconds, fps))
            if self.form.per_recording:
                self._rows.files.append(self._new_name(row.path))
                storage.write_whole(self.path / self._rows.files[-1], text)
            elif text:
                self._append((self.form.between if self._has_text else "") + text)
                self._has_text = True
        self._list.add(row)

    @property
    def held(self) -> str:
        """All that is in it now, in words."""
        total = self._rows.num_events + self.num_events
        return f"{total} events of {self._list.num_rows} videos"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._list.__exit__()

    def _open(self, header: str) -> None:
        """Checks what is there, drops what a torn recording left, and begins an empty file."""
        if self.form.per_recording:
            return
        kept = b""
        if self.done and self._rows.bytes:
            kept = self.path.read_bytes()[: self._rows.bytes] if self.path.exists() else b""
            if hashlib.sha256(kept).hexdigest()[:12] != self._rows.hash:
                raise UserError(f"--events={self.path} is not as it was written: give another file")
            self._has_text = len(kept) > len(header.encode(errors="surrogateescape"))
        with storage.naming(self.path), self.path.open("ab") as file:
            os.truncate(file.fileno(), len(kept))
        self._rows.bytes = 0
        self._append(kept.decode(errors="surrogateescape") or header)

    def _append(self, text: str) -> None:
        """Writes text behind what is there, and the footer behind it."""
        content = text.encode(errors="surrogateescape")
        footer = self.form.footer.encode()
        with storage.naming(self.path), self.path.open("r+b") as file:
            file.seek(self._rows.bytes)
            file.write(content + footer)
        self._hash.update(content)
        self._rows.bytes += len(content)
        self._rows.hash = self._hash.hexdigest()[:12]

    def _new_name(self, path: str) -> str:
        """A file name that no other recording has: its own, numbered where names coincide."""
        stem, number = Path(path).stem, 1
        name = stem + self.form.suffix
        while name in self._rows.files:
            number += 1
            name = f"{stem}-{number}{self.form.suffix}"
        return name


def check_target(path: str, form: Format, *, resume: bool) -> Path:
    """Checks, before anything is loaded, that a file of events can be begun or gone on with.

    Raises:
        UserError: it is there already without `resume`, is a file instead of a folder or the other
            way round, or has no folder.
    """
    target = storage.require_local(path, "--events")
    if not target.parent.is_dir():
        raise UserError(f"cannot write --events={path}: there is no folder {target.parent}")
    if target.exists() and target.is_dir() != form.per_recording:
        kind = "a folder, with a file per video" if form.per_recording else "a file"
        raise UserError(f"--events={path}: this format needs {kind}")
    if not resume and has_events(target, form):
        raise UserError(
            f"--events={path} was begun before: add --resume to go on, or give another name"
        )
    return target


def has_events(target: Path, form: Format) -> bool:
    """Whether anything has been written."""
    if list_of(target, form).exists():
        return True
    if form.per_recording:
        return target.is_dir() and any(target.iterdir())
    return target.exists() and bool(target.stat().st_size)


def list_of(target: Path, form: Format) -> Path:
    """The list of the recordings of a file or folder of events."""
    if form.per_recording:
        return target / "videos.csv"
    return target.with_name(f"{target.name}.videos.csv")

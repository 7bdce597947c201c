"""The rows of a file that a killed run may have left, without a torn last one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vid3d.errors import UserError


def whole_rows(file: BinaryIO, path: Path, *, quoted: bool) -> Iterator[str]:
    """The rows of a file, with the line feeds at their ends; not a torn last one.

    Args:
        file: from its start.
        path: for messages.
        quoted: a line feed inside of quotation marks does not end a row.

    Raises:
        UserError: a quotation mark is not closed.
    """
    lines: list[bytes] = []
    is_open = False
    for line in file:
        lines.append(line)
        is_open ^= quoted and line.count(b'"') % 2 == 1
        if line.endswith(b"\n") and not is_open:
            yield b"".join(lines).decode(errors="surrogateescape")
            lines = []
    if lines and lines[-1].endswith(b"\n"):
        raise UserError(
            f"{path} is damaged: a quotation mark of its last {len(lines)} lines is not closed; "
            "mend it, or give another file"
        )

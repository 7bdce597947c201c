"""Reads, appends and cuts the rows of JSON lines, such as metrics.jsonl."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vid3d import storage
from vid3d.errors import UserError


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file, parsed; none where it is missing. A torn last line is left out.

    Raises:
        UserError: a line is not JSON.
    """
    try:
        lines = storage.read_text(path).splitlines(keepends=True)
    except FileNotFoundError:
        return []
    try:
        return [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError as error:
        raise UserError(f"{path} is damaged: one of its lines is not JSON ({error})") from None


def better(metrics: Mapping[str, float], prefix: str = "") -> tuple[float, float]:
    """The order of evaluations: higher validation accuracy, then lower validation loss."""
    return metrics[f"{prefix}accuracy"], -metrics[f"{prefix}loss"]


def chosen_row(rows: Sequence[dict[str, Any]], choose: str) -> dict[str, Any] | None:
    """The row of the evaluation that `checkpoint.choose` takes; None without validation."""
    evaluated = [row for row in rows if "val/accuracy" in row]
    if choose == "last" or not evaluated:
        return evaluated[-1] if evaluated else None
    return max(evaluated, key=lambda row: better(row, "val/"))


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Appends one row and waits until it is stored."""
    storage.append_line(path, json.dumps(row) + "\n")


def cut_rows(path: Path, *, last: int) -> None:
    """Removes the rows whose step is beyond `last`, and a torn last line.

    Raises:
        UserError: a line before them is not a row.
    """
    if not path.exists():
        return
    kept = []
    for number, line in enumerate(storage.read_text(path).splitlines(keepends=True), start=1):
        try:
            if not line.endswith("\n") or json.loads(line)["step"] > last:
                break
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{path} is damaged: line {number} is not a row; restore the file, or delete "
                "that line"
            ) from None
        kept.append(line)
    storage.write_whole(path, "".join(kept))

"""Mistakes in the lines of a manifest, told together."""

from __future__ import annotations

from pathlib import Path

from vid3d.errors import UserError
from vid3d.text import shorten

MOST_TOLD = 8
LONGEST_OF_MANY = 200  # characters of one of several mistakes


class Problems:
    """The mistakes of a manifest, each with its line."""

    def __init__(self, path: Path):
        """Knows of none yet.

        Args:
            path: of the manifest.
        """
        self.path = path
        self.found: list[tuple[int, str]] = []

    def add(self, line: int, text: str) -> None:
        """One more."""
        self.found.append((line, text))

    def check(self) -> None:
        """Goes on where there are none.

        Raises:
            UserError: one line with all of them, or the first `MOST_TOLD` and their number.
        """
        if len(self.found) == 1:
            ((line, text),) = self.found
            raise UserError(f"{self.path} line {line}: {text}")
        if self.found:
            told = sorted(self.found)[:MOST_TOLD]
            listed = "; ".join(f"line {n}: {shorten(text, LONGEST_OF_MANY)}" for n, text in told)
            left = len(self.found) - len(told)
            more = f"; and {left} more" if left else ""
            raise UserError(f"{self.path} has {len(self.found)} mistakes: {listed}{more}")

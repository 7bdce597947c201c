"""Tables on standard output: as wide as the terminal; in a file or a pipe no line is folded or cut."""

from __future__ import annotations

import sys

from rich.console import Console


def console() -> Console:
    """A console for tables."""
    return Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)

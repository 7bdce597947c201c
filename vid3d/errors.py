"""The error for what a user can put right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from vid3d.text import LONGEST, bounded


class UserError(Exception):
    """Something the user can put right: one line that says what, where and what to do.

    Whatever it quotes, it is `longest` characters at most.
    """

    longest = LONGEST

    def __str__(self) -> str:
        return bounded(super().__str__(), self.longest)


class LimitError(UserError):
    """A video beyond a limit on what one may ask for.

    Attributes:
        limit: "size", of the video, or "time", which it has taken.
    """

    def __init__(self, message: str, limit: str):
        super().__init__(message)
        self.limit = limit


def suggest(name: str, options: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of the options, or an empty string."""
    near = difflib.get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""

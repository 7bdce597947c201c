"""Shortens what messages quote: a path, a list of classes or a cell of a CSV may be very long."""

from __future__ import annotations

from collections.abc import Iterable

QUOTED = 100  # characters of a quoted text
NAMED = 10  # names in one message
LONGEST = 2000  # characters of a whole message: room for two paths of any length in use


def shorten(text: object, most: int = QUOTED) -> str:
    """A text as it stands, its end replaced by `...` where it has more than `most` characters."""
    text = str(text)
    return text if len(text) <= most else text[: most - 3] + "..."


def quote(text: str) -> str:
    """A text in quotation marks, on one line and short."""
    return repr(shorten(text))


def first_few(names: Iterable[object], most: int = NAMED) -> str:
    """`a, b, c`, or the first of them `and 391 more`."""
    names = list(names)
    left = len(names) - most
    named = ", ".join(shorten(name) for name in names[:most])
    return f"{named} and {left} more" if left > 0 else named


def counted(count: int, noun: str) -> str:
    """ "1 video", "2 videos"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def bounded(message: str, most: int = LONGEST) -> str:
    """A message without its middle where it is too long.

    The beginning says where, the end what to do.
    """
    half = (most - 5) // 2
    return message if len(message) <= most else f"{message[:half]} ... {message[-half:]}"

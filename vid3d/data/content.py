"""What a video shows, whatever its name: the sha256 of its file and, for a stretch, its times.

Stretches of one file show the same where they overlap, and a file shows what its stretches do.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vid3d.datasets.videos import ListedVideo

MARK = "#"  # between the sha256 and the times of the first and the last frame


def content_of(sha256: str, first: float, last: float) -> str:
    """The content of a stretch, from the times of its first and last frame in the file."""
    return f"{sha256}{MARK}{first:.6f}-{last:.6f}"


def parse(content: str) -> tuple[str, float, float]:
    """The sha256 of the file, and the times of the first and the last frame."""
    sha256, mark, times = content.partition(MARK)
    if not mark:
        return sha256, -math.inf, math.inf
    first, _, last = times.partition("-")
    return sha256, float(first), float(last)


def showing_the_same(shown: Mapping[ListedVideo, str]) -> list[list[ListedVideo]]:
    """The videos in groups, of which each shows frames of another one in its group.

    Args:
        shown: video -> content.
    """
    groups: list[list[ListedVideo]] = []
    of_file, reached = "", -math.inf
    parsed = sorted((*parse(content), place) for place, content in enumerate(shown.values()))
    videos = list(shown)
    for sha256, first, last, place in parsed:
        if sha256 != of_file or first > reached:
            groups.append([])
            of_file, reached = sha256, -math.inf
        groups[-1].append(videos[place])
        reached = max(reached, last)
    return groups


class Seen:
    """Contents to look others up in."""

    def __init__(self, contents: Iterable[str]):
        """Takes the contents, such as those of all training videos."""
        self._times_of: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for content in contents:
            sha256, first, last = parse(content)
            self._times_of[sha256].append((first, last))

    def __contains__(self, content: str) -> bool:
        """Whether any of them shares a frame with a content."""
        sha256, first, last = parse(content)
        return any(
            max(first, seen_first) <= min(last, seen_last)
            for seen_first, seen_last in self._times_of.get(sha256, ())
        )

"""The source groups of videos: named by the source, or captured by `data.group_pattern`."""

from __future__ import annotations

import re
from dataclasses import replace

from vid3d.datasets.videos import ListedVideo, Listing
from vid3d.errors import UserError
from vid3d.text import quote


def compile_group_pattern(pattern: str) -> re.Pattern[str] | None:
    """Compiles `data.group_pattern`; None where it is empty.

    Raises:
        UserError: it is not a regular expression.
    """
    try:
        return re.compile(pattern) if pattern else None
    except re.error as error:
        raise UserError(
            f"data.group_pattern={pattern!r} is not a regular expression: {error}"
        ) from None


def group_of(path: str, pattern: re.Pattern[str] | None) -> str:
    """What the pattern captures in the path (without captures, what it matches), or ""."""
    match = pattern.search(path) if pattern else None
    if not match:
        return ""
    return "/".join(part or "" for part in match.groups()) or match.group()


def by_pattern(listing: Listing, pattern: str) -> Listing:
    """The listing with groups by `data.group_pattern` where the source names none.

    A note says where the pattern is of no use. An empty pattern changes nothing.

    Raises:
        UserError: the pattern is not a regular expression.
    """
    compiled = compile_group_pattern(pattern)
    if not compiled:
        return listing
    unnamed = [video for video in listing.videos if not video.group]
    unmatched = [video for video in unnamed if not group_of(video.path, compiled)]
    notes = []
    if not unnamed:
        notes = ["data.group_pattern is not used: the source of every video is named already"]
    elif unmatched:
        notes = [
            f"data.group_pattern={pattern!r} does not match {len(unmatched)} of {len(unnamed)} "
            f"videos, such as {quote(unmatched[0].path)}"
        ]
    videos = tuple(
        video if video.group else replace(video, group=group_of(video.path, compiled))
        for video in listing.videos
    )
    return replace(listing, videos=videos, notes=(*listing.notes, *notes))


def by_file(listing: Listing) -> Listing:
    """The listing with the file as the group of every stretch that has none."""
    return replace(listing, videos=tuple(map(with_file, listing.videos)))


def with_file(video: ListedVideo) -> ListedVideo:
    """The video, with its file as the group where it is a stretch without one."""
    return replace(video, group=video.path) if video.span and not video.group else video


def check_pattern(listing: Listing, pattern: str) -> None:
    """Raises a UserError where `data.group_pattern` matches no path at all."""
    compiled = compile_group_pattern(pattern)
    if compiled and not any(group_of(video.path, compiled) for video in listing.videos):
        raise UserError(
            f"data.group_pattern={pattern!r} matches no video, such as {listing.videos[0].path!r}"
        )

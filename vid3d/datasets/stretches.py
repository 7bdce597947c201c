"""Labelled stretches of files: the cells that name them, what they must not do, and what is left.

`background` turns unlabelled time into stretches of a class of its own.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ml_collections import ConfigDict

from vid3d.datasets.problems import MOST_TOLD
from vid3d.datasets.videos import COLUMNS, ListedVideo
from vid3d.errors import UserError
from vid3d.text import first_few, quote, shorten
from vid3d.video import decoder_pool
from vid3d.video.kept_decoders import KEPT
from vid3d.video.picture import decode_options
from vid3d.video.records import Settings
from vid3d.video.resize import stored_size
from vid3d.video.spans import SLACK, Span, plain

END_DOUBT = 0.5  # seconds before the end that a header states, which may be that of the sound


class Length(NamedTuple):
    """How long a file is, by its header; 0 where that says nothing."""

    frames: int
    fps: float
    stated: float = 0.0  # seconds; where the rate varies, frames / fps is another number

    @property
    def seconds(self) -> float:
        return self.stated or self.frames / self.fps

    def surely(self, unit: str) -> float:
        """What the file has at least, in seconds or in frames."""
        if unit == "frames":
            return self.frames - END_DOUBT * self.fps
        return self.seconds - END_DOUBT


def read_span(cells: Mapping[str, str]) -> Span | None:
    """The stretch that a line names; None where its cells are empty or there are no such columns.

    Raises:
        UserError: a cell is no number, or is empty while the other is not; the stretch ends before
            it begins.
    """
    for unit, names in COLUMNS.items():
        texts = [cells.get(name, "") for name in names]
        if not any(texts):
            continue
        start, end = (
            read_number(text, name, unit) for text, name in zip(texts, names, strict=True)
        )
        if end <= start:
            raise UserError(
                f"the stretch ends ({texts[1]}) "
                f"{'where' if end == start else 'before'} it begins ({texts[0]})"
            )
        return Span(start, end, unit)
    return None


def read_number(text: str, name: str, unit: str) -> float:
    """A cell as seconds, to the microsecond, or as the number of a frame."""
    try:
        number = float(text)
        right = math.isfinite(number) and number >= 0 and (unit == "s" or number.is_integer())
    except ValueError:
        right = False
    if not right:
        what = "a number of seconds, such as 12.5" if unit == "s" else "the number of a frame"
        raise UserError(f"the {name} {quote(text)} is not {what}")
    return round(number, 6)


def conflicts(videos: Iterable[ListedVideo]) -> Iterator[tuple[int, str]]:
    """Where lines about a file contradict each other: the line of one, and what is wrong.

    A file stands for itself in one line and has stretches in others, or stretches with different
    labels overlap.

    Args:
        videos: with the numbers of their lines.
    """
    for name, found in by_file(videos).items():
        whole = [video for video in found if not video.span]
        if whole and len(found) > len(whole):
            other = next(video for video in found if video.span)
            first, second = sorted((whole[0].line, other.line))
            yield (
                second,
                f"{shorten(name)} is named with times and, in line {first}, without: a file is one "
                "video, or has labelled stretches",
            )
        longest: dict[str, ListedVideo] = {}  # by label, of those so far the one that ends last
        for video in found if not whole else ():
            for label, before in longest.items():
                if label != video.label and span_of(before).end > span_of(video).start:
                    yield (
                        video.line,
                        f"{shorten(video.name)} ({quote(video.label)}) overlaps {before.span} in "
                        f"line {before.line} ({quote(label)}): stretches with different labels "
                        "must not overlap",
                    )
                    break
            last = longest.setdefault(video.label, video)
            if span_of(last).end < span_of(video).end:
                longest[video.label] = video


def span_of(video: ListedVideo) -> Span:
    """The stretch of a video that is one."""
    assert video.span is not None
    return video.span


def by_file(videos: Iterable[ListedVideo]) -> dict[str, list[ListedVideo]]:
    """Path -> the videos of that file, by time."""
    found: dict[str, list[ListedVideo]] = defaultdict(list)
    for video in sorted(videos, key=lambda video: video.order):
        found[video.path].append(video)
    return found


def background(
    videos: Sequence[ListedVideo], data: ConfigDict, lengths: Mapping[str, Length]
) -> tuple[list[ListedVideo], str]:
    """Stretches of unlabelled time, with the label `data.background`, and a note that counts them.

    Each gap between the labelled stretches of a file, before the first and after the last, is cut
    into pieces as long as the median labelled stretch, away from the labels by a margin; the rest
    of a gap is a shorter piece if it is long enough. Of these, evenly spaced ones are taken.

    Args:
        videos: all of the manifest; files without stretches have no background.
        data: `config.data`; the keys background* are read.
        lengths: of every file with stretches.
    """
    usual = median(span_of(v).end - span_of(v).start for v in videos if v.span)
    found: list[ListedVideo] = []
    for path, labelled in by_file(v for v in videos if v.span).items():
        unit = span_of(labelled[0]).unit
        scale = lengths[path].fps if unit == "frames" else 1.0
        shortest = max(data.background_seconds * scale, 1.0 if unit == "frames" else 0.04)
        length = max(usual, shortest)
        pieces = [
            (before, piece)
            for before, start, end in gaps(labelled, lengths[path].surely(unit))
            for piece in cut(
                start + data.background_margin * scale * (start > 0),
                end - data.background_margin * scale,
                length,
                shortest,
                unit,
            )
        ]
        count = min(data.background_per_video or len(labelled), len(pieces))
        chosen = [pieces[int((k + 0.5) * len(pieces) / count)] for k in range(count)]
        found += [replace(v, label=data.background, span=span, line=0) for v, span in chosen]
    note = f"{len(found)} stretches of unlabelled time are the class {data.background!r}"
    return found, note


def read_lengths(root: Path, paths: Sequence[str], data: ConfigDict) -> dict[str, Length]:
    """Path -> the length of each file, from its header.

    Args:
        root: that the paths are relative to.
        paths: of files.
        data: `config.data`.
    """
    settings = Settings(
        stored_size(data), data.resize, data.color, 0, data.store, decode_options(data)
    )
    looks = decoder_pool.decode(
        [os.path.join(root, path) for path in paths],
        settings,
        workers=min(decoder_pool.num_workers(data), 2),
        timeout=data.decode_timeout,
        look=True,
        decoders=KEPT,
    )
    lengths = dict.fromkeys(paths, Length(0, 1.0))
    for event in looks:
        if isinstance(event, decoder_pool.Done):
            lengths[paths[event.job]] = Length(event.claimed, event.fps, event.seconds)
    return lengths


def beyond_the_end(videos: Iterable[ListedVideo], lengths: Mapping[str, Length]) -> list[str]:
    """A sentence on the stretches that end after their file does by its header, if any.

    Decoding may take long and has the last word: a header may be wrong.

    Args:
        videos: whole files and stretches.
        lengths: of files, by their headers; those of others are not known.
    """
    late = []
    for video in videos:
        if not video.span or video.path not in lengths:
            continue
        length = lengths[video.path]
        is_counted = span_of(video).unit == "frames"
        end, slack = (length.frames, 0.0) if is_counted else (length.seconds, SLACK)
        if end and span_of(video).end > end + slack:
            line = f"line {video.line}: " if video.line else ""
            late.append(f"{line}{video.name} of {plain(round(end, 2))} {span_of(video).unit}")
    if not late:
        return []
    what = "1 stretch ends" if len(late) == 1 else f"{len(late)} stretches end"
    return [
        f"{what} after the end of the file, by its header: {first_few(late, MOST_TOLD)}; decoding "
        "will tell for certain"
    ]


def gaps(
    labelled: Sequence[ListedVideo], length: float
) -> Iterable[tuple[ListedVideo, float, float]]:
    """Unlabelled time of a file: the labelled stretch beside it, where it begins and ends."""
    reached, beside = 0.0, labelled[0]
    for video in labelled:
        if span_of(video).start > reached:
            yield beside, reached, span_of(video).start
        if span_of(video).end >= reached:
            reached, beside = span_of(video).end, video
    if length > reached:
        yield beside, reached, length


def cut(start: float, end: float, length: float, shortest: float, unit: str) -> Iterable[Span]:
    """Pieces of a length from start on, and the rest where that is long enough."""
    if unit == "frames":
        start, end, length = math.ceil(start), math.floor(end), round(length)
    while end - start >= shortest:
        stop = min(start + length, end)
        yield Span(round(start, 6), round(stop, 6), unit)
        start = stop

"""Videos as a source lists them, and the index of those that a training run uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vid3d.video.spans import Span, plain

COLUMNS = {"s": ("start", "end"), "frames": ("start_frame", "end_frame")}  # of a table, by unit
ALL_COLUMNS = tuple(name for pair in COLUMNS.values() for name in pair)


@dataclass(frozen=True)
class ListedVideo:
    """One video as it was listed: a file, or a labelled stretch of one.

    Attributes:
        path: relative to the root, with "/"; a manifest may hold absolute ones;
            "builder/split/000123" for tfds.
        label: name of the class.
        group: names the recording that the video was cut from; "" where that is unknown.
        split: "train", "val", "test", or "" where it is still to be assigned.
        fold: as the manifest has it, or "".
        span: the stretch of the file; None is all of it.
        line: of the manifest, for messages; 0 where there is none.
    """

    path: str
    label: str
    group: str = ""
    split: str = ""
    fold: str = ""
    span: Span | None = None
    line: int = field(default=0, compare=False)

    @property
    def name(self) -> str:
        """What tells it from all other videos: the path, and the stretch where it is one."""
        return f"{self.path} {self.span}" if self.span else self.path

    @property
    def order(self) -> tuple[str, Span]:
        """By path, and within a file by time."""
        return self.path, self.span or Span(0, 0)


@dataclass(frozen=True)
class Listing:
    """What a source lists, before splits are assigned.

    Attributes:
        root: absolute folder of the paths.
        videos: in any order; their splits are those that the source names.
        kind: what the splits of the source are called in the protocol, such as "manifest".
        notes: for the report.
    """

    root: str
    videos: tuple[ListedVideo, ...]
    kind: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Index:
    """The videos to train and to test on.

    Attributes:
        root: absolute folder that the paths are relative to.
        videos: sorted by path and time, each with its split.
        classes: in the order of the labels.
        protocol: as it is printed beside every number, such as "grouped" or "random (leaky)".
        notes: for the report.
        validate_on_test: the test videos serve for validation, too.
    """

    root: str
    videos: tuple[ListedVideo, ...]
    classes: tuple[str, ...]
    protocol: str
    notes: tuple[str, ...] = ()
    validate_on_test: bool = False

    def split(self, name: str) -> tuple[ListedVideo, ...]:
        """The videos of "train", "val" or "test", sorted by path and time."""
        if name == "val" and self.validate_on_test:
            name = "test"
        return tuple(video for video in self.videos if video.split == name)


def span_columns(videos: Iterable[ListedVideo]) -> tuple[str, ...]:
    """The columns that tell the stretches of a table of videos; none where all are whole files."""
    units = {video.span.unit for video in videos if video.span}
    return tuple(name for unit in sorted(units, reverse=True) for name in COLUMNS[unit])


def span_cells(video: ListedVideo, columns: Iterable[str]) -> list[str]:
    """What stands in these columns for a video."""
    span = video.span
    cells = dict(zip(COLUMNS[span.unit], map(plain, span[:2]), strict=True)) if span else {}
    return [cells.get(name, "") for name in columns]


def row_name(row: Mapping[str, str]) -> str:
    """The name of a video from a row with its path and, where it is a stretch, what tells it."""
    for unit, names in COLUMNS.items():
        if row.get(names[0]):
            span = Span(float(row[names[0]]), float(row[names[1]]), unit)
            return ListedVideo(row["path"], "", span=span).name
    return row["path"]

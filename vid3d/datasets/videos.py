"""Videos as a source lists them, and the index of those that a training run uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ListedVideo:
    """One video as it was listed.

    Attributes:
        path: relative to the root, with "/"; a manifest may hold absolute ones;
            "builder/split/000123" for tfds.
        label: name of the class.
        group: names the recording that the video was cut from; "" where that is unknown.
        split: "train", "val", "test", or "" where it is still to be assigned.
        fold: as the manifest has it, or "".
    """

    path: str
    label: str
    group: str = ""
    split: str = ""
    fold: str = ""


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
        videos: sorted by path, each with its split.
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
        """The videos of "train", "val" or "test", sorted by path."""
        if name == "val" and self.validate_on_test:
            name = "test"
        return tuple(video for video in self.videos if video.split == name)

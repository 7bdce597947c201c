"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vid3d.convert import (
    activitynet,
    audacity,
    boris,
    deepethogram,
    diving48,
    elan,
    hmdb51,
    huggingface,
    jester,
    kinetics,
    label_studio,
    lists,
    simba,
    something,
    ucf101,
    via,
)
from vid3d.convert.entries import Found, Options


class Format(NamedTuple):
    """A format.

    Attributes:
        read: reads one file, or a folder.
        suffixes: of its files, where a folder stands for all of them.
        takes_folder: whether `read` takes a folder.
        is_per_video: whether each file is about one video, whose name it has.
    """

    read: Callable[[Path, Options], Found]
    suffixes: tuple[str, ...] = (".csv",)
    takes_folder: bool = False
    is_per_video: bool = False


FORMATS = {
    "boris": Format(boris.read, (".csv", ".tsv")),
    "elan": Format(elan.read, (".txt", ".tsv"), is_per_video=True),
    "audacity": Format(audacity.read, (".txt",), is_per_video=True),
    "via": Format(via.read),
    "label-studio": Format(label_studio.read, (".json",)),
    "activitynet": Format(activitynet.read, (".json",)),
    "deepethogram": Format(deepethogram.read, is_per_video=True),
    "simba": Format(simba.read, is_per_video=True),
    "kinetics": Format(kinetics.read),
    "hmdb51": Format(hmdb51.read, takes_folder=True),
    "something": Format(something.read, (".json", ".csv")),
    "jester": Format(jester.read),
    "diving48": Format(diving48.read, (".json",)),
    "ucf101": Format(ucf101.read, takes_folder=True),
    "pyslowfast": Format(lists.read, (".csv", ".txt")),
    "pytorchvideo": Format(lists.read, (".csv", ".txt")),
    "mmaction2": Format(lists.read, (".txt",)),
    "huggingface": Format(huggingface.read, takes_folder=True),
}

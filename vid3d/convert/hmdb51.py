"""HMDB-51: a list per class and split, in which 1 is for training, 2 for testing and 0 unused."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import Found, Options, Wrong, not_this, numbered_lines, whole

WHAT = "a folder of the lists of HMDB-51"
SPLITS = {"1": "train", "2": "test"}


def read(file: Path, options: Options) -> Found:
    """The videos of the lists `CLASS_test_splitN.txt` in a folder, but for the unused ones."""
    ending = f"_test_split{options.fold}.txt"
    lists = sorted(file.glob(f"*{ending}")) if file.is_dir() else []
    if not lists:
        raise not_this(file, WHAT, f"there is no file CLASS{ending} in it")
    for path in lists:
        for where, line in numbered_lines(path, WHAT):
            name, _, number = line.strip().rpartition(" ")
            if number in SPLITS and name:
                yield whole(name.strip(), path.name.removesuffix(ending), where, SPLITS[number])
            elif number != "0" or not name:
                yield Wrong(where, f"it is no name with 0, 1 or 2: {line.strip()!r}")

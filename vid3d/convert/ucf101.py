"""UCF-101: the folder of its lists. `data.source=ucf101` reads them, too, without a manifest."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import Entry, Found, Options, Wrong, not_this, numbered_lines
from vid3d.datasets.folder import UCF_NAME, stem_of

WHAT = "the folder of the lists of UCF-101"


def read(file: Path, options: Options) -> Found:
    """The videos of trainlist0N.txt and testlist0N.txt; their folders are the classes."""
    lists = [(split, file / f"{split}list{options.fold:02d}.txt") for split in ("train", "test")]
    missing = [path.name for _, path in lists if not path.is_file()]
    if missing:
        raise not_this(file, WHAT, f"there is no {' and no '.join(missing)} in it")
    for split, path in lists:
        for where, line in numbered_lines(path, WHAT):
            name = line.split()[0]
            folder, _, base = name.rpartition("/")
            if folder and UCF_NAME.match(stem_of(base)):
                yield Entry((name, base), folder, where, split, (None, None))
            else:
                yield Wrong(where, f"it is no CLASS/v_CLASS_gNN_cNN.avi: {line.strip()!r}")

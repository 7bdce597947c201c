"""What a kill left torn in the compilation cache is not there for the next process."""

from __future__ import annotations

import os
import zlib

from vid3d import compilation


def test_torn_entries_are_dropped_and_whole_ones_stay(tmp_path):
    whole = zlib.compress(b"program" * 1000)
    entries = {
        "whole-cache": whole,
        "cut-cache": whole[: len(whole) // 2],
        "empty-cache": b"",
        "flipped-cache": whole[:-1] + bytes([whole[-1] ^ 1]),
    }
    for name, content in entries.items():
        (tmp_path / name).write_bytes(content)
    compilation.drop_torn_entries(tmp_path)
    assert {path.name for path in tmp_path.glob("*-cache")} == {"whole-cache"}
    # What was written since then is looked at as well.
    (tmp_path / "later-cache").write_bytes(whole[:20])
    os.utime(tmp_path / "later-cache", (2**32, 2**32))
    compilation.drop_torn_entries(tmp_path)
    assert {path.name for path in tmp_path.glob("*-cache")} == {"whole-cache"}

"""Random access to stored frames: any clip of any video is a list of record numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from vid3d.data.prepared import Prepared, is_there
from vid3d.errors import UserError
from vid3d.video.records import decode_jpeg

OPEN_SHARDS = 128  # of a store at once: a process may have some 1,000 files open
LOAD_RECORDS = 512  # frames read at once when many are loaded


class DamagedError(UserError):
    """A shard is not as it was written."""


def damaged(path: Path, why: str) -> DamagedError:
    """The error for a shard that is not as it was written."""
    return DamagedError(
        f"{path} is damaged ({why.split(';')[0]}): remove the folder {path.parent}, and the next "
        "call decodes its videos again"
    )


class FrameStore:
    """Random access to the stored frames of a `Prepared`, by record number, from any thread.

    Attributes:
        frame_shape: height, width, channels.
        encoding: "raw" or "jpeg".
    """

    def __init__(self, prepared: Prepared):
        """Opens nothing yet."""
        self.prepared = prepared
        self.frame_shape = prepared.frame_shape
        self.frame_bytes = math.prod(prepared.frame_shape)
        self.encoding = prepared.store
        self.paths = [prepared.directory / name for name in prepared.shards]
        self.starts = np.cumsum([0, *prepared.shards.values()])
        self.reader = functools.lru_cache(OPEN_SHARDS)(self.open)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def open(self, shard: int) -> ArrayRecordReader:
        """A reader of a shard; `reader` keeps those that were used last.

        Raises:
            DamagedError: the shard is missing or cut, or the folder is another one by now.
            UserError: it cannot be read.
        """
        path = self.paths[shard]
        try:
            path.open("rb").close()  # the reader below does not tell these errors apart
            reader = ArrayRecordReader(
                str(path), options="readahead_buffer_size:0", file_reader_buffer_size=32768
            )
            error = None
        except (OSError, RuntimeError) as caught:
            error = caught
        if not is_there(self.prepared):  # after the opening: the file may be that of the new folder
            raise DamagedError(
                f"{path.parent} was prepared anew while this process used it, or removed: start "
                "the same command again"
            )
        if isinstance(error, FileNotFoundError):
            raise damaged(path, "it is missing")
        if isinstance(error, OSError):
            raise UserError(f"cannot read {path}: {error.strerror}")
        if error:
            raise damaged(path, str(error))
        return reader

    def close(self) -> None:
        """Closes the shards until they are needed again."""
        self.reader.cache_clear()

    def read(self, records: Sequence[int] | np.ndarray) -> list[bytes]:
        """The serialized tf.Examples of these records, in this order.

        A record may be asked for twice.

        Raises:
            IndexError: there is no such record.
            DamagedError: a shard is missing, cut or changed: each record has a checksum.
        """
        records = np.asarray(records, np.int64)
        if len(records) and not 0 <= records.min() <= records.max() < len(self):
            raise IndexError(
                f"records from {records.min()} to {records.max()}; there are {len(self)}"
            )
        shards = np.searchsorted(self.starts, records, side="right") - 1
        out: list[bytes] = [b""] * len(records)
        for shard in np.unique(shards).tolist():
            places = np.flatnonzero(shards == shard)
            inside = (records[places] - self.starts[shard]).tolist()
            try:
                found = self.reader(shard).read(inside)
            except (RuntimeError, IndexError, ValueError) as error:
                raise damaged(self.paths[shard], str(error)) from None
            if not all(found):  # the file was cut after it was opened
                raise damaged(self.paths[shard], "it ends early")
            for place, record in zip(places.tolist(), found, strict=True):
                out[place] = record
        return out

    def load(self, records: Sequence[int] | np.ndarray) -> np.ndarray:
        """The frames of these records, uint8 [N, H, W, C]; fastest when the numbers ascend."""
        records = np.asarray(records, np.int64)
        frames_NHWC = np.empty((len(records), *self.frame_shape), np.uint8)
        for start in range(0, len(records), LOAD_RECORDS):
            for i, record in enumerate(self.read(records[start : start + LOAD_RECORDS]), start):
                frames_NHWC[i] = self.parse(record)
        return frames_NHWC

    def parse(self, record: bytes) -> np.ndarray:
        """The frame of a serialized tf.Example, uint8 [H, W, C].

        It is the string that the record ends with.
        """
        if self.encoding == "raw":
            pixels = np.frombuffer(record, np.uint8, offset=len(record) - self.frame_bytes)
            return pixels.reshape(self.frame_shape)
        return decode_jpeg(record[record.index(b"\xff\xd8\xff") :], self.frame_shape[2])

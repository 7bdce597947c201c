"""Passing over parts of a video: by seeking, where that surely gives the frames of reading on.

A seek is exact or it is not used. The time stamps of all packets, which are read without decoding,
say which pictures come after a key frame: a decoder that gives others makes an `InexactError`, and
the caller reads from the start. The first seek into a file is also tested: what is decoded from the
key frame on has to be what comes where the decoder arrives there from the key frame before it.

The same time stamps number the pictures: as many are shown before a picture as have an earlier
stamp. Before each seek, the pictures that were counted have to be as many.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vid3d.video.container import (
    VideoError,
    is_of_pictures,
    stamping,
    tick_of,
    without_stamps,
)
from vid3d.video.frame_folder import FolderReader
from vid3d.video.packet_index import InexactError, PacketIndex
from vid3d.video.reader import Reader

if TYPE_CHECKING:
    import av

# Codecs whose key frames need nothing that came before; of others it is not known here.
CODECS = {
    *("av1", "dnxhd", "ffv1", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "png"),
    *("prores", "rawvideo", "theora", "vp8", "vp9"),
}
WORTH = 16  # pictures that a seek has to spare: it takes about as long as to decode these
COMPARED = 8  # pictures, in the test of the first seek
EARLIER = (0.0, 1.0, 10.0)  # seconds before a key frame to seek to, one after the other


class UnparsedReader(Reader):
    """Reads packets as the container states them, in two thirds of the time."""

    ffmpeg_options: ClassVar[dict[str, str]] = Reader.ffmpeg_options | {
        "fflags": "+noparse+nofillin"
    }


def codec_name(reader: Reader) -> str:
    """The name of a video's codec, whichever decoder reads it."""
    return reader.stream.codec_context.codec.canonical_name


class Seeker:
    """Passes over pictures of a reader that nobody wants, and checks those that come instead."""

    def __init__(self, reader: Reader):
        """Reads nothing yet."""
        self.reader = reader
        container = reader.container
        self.is_avi = container.format.name == "avi"
        self.can = (
            not without_stamps(container)
            and (not is_of_pictures(container) or isinstance(reader, FolderReader))
            and codec_name(reader) in CODECS
        )
        self.tick = tick_of(reader.stream)
        self.index: PacketIndex | None = None
        self.is_tested = False
        self.sought = -math.inf  # the picture that the last seek was to lead to
        self.expected_N = np.zeros(0, np.int64)  # time stamps after the last seek, in ticks
        self.first = 0  # number of the picture with the first of these
        self.seen = -1  # of these; -1 before the first seek

    def has_just_sought(self) -> bool:
        """Whether the picture that was checked last is the first one after a seek."""
        return self.seen == 1

    def is_next(self, at: float) -> bool:
        """Whether a picture, with its time stamp in seconds, counts.

        After a seek, those before the key frame do not.

        Raises:
            InexactError: it is not the one that comes next.
        """
        if self.seen < 0:
            return True
        ticks = None if math.isnan(at) else round(at / self.tick)
        if ticks is not None and not self.seen and ticks < self.expected_N[0]:
            return False
        if self.seen == len(self.expected_N) or ticks != self.expected_N[self.seen]:
            raise InexactError("other pictures come after the key frame than its packets say")
        self.seen += 1
        return True

    def check_end(self) -> None:
        """Raises an InexactError where pictures are missing at the end."""
        if 0 <= self.seen < len(self.expected_N):
            raise InexactError("pictures are missing at the end")

    def passing_over(
        self, now: float, number: int, wanted: float, *, unit: str, around: int
    ) -> Iterator[av.VideoFrame | None] | None:
        """The pictures from the last key frame on that is early enough.

        None where that is not worth it.

        Args:
            now: the time stamp of the newest picture, in seconds.
            number: of the newest picture, from 0.
            wanted: the next wanted picture: its number, or its time stamp at the earliest.
            unit: "frames" or "s", of `wanted`.
            around: pictures before it that are needed, too.

        Raises:
            InexactError: see `read_selected`.
        """
        ahead = wanted - number if unit == "frames" else (wanted - now) * self.reader.claimed_fps
        if not self.can or wanted == self.sought or ahead < WORTH:
            return None
        self.sought = wanted
        self.index = index = self.index or self.read_index()
        passed = index.rank(now / self.tick - 0.5)
        if unit == "frames" and passed != number:
            raise InexactError("there are other pictures than the packets say")
        rank = int(wanted) if unit == "frames" else index.rank(wanted / self.tick - 0.5)
        first = index.stamps_N[min(max(rank - around, 0), len(index.stamps_N) - 1)]
        key = index.key_before(int(first))
        if key < 0 or index.rank(index.keys[key][0]) < passed + WORTH:
            return None
        if not self.is_tested and key > 0:
            self.test(key)
        self.is_tested = True
        return self.pictures_from(key, counted=True)

    def read_index(self) -> PacketIndex:
        """The index of the whole file, by another reader of it."""
        with contextlib.closing(self.reader_of_packets()) as other:
            try:
                return PacketIndex(
                    other.packets(), codec=codec_name(other), in_decoding_order=self.is_avi
                )
            except VideoError:
                raise InexactError("the file cannot be read to its end") from None

    def reader_of_packets(self) -> Reader:
        """Another reader of the file, from which only packets are read."""
        reader = self.reader
        states_all = type(reader) is Reader and reader.container.format.name.startswith("mov,mp4")
        return UnparsedReader(reader.path, reader.options) if states_all else reader.again()

    def pictures_from(self, key: int, *, counted: bool) -> Iterator[av.VideoFrame | None]:
        """The pictures from a key frame on, which `is_next` checks.

        Args:
            key: its number in the index.
            counted: whether damage from there on is damage of the video.

        Raises:
            InexactError: the container does not lead there.
        """
        assert self.index is not None
        stamp, decoded = self.index.keys[key]
        for seconds in EARLIER:
            if not self.reader.seek(decoded - round(seconds / self.tick)):
                continue
            packets = self.reader.packets()
            for packet in packets:
                if (packet.dts if self.is_avi else packet.pts) == stamp and packet.is_keyframe:
                    self.first = self.index.rank(stamp)
                    self.expected_N = self.index.stamps_N[self.first :]
                    self.seen = 0
                    rest = itertools.chain([packet], packets)
                    return self.reader.pictures(rest, counted_from=stamp if counted else math.inf)
                if packet.dts is not None and packet.dts > decoded:
                    break
        raise InexactError("the container does not lead to the key frame")

    def test(self, key: int) -> None:
        """Compares pictures from a key frame on with those that come from the one before.

        Raises:
            InexactError: they differ.
        """
        assert self.index is not None
        stamp = stamping(self.reader.container, self.reader.stream)
        first = self.index.rank(self.index.keys[key][0])
        compared = {
            tick * self.tick for tick in self.index.stamps_N[first : first + COMPARED].tolist()
        }
        both = [
            self.look(self.pictures_from(start, counted=False), stamp, compared)
            for start in (key - 1, key)
        ]
        if len(both[0]) != len(both[1]) or not all(map(np.array_equal, *both)):
            raise InexactError("the key frame does not begin anew")

    def look(
        self,
        pictures: Iterator[av.VideoFrame | None],
        stamp: Callable[[av.VideoFrame, int], float],
        wanted: set[float],
    ) -> list[np.ndarray]:
        """The pictures with these time stamps, as RGB."""
        found: list[np.ndarray] = []
        for picture in pictures:
            if picture is None or len(found) == len(wanted):
                break
            if self.is_next(at := stamp(picture, 0)) and at in wanted:
                found.append(picture.to_rgb().to_ndarray())
        return found

"""What the packets of a video say of its pictures: which there are, and which begin anew."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av


class InexactError(Exception):
    """A seek did not give what reading from the start gives, or that is not sure."""


class PacketIndex:
    """What the packets of a video say of its pictures, without decoding.

    Attributes:
        stamps_N: the time stamps of the pictures in the order of presentation, in ticks, int64.
        keys: of the packets with key frames, in that order: (time stamp, that of decoding).
    """

    def __init__(self, packets: Iterator[av.Packet], *, codec: str, in_decoding_order: bool):
        """Reads all packets.

        Args:
            packets: of the stream, from the start.
            codec: its name.
            in_decoding_order: the pictures come at the times of decoding, as of an AVI.

        Raises:
            InexactError: a time stamp is missing or comes twice, or a packet is damaged.
        """
        stamps: list[int] = []
        self.keys: list[tuple[int, int]] = []
        is_vp8, newest = codec == "vp8", -math.inf
        last, last_but_one = -math.inf, -math.inf  # of the key frames
        for packet in packets:  # a long recording has hundreds of thousands
            if not packet.size:
                continue
            stamp = packet.dts if in_decoding_order else packet.pts
            if stamp is None or packet.is_corrupt:
                raise InexactError("a packet without a time stamp, or a damaged one")
            if packet.is_discard or (is_vp8 and not shows_vp8(packet)):
                continue
            if packet.is_keyframe:
                if stamp <= newest:
                    raise InexactError("a key frame is not shown after all that came before")
                self.keys.append((stamp, stamp if packet.dts is None else packet.dts))
                last, last_but_one = stamp, last
            elif stamp <= last_but_one:
                raise InexactError("a picture is shown before the last key frame but one")
            if stamp > newest:
                newest = stamp
            stamps.append(stamp)
        self.stamps_N = np.sort(np.array(stamps, np.int64))
        if not len(stamps) or (np.diff(self.stamps_N) <= 0).any():
            raise InexactError("a time stamp comes twice")

    def key_before(self, stamp: float) -> int:
        """The number in `keys` of the last key frame that is shown at or before a time; or -1."""
        return bisect.bisect_right(self.keys, (stamp, math.inf)) - 1

    def rank(self, stamp: float) -> int:
        """How many pictures are shown before a time."""
        # An integer: for a float, NumPy would turn all of them into floats.
        return int(np.searchsorted(self.stamps_N, math.ceil(stamp)))


def shows_vp8(packet: av.Packet) -> bool:
    """Whether a packet of VP8 gives a picture; others only hold what later ones refer to."""
    return bool(bytes(memoryview(packet)[:1])[0] >> 4 & 1)

"""Damage that a decoder reports of a video and reads past."""

from __future__ import annotations

import av

from vid3d.video.clock import FrameClock

Logs = list[tuple[int, str, str]]  # level, library and message, as PyAV captures them
NAMED = 3  # places that a message names


class Damage:
    """Counts packets that give no frame and incomplete frames, as FFmpeg reports them.

    What comes before the first key frame does not count: a recording may begin between two.

    Attributes:
        end: why the file cannot be read on, or "".
        first_message: of FFmpeg's libraries, whether it counts or not, or "".
    """

    def __init__(self, tick: float, clock: FrameClock, *, interval: float = 0.0):
        """Starts without damage.

        Args:
            tick: seconds of a tick of the time stamps.
            clock: of the frames that come out.
            interval: seconds of a packet, where the packets have no time stamps.
        """
        self._tick = tick
        self._clock = clock
        self.end = self.first_message = ""
        self._interval = interval
        # Time stamps, with the time of the newest frame at that moment.
        self._lost: list[tuple[float, float]] = []
        self._incomplete: dict[float, float] = {}
        self._message = ""
        self._key_seen = False
        self._seconds = -interval

    def packet(self, packet: av.Packet) -> None:
        """Takes note of a packet before it is decoded."""
        self._key_seen |= packet.is_keyframe
        self._seconds = self._time(packet, self._seconds + self._interval)
        if packet.is_corrupt and self._key_seen:
            self._incomplete[self._seconds] = self._clock.last

    def lost(self) -> None:
        """The packet gives no frame."""
        if self._key_seen:
            self._incomplete.pop(self._seconds, None)
            self._lost.append((self._seconds, self._clock.last))

    def incomplete(self, picture: av.VideoFrame) -> None:
        """Takes note of a decoded picture that is flagged as corrupt."""
        if self._key_seen:
            self._incomplete[self._time(picture, self._seconds)] = self._clock.last

    def broke_off(self, reason: str) -> None:
        """The file cannot be read on."""
        self.end = reason

    def messages(self, logs: Logs) -> None:
        """Takes the errors that FFmpeg's libraries wrote while they read a packet."""
        if logs and not self.first_message:
            self.first_message = wording(logs)
        if self._key_seen:
            self.note(logs)

    def note(self, logs: Logs) -> None:
        """Keeps the first of the errors that FFmpeg's libraries wrote."""
        if logs and not self._message:
            self._message = wording(logs)

    def __str__(self) -> str:
        """One line, or "" where there is none."""
        found = []
        for stamps, what in (
            (self._lost, "packet lost"),
            (self._incomplete.items(), "frame incomplete"),
        ):
            if stamps:
                noun, verb = what.split()
                times = sorted(self._clock.near(*stamp) for stamp in stamps)
                places = ", ".join(f"{seconds:.2f}" for seconds in times[:NAMED])
                dots = ", ..." if len(times) > NAMED else ""
                plural = "s" if len(times) > 1 else ""
                found.append(f"{len(times)} {noun}{plural} {verb} at {places}{dots} s")
        if self.end:
            place = self._clock.near(self._seconds, self._clock.last)
            found.append(f"it breaks off at {place:.2f} s ({self.end})")
        if self._message:
            found.append(f"FFmpeg says {self._message!r}")
        return f"damaged: {'; '.join(found)}" if found else ""

    def _time(self, timed: av.Packet | av.VideoFrame, otherwise: float) -> float:
        """The presentation time of a packet or picture."""
        ticks = timed.pts if timed.pts is not None else timed.dts
        return otherwise if ticks is None else ticks * self._tick


def wording(logs: Logs) -> str:
    """The first of some messages, with the library that wrote it where that is known."""
    _, library, message = logs[0]
    return f"{library}: {message.strip()}".removeprefix(": ")

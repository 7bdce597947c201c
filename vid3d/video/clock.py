"""The times of frames, from time stamps that need not ascend."""

from __future__ import annotations

import math

NEAR = 10.0  # seconds from the newest frame beyond which a time stamp belongs to another time line


class FrameClock:
    """Seconds from the first frame on, strictly ascending, from time stamps that need not be."""

    def __init__(self, fps: float):
        """Takes the rate that fills in for missing time stamps."""
        self.interval = 1 / fps
        self.start = self.last = 0.0
        self.count = 0

    def tick(self, stamp: float) -> float:
        """The time of the next frame.

        Where its stamp is not after the last one, one interval later.
        """
        if not self.count:
            self.start = stamp if math.isfinite(stamp) else 0.0
        else:
            seconds = stamp - self.start
            self.last = seconds if seconds > self.last else self.last + self.interval
        self.count += 1
        return self.last

    def near(self, stamp: float, newest: float) -> float:
        """Seconds from the first frame to a stamp.

        Args:
            stamp: in seconds, as read.
            newest: time of the newest frame when it was read; it stands in for stamps that are
                far from it, as where they begin anew.
        """
        seconds = stamp - self.start
        return max(seconds, 0.0) if abs(seconds - newest) <= NEAR else newest

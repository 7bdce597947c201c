"""The frames of a video that some stretches take, without decoding what lies far between them."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import numpy as np

from vid3d.video.container import STILL, VideoError, is_of_pictures, pixel_shape, stamping
from vid3d.video.picture import PictureConverter
from vid3d.video.reader import AS_DEFAULT, Reader
from vid3d.video.seeking import Seeker
from vid3d.video.spans import Selection

if TYPE_CHECKING:
    import av

AROUND = 2  # pictures before a frame that a deinterlacer looks at


def read_selected(
    reader: Reader, selection: Selection, *, seek: bool = True
) -> Generator[tuple[np.ndarray | None, float]]:
    """The frames of a new reader that a selection takes.

    Args:
        reader: of which nothing was read yet; it is closed at the end.
        selection: takes the frames; its places are known at the end.
        seek: whether pictures that are not wanted may be passed over.

    Yields:
        (uint8 RGB [H, W, 3] upright, seconds from the first frame of the video); None instead of a
        frame that is not wanted, as a sign of life.

    Raises:
        InexactError: seeking is not exact: what was yielded is to be dropped and read without.
        VideoError: see `Reader`.
    """
    with contextlib.closing(reader):
        yield from SelectedFrames(reader, selection, seek=seek)


class SelectedFrames:
    """One pass over the wanted frames of a video; see `read_selected`."""

    def __init__(self, reader: Reader, selection: Selection, *, seek: bool):
        """Reads nothing yet."""
        self.reader, self.selection = reader, selection
        self.seeker = Seeker(reader) if seek else None
        self.is_filtered = reader.options.deinterlace != AS_DEFAULT.deinterlace
        self.converter: PictureConverter | None = None
        self.pending: deque[tuple[float, bool]] = deque()  # what a filter holds back, or converts
        self.number = 0
        self.seconds = 0.0
        self.interval = 1 / reader.claimed_fps

    def __iter__(self) -> Iterator[tuple[np.ndarray | None, float]]:
        reader, selection = self.reader, self.selection
        stamp = stamping(reader.container, reader.stream)
        pictures = reader.pictures()
        while (picture := next(pictures)) is not None:
            at = stamp(picture, reader.clock.count)
            if self.seeker and not self.seeker.is_next(at):
                continue
            yield from self.take(picture, at)
            if any(taken for _, taken in self.pending):
                continue
            if selection.is_done:
                return
            if sought := self.passing_over(at):
                pictures = sought
                self.pending.clear()
                assert self.converter
                self.converter.forget()
        yield from self.finish()

    def passing_over(self, at: float) -> Iterator[av.VideoFrame | None] | None:
        """The pictures after a seek, where there is one.

        Args:
            at: time stamp of the newest picture.

        Raises:
            InexactError: see `read_selected`.
        """
        following, in_frames = self.selection.following, self.selection.in_frames
        if self.seeker is None or following is None:
            return None
        return self.seeker.passing_over(
            at,
            self.number - 1,
            following if in_frames else self.reader.clock.start + following,
            unit="frames" if in_frames else "s",
            around=AROUND * self.is_filtered,
        )

    def take(self, picture: av.VideoFrame, at: float) -> Iterator[tuple[np.ndarray | None, float]]:
        """What a picture gives: its frame or, while a filter looks ahead, an earlier one."""
        if self.converter is None:
            self.converter = PictureConverter(self.reader.options, pixel_shape(self.reader.stream))
        before, self.seconds = self.seconds, self.reader.clock.tick(at)
        is_first = not self.number
        if self.seeker and self.seeker.has_just_sought():
            self.number, is_first = self.seeker.first, True
        self.interval = self.interval if is_first else self.seconds - before
        taken = self.selection.takes(self.number, self.seconds)
        self.number += 1
        if not taken and not self.is_filtered:
            self.converter.pass_over(picture)
            yield None, self.seconds
            return
        self.pending.append((self.seconds, taken))
        yield from self.ready(picture)

    def ready(self, picture: av.VideoFrame | None) -> Iterator[tuple[np.ndarray | None, float]]:
        """The frames that are ready after a picture, or at the end."""
        assert self.converter
        which = "the frame at {:.3f} s"
        for frame_HWC in self.reader.converted(self.converter, picture, which, self.seconds):
            seconds, taken = self.pending.popleft()
            yield (frame_HWC if taken else None), seconds

    def finish(self) -> Iterator[tuple[np.ndarray | None, float]]:
        """What is left at the end of the video, which the selection learns.

        Raises:
            VideoError: there was nothing, or a still picture.
            InexactError: pictures are missing.
        """
        if self.seeker:
            self.seeker.check_end()
        if self.converter is None:
            raise self.reader.nothing_decoded()
        if self.number == 1 and is_of_pictures(self.reader.container):
            raise VideoError(STILL, self.reader.path)
        yield from self.ready(None)
        self.selection.end = (
            self.number if self.selection.in_frames else self.seconds + self.interval
        )

"""One pass over a video from a file or a URL: the one place that decodes.

Which frames these are, in which order, at which times and in which colours is defined in
docs/decoding.md.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, ClassVar

import av
import av.logging
import numpy as np
from av.codec.context import Flags
from av.stream import Discard

from vid3d.video.clock import FrameClock
from vid3d.video.container import (
    IS_BEFORE_PYAV_19,
    NOT_A_VIDEO,
    STILL,
    VideoError,
    claimed_frames,
    duration,
    is_of_pictures,
    main_stream,
    num_bytes,
    pixel_shape,
    stamping,
    stated_fps,
    tick_of,
    without_stamps,
)
from vid3d.video.damage import Damage, Logs, wording
from vid3d.video.picture import DecodeOptions, PictureConverter

DECODER = f"PyAV {av.__version__}"  # frames may differ between versions
FFMPEG = f"FFmpeg {av.ffmpeg_version_info}"
# What these "formats" show are other files, which may change unnoticed.
PLAYLISTS = {"concat", "dash", "hls", "imf", "sdp"}
# Titles and the like need not be valid text; from version 19 on PyAV reads them in any case.
open_container: Callable[..., av.container.InputContainer] = (
    functools.partial(av.open, metadata_errors="replace") if IS_BEFORE_PYAV_19 else av.open
)
NETWORK_SECONDS = 10.0  # for a URL to open, and for each packet to arrive
AS_DEFAULT = DecodeOptions()

# FFmpeg's messages are collected where it is called and not printed as well.
av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)  # otherwise a message equal to the last file's is lost
logging.getLogger("libav").addHandler(logging.NullHandler())
logging.getLogger("libav").propagate = False


class ConversionError(VideoError):
    """A frame was decoded and cannot be converted to RGB."""


class Reader:
    """One pass over a video file.

    Iterating gives (uint8 RGB [H, W, 3] upright, seconds from the first frame).

    Attributes:
        path: as it was given.
        claimed: number of frames by the container's header; 0 where it states none.
        claimed_fps: frames per second by the header; 25 where it states none.
        is_endless: neither a duration nor a size is known, as of a camera's stream.
        container: as PyAV opened it.
        stream: of the container, the one that is read.
        clock: what time it is in the video.
    """

    # A playlist that poses as a video opens nothing but files.
    ffmpeg_options: ClassVar[dict[str, str]] = {"protocol_whitelist": "file"}
    timeout: ClassVar[tuple[float, float] | None] = None  # seconds: to open, and for each packet

    def __init__(self, path: str | os.PathLike[str], options: DecodeOptions = AS_DEFAULT):
        """Opens the video.

        Args:
            path: of the file.
            options: how its pictures become frames.

        Raises:
            VideoError: it is missing, empty, not a file, or not a video.
        """
        self.path = os.fspath(path)
        self.options = options
        with self._checked_name() as name, av.logging.Capture() as logs:
            try:
                self.container = open_container(name, timeout=self.timeout, **self._how_to_open())
            except (av.error.FFmpegError, OSError, ValueError) as error:
                raise VideoError(self._not_open(error, logs), self.path) from None
        try:
            self._check_format()
            self.stream = main_stream(self.container, self.path)
        except VideoError:
            self.close()
            raise
        for stream in self.container.streams:
            if stream is not self.stream:
                stream.discard = Discard.all
        # One thread per file: files are decoded side by side.
        context = self.stream.codec_context
        context.thread_type, context.thread_count = "NONE", 1
        context.flags |= Flags.unaligned  # a crop on the left is obeyed to the pixel
        self.claimed_fps = stated_fps(self.stream)
        self.claimed = claimed_frames(self.container, self.stream, self.claimed_fps)
        self.is_endless = not (
            self.stream.frames or duration(self.container, self.stream) or num_bytes(self.container)
        )
        bare = without_stamps(self.container)
        self.clock = FrameClock(self.claimed_fps)
        self._damage = Damage(
            tick_of(self.stream), self.clock, interval=1 / self.claimed_fps if bare else 0.0
        )
        # Not those of decoders, which look at other streams, too, and begin in the middle of a
        # recording.
        self._damage.note([log for log in logs if log[1] == self.container.format.name])

    @property
    def damage(self) -> str:
        """What the decoder has reported so far, in one line; "" for a whole file."""
        return str(self._damage)

    def close(self) -> None:
        """Closes the file."""
        self.container.close()

    def __iter__(self) -> Generator[tuple[np.ndarray, float]]:
        """Decodes to the end; a packet that cannot be decoded is skipped, and `damage` counts it.

        Raises:
            VideoError: there is not a single frame, one cannot be converted to RGB, or it is a
                still picture.
            MemoryError: there is not enough memory.
        """
        frames = self._decoded()
        with contextlib.closing(frames):
            first = list(itertools.islice(frames, 2 if is_of_pictures(self.container) else 0))
            if len(first) == 1:
                raise VideoError(STILL, self.path)
            yield from first
            yield from frames

    def _decoded(self) -> Generator[tuple[np.ndarray, float]]:
        clock = self.clock
        # It needs the pixel shape, which only the first picture tells.
        converter: PictureConverter | None = None
        stamp = stamping(self.container, self.stream)
        times: deque[float] = deque()  # of the pictures that a deinterlacer holds back
        number = 0
        with contextlib.closing(self):
            for picture in self.pictures():
                if converter is None:
                    converter = PictureConverter(self.options, pixel_shape(self.stream))
                if picture is not None:
                    times.append(clock.tick(stamp(picture, clock.count)))
                for frame_HWC in self.converted(converter, picture, "frame {}", number):
                    yield frame_HWC, times.popleft()
                    number += 1
        if not number:
            raise self.nothing_decoded()

    def nothing_decoded(self) -> VideoError:
        """The error for a video without a single frame."""
        codec = self.stream.codec_context.name
        said = self._damage.first_message
        said = f"; FFmpeg says {said!r}" if said else ""
        return VideoError(f"no frame can be decoded (codec {codec}){said}", self.path)

    def converted(
        self, converter: PictureConverter, picture: av.VideoFrame | None, which: str, at: float
    ) -> list[np.ndarray]:
        """The frames that are ready after a picture; see `PictureConverter.frames`.

        Args:
            converter: of this video.
            picture: as decoded; None at the end.
            which: what the error calls it, with braces for `at`.
            at: its number or time.

        Raises:
            ConversionError: it cannot be converted to RGB.
        """
        try:
            return converter.frames(picture)
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConversionError(
                f"{which.format(at)} cannot be converted to RGB: {reason}", self.path
            ) from None

    def again(self) -> Reader:
        """A new reader of the same video."""
        return type(self)(self.path, self.options)

    def packets(self) -> Iterator[av.Packet]:
        """The packets from here on, without decoding them.

        Raises:
            VideoError: the file cannot be read on.
        """
        try:
            with contextlib.suppress(IndexError):  # see `pictures`
                yield from self.container.demux(self.stream)
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"it breaks off: {error.strerror}", self.path) from None

    def seek(self, ticks: int) -> bool:
        """Goes to a key frame at or before a time stamp, or to where the container takes it for.

        Returns whether the container can.
        """
        try:
            self.container.seek(ticks, stream=self.stream)
        except (av.error.FFmpegError, OSError):
            return False
        return True

    def pictures(
        self, packets: Iterator[av.Packet] | None = None, *, counted_from: float = -math.inf
    ) -> Iterator[av.VideoFrame | None]:
        """The decoded pictures in the order of presentation, and None at the end.

        Args:
            packets: to decode; by default from here on.
            counted_from: a time stamp, before which damage does not count: after a seek, pictures
                before the key frame may lack what they refer to.
        """
        whole, passed = self._damage, Damage(tick_of(self.stream), self.clock)
        packets = self.container.demux(self.stream) if packets is None else packets
        ended = flushed = False
        while not ended:
            with av.logging.Capture() as logs:
                try:
                    packet = next(packets)
                except (StopIteration, IndexError):
                    # IndexError: at the end, PyAV flushes streams that began late, too, and has no
                    # entry for them; reading packets never raises it.
                    packet, ended = None, True
                except MemoryError:  # PyAV's is an FFmpegError
                    raise
                except (av.error.FFmpegError, OSError) as error:
                    packet, ended = None, True
                    whole.broke_off(str(error.strerror))
                ticks = packet.pts if packet is not None else None
                damage = passed if ticks is not None and ticks < counted_from else whole
                pictures = []
                try:
                    if packet is not None:
                        damage.packet(packet)
                        flushed |= not packet.size
                        pictures = packet.decode()
                    elif not flushed:
                        pictures = self.stream.decode(None)
                except MemoryError:
                    raise
                except (av.error.FFmpegError, OSError):
                    damage.lost()
            if logs:
                damage.messages(logs)
            for picture in pictures:
                if picture.is_corrupt:
                    damage.incomplete(picture)
                yield picture
        yield None

    def _how_to_open(self) -> dict[str, Any]:
        return {"options": self.ffmpeg_options}

    @contextlib.contextmanager
    def _checked_name(self) -> Iterator[str]:
        """A name under which FFmpeg can open the file.

        An absolute path is never taken for a protocol. A name that is not valid text is replaced by
        that of an open file.

        Raises:
            VideoError: there is no file that can be read.
        """
        check_file(self.path)
        name = os.path.abspath(self.path)
        try:
            name.encode()
        except UnicodeEncodeError:
            handle = os.open(self.path, os.O_RDONLY)
            try:
                yield f"/dev/fd/{handle}"
            finally:
                os.close(handle)
        else:
            yield name

    def _not_open(self, error: Exception, logs: Logs) -> str:
        """Why FFmpeg does not open it."""
        if not logs:
            return NOT_A_VIDEO
        said = f"{NOT_A_VIDEO}; FFmpeg says {wording(logs)!r}"
        cut = ": an MP4 without its index, cut off or not finished, or no MP4"
        return said + cut * ("moov atom not found" in said)

    def _check_format(self) -> None:
        """Raises a VideoError where the file only names others."""
        if self.container.format.name in PLAYLISTS:
            raise VideoError("a list of other files, and not a video", self.path)


class UrlReader(Reader):
    """One pass over a video or a camera's stream from the network, such as http, rtsp or udp."""

    ffmpeg_options: ClassVar[dict[str, str]] = {"rtsp_transport": "tcp"}
    timeout = (NETWORK_SECONDS, NETWORK_SECONDS)

    @contextlib.contextmanager
    def _checked_name(self) -> Iterator[str]:
        yield self.path

    def _not_open(self, error: Exception, logs: Logs) -> str:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, av.error.ExitError):
            reason = f"no answer within {NETWORK_SECONDS:g} s"
        return f"the stream cannot be opened: {reason}"

    def _check_format(self) -> None:
        """Cameras serve playlists."""


def check_file(path: str) -> None:
    """Raises a VideoError where there is no file that can be read and holds anything."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise VideoError("no such file", path) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(f"cannot be read: {reason}", path) from None
    if not stat.S_ISREG(status.st_mode):
        raise VideoError("not a file", path)
    if not status.st_size:
        raise VideoError("empty file", path)
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}", path) from None

"""What a container says of its video: which stream, its rate, length, times and pixel shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import av
from av.stream import Disposition

DEFAULT_FPS = 25.0
IS_BEFORE_PYAV_19 = int(av.__version__.split(".")[0]) < 19  # which mends what is worked around
NOT_A_VIDEO = "not a video, or one without a readable header"
PICTURE_FORMATS = {"image2", "apng", "jpegxl_anim"}  # of one picture, or of several
# Streams that hold pictures, not video: the cover of a song, previews for the seek bar.
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
STILL = (
    "a still picture, and not a video: make a video of it, "
    "ffmpeg -loop 1 -i PICTURE -t 2 -pix_fmt yuv420p NEW.mp4"
)
WIDEST_PIXEL = 4  # width : height beyond which a pixel shape is taken for a damaged header


class VideoError(Exception):
    """A video or camera that gives no frames.

    The message is the reason, `path` names the source.
    """

    def __init__(self, reason: str, path: str):
        super().__init__(reason)
        self.path = path


class LimitError(VideoError):
    """A video beyond a limit that its decoding was given, of "size" or of "time"."""

    def __init__(self, reason: str, path: str, limit: str):
        super().__init__(reason, path)
        self.limit = limit


def main_stream(container: av.container.InputContainer, path: str) -> av.VideoStream:
    """The video stream that a player would show.

    Of the streams that are marked as default, or else of all, it is the largest, the first of
    equals.

    Raises:
        VideoError: there is none, or none that this build of FFmpeg has a decoder for.
    """
    videos = [s for s in container.streams.video if not s.disposition & PICTURES]
    if not videos:
        if container.streams.video:
            raise VideoError("a cover picture, and no video", path)
        kinds = sorted({stream.type for stream in container.streams})
        raise VideoError(
            f"not a video: it holds {' and '.join(kinds)} alone" if kinds else NOT_A_VIDEO, path
        )
    decodable = [s for s in videos if s.codec_context is not None]
    if not decodable:
        raise VideoError(no_frame(videos[0].codec_tag), path)
    default = [s for s in decodable if s.disposition & Disposition.default]
    return max(default or decodable, key=lambda s: s.codec_context.width * s.codec_context.height)


def stated_fps(stream: av.VideoStream) -> float:
    """The frame rate that the header states, if it can be one, otherwise 25."""
    bare = without_stamps(stream.container)
    # That of a bare stream is in the stream itself.
    for states, name in (
        (stream.codec_context if bare else None, "framerate"),
        (stream, "guessed_rate"),
        (stream, "average_rate"),
    ):
        rate = getattr(states, name, None)
        if rate and 0 < (fps := float(rate)) < 1000:
            return fps
    return DEFAULT_FPS


def without_stamps(container: av.container.Container) -> bool:
    """Whether the container is a bare stream of pictures, such as raw H.264.

    A sequence of files is none: FFmpeg numbers them.
    """
    flag = cast(int, av.format.Flags.no_timestamps.value)  # PyAV's stubs say that it is a flag
    return bool(container.format.flags & flag) and container.format.name != "image2"


def is_of_pictures(container: av.container.Container) -> bool:
    """Whether the format is one of pictures, of which several in a row make a video."""
    name = container.format.name
    return name in PICTURE_FORMATS or name.endswith("_pipe")  # png_pipe, jpeg_pipe, ...


def duration(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Seconds that the header states, or 0."""
    if stream.duration and stream.time_base:
        return stream.duration * float(stream.time_base)
    return (container.duration or 0) / av.time_base


def tick_of(stream: av.VideoStream) -> float:
    """Seconds of a tick of a stream's time stamps; FFmpeg gives every stream that it reads one."""
    assert stream.time_base is not None
    return float(stream.time_base)


def claimed_frames(
    container: av.container.InputContainer, stream: av.VideoStream, fps: float
) -> int:
    """Number of frames that the header states, or 0 where it states none that can be.

    A damaged header may state any number; there is no frame without a byte.
    """
    claimed = max(stream.frames, 0) or round(duration(container, stream) * fps)
    return claimed if 0 < claimed <= (num_bytes(container) or math.inf) else 0


def num_bytes(container: av.container.InputContainer) -> int:
    """Size of the file; 0 where it is unknown, as of a stream.

    For some formats of pictures PyAV has None from version 19 on, and a negative number before.
    """
    return max(container.size or 0, 0)


def stamping(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Callable[[av.VideoFrame, int], float]:
    """A function of a picture and its number: its time stamp in seconds, NaN where it has none.

    AVI has no presentation times: its pictures come at the times of decoding, which ascend as they
    do. A bare stream has no times at all, but the rate in its own header.
    """
    if without_stamps(container):
        interval = 1 / stated_fps(stream)
        return lambda picture, number: number * interval
    is_avi = container.format.name == "avi"
    tick = tick_of(stream)

    def stamp(picture: av.VideoFrame, number: int) -> float:
        ticks = picture.pts if picture.pts is not None and not is_avi else picture.dts
        return math.nan if ticks is None else ticks * tick

    return stamp


def pixel_shape(stream: av.VideoStream) -> float:
    """Width : height of a pixel; 1 where the file states none, or one that cannot be."""
    shape = float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    return shape if 1 / WIDEST_PIXEL <= shape <= WIDEST_PIXEL else 1.0


def no_frame(codec: str) -> str:
    """Says that a video is opened but not decoded, and what to do; `codec` is its name, or ""."""
    if not codec:
        return "no frame can be decoded"
    return (
        f"no frame can be decoded (codec {codec}): re-encode it to H.264, "
        "ffmpeg -i VIDEO -c:v libx264 -pix_fmt yuv420p NEW.mp4"
    )

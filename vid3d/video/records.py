"""A stored frame as a serialized tf.Example with one feature, written without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vid3d.video.container import LimitError
from vid3d.video.picture import DecodeOptions
from vid3d.video.reader import AS_DEFAULT

FRAME_KEY = b"frame"
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Limits:
    """What a video may ask of its decoding; 0 is no limit.

    Attributes:
        seconds: the time of its last frame.
        pixels: of a frame.
        work_seconds: of decoding, by the clock.
    """

    seconds: float = 0.0
    pixels: int = 0
    work_seconds: float = 0.0

    def check(self, path: str, *, pixels: int, seconds: float, worked: float) -> None:
        """Raises a LimitError where a frame of the video `path` is beyond one."""
        if self.pixels and pixels > self.pixels:
            reason = f"its frames have {pixels} pixels, and {self.pixels} are the limit"
            raise LimitError(reason, path, "size")
        if self.seconds and seconds > self.seconds:
            raise LimitError(f"it is longer than the limit of {self.seconds:g} s", path, "size")
        if self.work_seconds and worked > self.work_seconds:
            reason = f"decoding it takes longer than the limit of {self.work_seconds:g} s"
            raise LimitError(reason, path, "time")


@dataclass(frozen=True)
class Settings:
    """What a stored frame looks like.

    Attributes:
        size: height and width.
        resize: one of `schema.RESIZES`.
        color: "rgb" or "gray".
        max_frames: how many of a video's frames are stored; 0 is all.
        store: "raw" or "jpeg".
        decode: how the pictures of a file become frames.
        limits: beyond which a video fails.
    """

    size: tuple[int, int]
    resize: str
    color: str
    max_frames: int
    store: str
    decode: DecodeOptions = AS_DEFAULT
    limits: Limits = Limits()

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return (*self.size, 1 if self.color == "gray" else 3)


@lru_cache(maxsize=64)  # raw frames all have one size
def record_header(size: int) -> bytes:
    """The serialized tf.Example with one feature, "frame", up to its string of `size` bytes."""
    key = b"\x0a" + varint(len(FRAME_KEY)) + FRAME_KEY
    header = b""
    # From the inside out: BytesList.value, Feature.bytes_list, the map entry's value (after its
    # key), Features.feature, Example.features.
    for tag, prefix in ((0x0A, b""), (0x0A, b""), (0x12, key), (0x0A, b""), (0x0A, b"")):
        header = prefix + bytes([tag]) + varint(len(header) + size) + header
    return header


def to_payload(fitted_HWC: np.ndarray, store: str) -> bytes | memoryview:
    """The string of a record: the frame's bytes, row by row, or a JPEG."""
    if store == "jpeg":
        return encode_jpeg(fitted_HWC)
    return np.ascontiguousarray(fitted_HWC).data.cast("B")


def varint(number: int) -> bytes:
    """A number in the variable-length code of protocol buffers."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def record_bytes(settings: Settings) -> int:
    """Size of a raw record."""
    size = int(np.prod(settings.frame_shape))
    return len(record_header(size)) + size


def encode_jpeg(frame_HWC: np.ndarray) -> bytes:
    """JPEG bytes of a uint8 frame, RGB or one channel, at quality 90."""
    flipped = frame_HWC if frame_HWC.shape[2] == 1 else cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", flipped, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def decode_jpeg(encoded: bytes, channels: int) -> np.ndarray:
    """The uint8 frame [H, W, channels] of JPEG bytes.

    Raises:
        ValueError: they are not a JPEG.
    """
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    frame = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)
    if frame is None:
        raise ValueError("not a JPEG")
    return frame.reshape(*frame.shape[:2], channels)

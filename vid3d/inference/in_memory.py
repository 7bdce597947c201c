"""Videos in memory: the bytes of a whole file, or an object that they are read from."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import IO, Any, Protocol, TypeGuard

from vid3d.errors import UserError
from vid3d.video.decoder_handle import OpenVideo

MOST_BYTES = 2**30  # of a video in memory; a larger one has to be a file
PIECE_BYTES = 2**20
BUFFERS = (bytes, bytearray, memoryview)


class Readable(Protocol):
    """An open file or an upload: `read(n)` returns at most n bytes, and none at the end."""

    def read(self, size: int, /) -> bytes: ...


Encoded = bytes | bytearray | memoryview | Readable


def is_encoded(source: Any) -> TypeGuard[Encoded]:
    """Whether something holds an encoded video, and neither its path nor its frames."""
    return isinstance(source, BUFFERS) or hasattr(source, "read")


@contextlib.contextmanager
def opened(source: Encoded) -> Iterator[OpenVideo]:
    """A copy for decoding processes: in memory, or a temporary file on systems without memfd.

    Nothing of it stays behind.

    Raises:
        UserError: it has more than 1 GiB, gives something else than bytes, or cannot be read or
            copied.
    """
    name = name_of(source)
    with contextlib.ExitStack() as stack:
        file: IO[bytes]
        try:
            if hasattr(os, "memfd_create"):
                file = stack.enter_context(open(os.memfd_create("vid3d-video"), "wb", buffering=0))
                video = OpenVideo(name, file.fileno())
            else:
                file = stack.enter_context(tempfile.NamedTemporaryFile(buffering=0))
                video = OpenVideo(name, file.fileno(), file.name)
            for piece in pieces(source, name):
                while piece:
                    piece = piece[file.write(piece) :]
        except OSError as error:
            raise UserError(f"{name}: cannot be copied for decoding: {error.strerror}") from None
        yield video


def pieces(source: Encoded, name: str) -> Iterator[memoryview]:
    """The bytes of a video; see `opened` for the errors."""
    size = 0
    for piece in [source] if isinstance(source, BUFFERS) else read(source, name):
        view = memoryview(piece)
        size += view.nbytes
        if size > MOST_BYTES:
            raise UserError(
                f"{name}: larger than {MOST_BYTES / 2**30:g} GiB, the most that is taken from "
                "memory: save it as a file and give the path"
            )
        yield (view if view.c_contiguous else memoryview(view.tobytes())).cast("B")


def read(source: Readable, name: str) -> Iterator[bytes]:
    """What `source.read` returns from where it stands to its end."""
    while True:
        try:
            piece = source.read(PIECE_BYTES)
        except (OSError, ValueError, TypeError) as error:  # of a closed file, or of another read
            raise UserError(f"{name}: cannot be read: {error}") from error
        if not isinstance(piece, BUFFERS):
            if hasattr(piece, "close"):
                piece.close()  # a coroutine
            raise UserError(
                f"{name}: its read() returns {type(piece).__name__} in place of bytes: open files "
                'with "rb", and of an asynchronous upload give `await upload.read()`'
            )
        if not piece:
            return
        yield piece


def name_of(source: Encoded) -> str:
    """What messages call a video: the name of a file or an upload, or its type."""
    for attribute in ("name", "filename"):
        name = getattr(source, attribute, None)
        if isinstance(name, str) and name:
            return name if name.isprintable() else repr(name)
    return f"<{type(source).__name__}>"

"""The body of a request -> a temporary file without a name, as far as the bounds allow it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from fastapi import HTTPException, Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vid3d.inference.classifier import Source
from vid3d.serve.bounds import Bounds
from vid3d.video.decoder_handle import OpenVideo

DEFAULT_NAME = "upload"
IN_MEMORY_BYTES = 2**20  # of a body before it is written to the disk
MAX_FIELDS, MAX_FIELD_BYTES = 16, 2**16  # of a form, beside its file
DRAIN_SECONDS = 10.0
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Upload:
    """A video that has come.

    Attributes:
        name: the file's name as the client gave it; only ever shown.
        file: its bytes, deleted when it is closed.
    """

    name: str
    file: BinaryIO

    def source(self) -> Source:
        """What a classifier takes: the open file where decoding processes can read one."""
        return (
            OpenVideo(self.name, self.file.fileno()) if hasattr(os, "memfd_create") else self.file
        )


async def receive(request: Request, bounds: Bounds) -> Upload:
    """The video in the body of a request, whether a form's file or the body itself.

    Raises:
        HTTPException: 400, 408, 413, 415 or 503, as the body deserves.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    read = of_form if media == "multipart/form-data" else of_body
    if read is of_body and not (media.startswith("video/") or media == "application/octet-stream"):
        said = "send a form with a file, or the file as application/octet-stream or video/..."
        raise HTTPException(415, f"content type {media[:100]!r}: {said}")
    try:
        async with asyncio.timeout(bounds.wait_seconds):
            return await read(request, counted(request, bounds.upload_bytes))
    except TimeoutError:
        raise HTTPException(408, f"the upload took longer than {bounds.wait_seconds:g} s") from None
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from None
    except ClientDisconnect:
        raise HTTPException(400, "the upload broke off") from None
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise HTTPException(503, "no space is left for uploads", {"Retry-After": "10"}) from None


async def counted(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The pieces of a body.

    Raises:
        HTTPException: 413, as soon as there are more than `most` bytes, or are said to come.
    """
    size = 0
    announced = request.headers.get("content-length", "")
    too_large = HTTPException(413, f"more than {most / 2**20:g} MiB, the most that is taken")
    if announced.isdecimal() and int(announced) > most:
        raise too_large
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large
        yield piece


async def of_form(request: Request, stream: AsyncGenerator[bytes, None]) -> Upload:
    """The one file of a form.

    Raises:
        HTTPException: 400, there is none.
        MultiPartException: the form cannot be read, or has more.
    """
    parser = MultiPartParser(
        request.headers, stream, max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
    )
    form = await parser.parse()
    for value in form.values():
        if isinstance(value, UploadFile):
            await asyncio.to_thread(cast(SpooledTemporaryFile, value.file).rollover)
            return Upload(value.filename or DEFAULT_NAME, value.file)
    raise HTTPException(400, "the form has no file: send the video as its field 'video'")


async def of_body(request: Request, stream: AsyncGenerator[bytes, None]) -> Upload:
    """The body itself."""
    spooled = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115, the caller closes it
    file = UploadFile(cast(BinaryIO, spooled), size=0)
    try:
        async for piece in stream:
            await file.write(piece)
        await asyncio.to_thread(spooled.rollover)
    except BaseException:
        spooled.close()
        raise
    return Upload(DEFAULT_NAME, file.file)


class Drained:
    """Reads what is left of a body before an early answer, up to the bound on uploads.

    Otherwise the connection is reset while the client still sends, who then never sees the answer.
    """

    def __init__(self, app: ASGIApp, most: int):
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        # A client that waits for "100 Continue" is told to by the first call of `receive`.
        left = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        left = left and headers.get("expect", "").lower() != "100-continue"

        async def receive_noting() -> Message:
            nonlocal left
            message = await receive()
            left = message.get("more_body", False)
            return message

        async def send_after(message: Message) -> None:
            if left and message["type"] == "http.response.start":
                size = 0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_SECONDS):
                        while left and size <= self.most:
                            size += len((await receive_noting()).get("body", b""))
            await send(message)

        await self.app(scope, receive_noting, send_after)

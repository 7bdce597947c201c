"""What the requests to a server may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """Limits of a server.

    Attributes:
        upload_bytes: of the body of a request.
        seconds: of a video.
        pixels: of a frame.
        concurrent: requests that are received and labelled at a time; further ones are refused.
        wait_seconds: for the upload of a video, and again for its answer.
    """

    upload_bytes: int = 64 * 2**20
    seconds: float = 120.0
    pixels: int = 4096 * 2304
    concurrent: int = 8
    wait_seconds: float = 60.0

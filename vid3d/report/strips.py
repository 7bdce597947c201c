"""Small moving pictures of what the network saw: animated WebP, as text for a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from vid3d.data.pipeline import Clips
from vid3d.models.normalise import centre_crop

MOST_FRAMES = 12
FEW = 120  # strips, which may be larger
SIDES = (128, 96)  # pixels, of few and of many
QUALITY = 45  # of WebP
PACE = (60.0, 400.0)  # milliseconds of a frame, at least and at most
LAST = 500.0  # of the last one, before it begins again


def make(clips: Clips, videos: Sequence[int], *, most_bytes: int) -> dict[int, str]:
    """data: URIs of moving pictures by position of the video, as many as there is room for.

    Args:
        clips: of the evaluation.
        videos: positions, those that matter most first.
        most_bytes: of all of them together.
    """
    side = min(side_of(len(videos)), clips.data.size)
    found: dict[int, str] = {}
    for video in videos:
        uri = as_uri(*seen(clips, video), side=side)
        most_bytes -= len(uri)
        if most_bytes < 0:
            break
        found[video] = uri
    return found


def side_of(count: int) -> int:
    """Pixels of each of so many moving pictures."""
    return SIDES[count > FEW]


def as_uri(frames_THWC: np.ndarray, seconds_T: np.ndarray, *, side: int) -> str:
    """A moving picture as the address of itself."""
    content = moving(frames_THWC, seconds_T, side=side)
    return "data:image/webp;base64," + base64.b64encode(content).decode()


def seen(clips: Clips, video: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle one of the clips that answer for a video: uint8 [T, size, size, C], seconds [T].

    Raises:
        UserError: the prepared frames are damaged.
    """
    its = clips.plans[video].indices
    indices_T = its[len(its) // 2]
    indices_T = indices_T[np.linspace(0, len(indices_T) - 1, MOST_FRAMES).round().astype(int)]
    indices_T = indices_T[np.concatenate([[True], np.diff(indices_T) != 0])]
    frames = clips.store.load(clips.facts[video].first_record + indices_T)
    return centre_crop(frames, clips.data.size), clips.facts[video].times_N[indices_T]


def moving(frames_THWC: np.ndarray, seconds_T: np.ndarray, *, side: int) -> bytes:
    """An animated WebP that plays for ever, at about the speed of the video."""
    code = cv2.COLOR_GRAY2BGR if frames_THWC.shape[-1] == 1 else cv2.COLOR_RGB2BGR
    animation = cv2.Animation()
    animation.frames = [
        cv2.resize(cv2.cvtColor(frame, code), (side, side), interpolation=cv2.INTER_AREA)
        for frame in frames_THWC
    ]
    pauses = np.append(np.clip(np.diff(seconds_T) * 1000, *PACE), LAST)
    animation.durations = pauses.round().astype(int).tolist()
    animation.loop_count = 0
    _, content = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return content.tobytes()

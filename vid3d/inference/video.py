"""Videos while the network labels them, from their frames to their time lines."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice

import numpy as np

from vid3d import parallel
from vid3d.errors import UserError
from vid3d.inference.prediction import Segment
from vid3d.video.plan import Plan, stretches


@dataclass
class QueuedVideo:
    """A video with the clips that the network has labelled so far.

    Attributes:
        frames: returns the fitted frames from the first on, at each call.
        plan: the clips that represent it.
        num_frames: of the whole video.
        seconds: of the whole video.
        probabilities_NK: class probabilities of each clip, as far as computed.
        missing: number of clips without probabilities.
        damage: what is wrong with the file, or "".
    """

    frames: Callable[[], Iterable[np.ndarray]]
    plan: Plan
    num_frames: int
    seconds: float
    probabilities_NK: np.ndarray
    missing: int
    damage: str = ""


def label_videos(
    videos: Iterable[QueuedVideo | UserError],
    probabilities: Callable[[np.ndarray], np.ndarray],
    *,
    batch_size: int,
) -> Iterator[QueuedVideo | UserError]:
    """Runs the clips of all videos in full batches.

    While the network computes one batch, the next one is assembled.

    Args:
        videos: any number of them, or their errors.
        probabilities: the network: uint8 clips [B, T, H, W, C] -> float32 [B, K].
        batch_size: clips per call of the network, of one or several videos.

    Yields:
        The videos with the probabilities of all their clips, or their errors, in their order.
    """
    waiting: deque[QueuedVideo | UserError] = deque()

    def clips() -> Generator[tuple[QueuedVideo, int, np.ndarray]]:
        for video in videos:
            waiting.append(video)
            if isinstance(video, QueuedVideo):
                try:
                    for number, clip_THWC in gather(video.frames(), video.plan.indices):
                        yield video, number, clip_THWC
                except UserError as error:  # decoding it a second time failed
                    waiting[-1] = error

    def note(batch: list[tuple[QueuedVideo, int, np.ndarray]], computing: Future) -> None:
        for (video, number, _), row_K in zip(batch, computing.result(), strict=True):
            video.probabilities_NK[number] = row_K
            video.missing -= 1

    def finished() -> Iterator[QueuedVideo | UserError]:
        while waiting and not (isinstance(waiting[0], QueuedVideo) and waiting[0].missing):
            yield waiting.popleft()

    computing = None
    with contextlib.closing(clips()) as flow:  # a borrowed decoder goes back, whatever happens
        while batch := list(islice(flow, batch_size)):
            clips_BTHWC = np.stack([clip_THWC for _, _, clip_THWC in batch])
            following = batch, parallel.call_in_thread(probabilities, clips_BTHWC)
            if computing:
                note(*computing)
                yield from finished()
            computing = following
    if computing:
        note(*computing)
    yield from finished()


def time_line(video: QueuedVideo, classes: Sequence[str]) -> tuple[Segment, ...]:
    """Segments of neighbouring windows with the same label; empty if all have the same label."""
    windows_NK, bounds = video.probabilities_NK, video.plan.bounds
    found = stretches(windows_NK) if bounds else []
    if len(found) < 2:
        return ()
    ends = [*bounds[:-1], video.seconds]
    segments = []
    for first, stop in found:
        mean_K = np.average(
            windows_NK[first:stop], axis=0, weights=np.diff(bounds[first : stop + 1])
        )
        best = int(mean_K.argmax())
        segments.append(Segment(bounds[first], ends[stop], classes[best], float(mean_K[best])))
    return tuple(segments)


def gather(
    frames: Iterable[np.ndarray], indices: list[np.ndarray]
) -> Iterator[tuple[int, np.ndarray]]:
    """Picks clips from frames that arrive in order; keeps only frames that a clip still needs.

    Args:
        frames: uint8 [H, W, C] each.
        indices: the frame numbers of each clip, in any order.

    Yields:
        (number of the clip, uint8 [T, H, W, C]), each as soon as its last frame has arrived.
    """
    ends: dict[int, list[int]] = {}  # frame -> clips that it completes
    needed_until: dict[int, int] = {}  # frame -> last clip-completing frame that needs it
    for number, clip in enumerate(indices):
        end = int(clip.max())
        ends.setdefault(end, []).append(number)
        for i in clip.tolist():
            needed_until[i] = max(needed_until.get(i, 0), end)
    held: dict[int, np.ndarray] = {}
    for i, frame in enumerate(frames):
        if i in needed_until:
            held[i] = frame
        if i in ends:
            for number in ends[i]:
                yield number, np.stack([held[j] for j in indices[number].tolist()])
            held = {j: kept for j, kept in held.items() if needed_until[j] > i}

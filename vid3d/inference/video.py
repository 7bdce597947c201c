"""Videos while the network labels them, from their frames to their time lines."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from ml_collections import ConfigDict

from vid3d.config import apply, validate
from vid3d.errors import UserError, suggest
from vid3d.inference.prediction import UNKNOWN, Event, Prediction, Segment
from vid3d.process import call_in_thread
from vid3d.video import timeline
from vid3d.video.clips import duration
from vid3d.video.plan import (
    NO_LABEL,
    Durations,
    Plan,
    plan,
    smoothed,
    stretches,
    window_labels,
)

T = TypeVar("T")


@dataclass
class QueuedVideo:
    """A video with the clips that the network has labelled so far.

    Attributes:
        frames: returns the fitted frames from the first on, at each call.
        plan: the clips that represent it.
        settings: `config.predict`, as it is for this video.
        times_N: seconds of all its frames, float64 [N].
        probabilities_NK: class probabilities of each clip, as far as computed.
        missing: number of clips without probabilities.
        size: height and width of the frames as they came.
        damage: what is wrong with the file, or "".
        sha256: of the file; "" where it was not asked for.
        start: seconds of the first frame in the file, of a stretch of it.
    """

    frames: Callable[[], Iterable[np.ndarray]]
    plan: Plan
    settings: ConfigDict
    times_N: np.ndarray
    probabilities_NK: np.ndarray
    missing: int
    size: tuple[int, int] = (0, 0)
    damage: str = ""
    sha256: str = ""
    start: float = 0.0

    @property
    def num_frames(self) -> int:
        return len(self.times_N)

    @property
    def seconds(self) -> float:
        return duration(self.times_N)

    def windows(self) -> tuple[list[float], np.ndarray]:
        """The bounds of what the windows answer for, and their probabilities; a video that is not
        answered by windows is one.
        """
        if self.plan.bounds:
            return self.plan.bounds, self.probabilities_NK
        return [0.0, self.seconds], self.probabilities_NK.mean(axis=0, keepdims=True)

    def events(self, classes: Sequence[str]) -> tuple[Event, ...]:
        """The events of its time line; see `vid3d.video.timeline`."""
        bounds, probabilities_NK = self.windows()
        bounds = [self.start + seconds for seconds in bounds]
        settings = timeline.Settings.of(self.settings)
        return timeline.decode(bounds, probabilities_NK, classes, settings)


def queue(
    times_N: np.ndarray,
    frames: Callable[[], Iterable[np.ndarray]],
    settings: ConfigDict,
    config: ConfigDict,
    trained: Durations,
    num_classes: int,
) -> QueuedVideo:
    """Chooses the clips that represent a video.

    Args:
        times_N: seconds of all its frames, float64 [N].
        frames: returns the fitted frames from the first on, at each call.
        settings: `config.predict`, as it is for this video.
        config: the whole config.
        trained: how long the training videos are.
        num_classes: K of the probabilities.
    """
    clips = plan(
        times_N,
        config.data,
        config.eval,
        trained,
        window=settings.window,
        overlap=settings.overlap,
    )
    return QueuedVideo(
        frames=frames,
        plan=clips,
        settings=settings,
        times_N=times_N,
        probabilities_NK=np.empty((len(clips.indices), num_classes), np.float32),
        missing=len(clips.indices),
    )


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

    def clips() -> Generator[tuple[QueuedVideo, int, np.ndarray] | None]:
        for video in videos:
            waiting.append(video)
            failed = isinstance(video, UserError)
            if isinstance(video, QueuedVideo):
                try:
                    for number, clip_THWC in gather(video.frames(), video.plan.indices):
                        yield video, number, clip_THWC
                except UserError as error:  # decoding it a second time failed
                    waiting[-1], failed = error, True
            if failed and len(waiting) >= 4 * batch_size:
                yield None  # many files that fail do not hold back the answers before them

    def note(batch: list[tuple[QueuedVideo, int, np.ndarray]], computing: Future) -> None:
        for (video, number, _), row_K in zip(batch, computing.result(), strict=True):
            video.probabilities_NK[number] = row_K
            video.missing -= 1

    def finished() -> Iterator[QueuedVideo | UserError]:
        while waiting and not (isinstance(waiting[0], QueuedVideo) and waiting[0].missing):
            yield waiting.popleft()

    computing = None
    with contextlib.closing(clips()) as flow:  # a borrowed decoder goes back, whatever happens
        for batch in in_batches(flow, batch_size):
            following = None
            if batch:
                clips_BTHWC = np.stack([clip_THWC for _, _, clip_THWC in batch])
                following = batch, call_in_thread(probabilities, clips_BTHWC)
            if computing:
                note(*computing)
            yield from finished()
            computing = following
    if computing:
        note(*computing)
    yield from finished()


def settings_for_call(
    config: ConfigDict, changes: Mapping[str, Any], classes: Sequence[str]
) -> ConfigDict:
    """`config.predict` with other values for one call.

    Args:
        config: the whole config.
        changes: values of `config.predict` and, by their names alone, of `config.predict.events`.
        classes: of the model.

    Raises:
        UserError: there is no such key, a value is of another type or out of range, or
            `background` names no class.
    """
    if not changes:
        return config.predict
    changed = config.copy_and_resolve_references()
    for name, value in changes.items():
        group = "predict.events" if name in config.predict.events else "predict"
        apply(changed, f"{group}.{name}", value)
    validate(changed)
    check_background(changed.predict.events.background, classes)
    return changed.predict


def check_background(names: Sequence[str], classes: Sequence[str]) -> None:
    """Raises a UserError where a name of `predict.events.background` is none of the classes."""
    for name in names:
        if name not in classes:
            raise UserError(
                f"config.predict.events.background: the model has no class {name!r}"
                f"{suggest(name, classes)}"
            )


def answer(video: QueuedVideo, classes: Sequence[str], how: str) -> Prediction:
    """The prediction of a labelled video; `how` is `config.eval.long_videos`."""
    settings, rows_NK = video.settings, video.probabilities_NK
    smooth_NK = smoothed(rows_NK, settings.smoothing) if video.plan.bounds else rows_NK
    if how == "longest":  # of the timeline that is shown
        rows_NK = smooth_NK
    weights_N = video.plan.weights(rows_NK, how, threshold=settings.threshold)
    return Prediction.of(
        classes,
        weights_N @ rows_NK,
        num_frames=video.num_frames,
        start=video.start,
        end=video.start + video.seconds,
        segments=time_line(video, smooth_NK, classes),
        threshold=settings.threshold,
        damage=video.damage,
        note=video.plan.note,
        events=video.events(classes),
    )


def time_line(
    video: QueuedVideo, windows_NK: np.ndarray, classes: Sequence[str]
) -> tuple[Segment, ...]:
    """Segments of neighbouring windows with the same label; empty if the answer is the only one.

    Args:
        video: with the plan and the settings.
        windows_NK: smoothed probabilities of its windows.
        classes: class names in the order of the labels.
    """
    bounds, settings = video.plan.bounds, video.settings
    if not bounds:
        return ()
    labels_N = window_labels(windows_NK, settings.threshold)
    found = stretches(labels_N)
    if len(found) < 2 and not settings.smoothing:
        return ()
    ends, at = [*bounds[:-1], video.seconds], video.start
    segments = []
    for first, stop in found:
        mean_K = np.average(
            windows_NK[first:stop], axis=0, weights=np.diff(bounds[first : stop + 1])
        )
        label = int(labels_N[first])
        name = UNKNOWN if label == NO_LABEL else classes[label]
        probability = float(mean_K.max() if label == NO_LABEL else mean_K[label])
        segments.append(Segment(at + bounds[first], at + ends[stop], name, probability))
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


def in_batches(items: Iterable[T | None], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; fewer, or none, where a None asks for them, and at the end."""
    batch: list[T] = []
    for item in items:
        if item is not None:
            batch.append(item)
        if item is None or len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

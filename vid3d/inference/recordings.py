"""Long recordings, each decoded once: windows are labelled while the next frames are decoded.

Which windows a video has is only certain at its end: the last one is moved back, and their length
in frames follows the mean frame rate. So windows are taken as the frames so far suggest, and
compared with `plan` at the end. Those that differ are labelled again, from the frames that are
still there or else by decoding the file a second time, as where the frame rate varies. The answer
is that of `plan` in any case, and memory does not grow with the length of a recording.

The batches of a recording hold no clips of others, so its answer is the same to the last digit,
whatever else is labelled in the same run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vid3d import process
from vid3d.errors import UserError
from vid3d.inference import files
from vid3d.inference.classifier import BATCH_SIZE, Classifier
from vid3d.inference.video import QueuedVideo, gather, settings_for_call
from vid3d.video import decoder_pool
from vid3d.video.clips import clip_indices
from vid3d.video.kept_decoders import KEPT
from vid3d.video.windows import temporal_window

Clip = tuple[int, np.ndarray]  # its number in the plan, and uint8 [T, H, W, C]
FIRST_LOOK = 64  # frames after which a video may turn out to be long; then twice as many, and so on


def label_recordings(
    classifier: Classifier,
    paths: Sequence[str | Path],
    *,
    workers: int = 2,
    sizes: dict[str, tuple[int, int]] | None = None,
    **settings: Any,
) -> Iterator[tuple[str, QueuedVideo | UserError]]:
    """Labels the windows of recordings; `Classifier.prediction_of` makes predictions of them.

    Args:
        classifier: the network, with `config.predict`.
        paths: video files.
        workers: number of decoding processes.
        sizes: filled with the height and width of each readable video, if given.
        settings: see `Classifier.predict`.

    Yields:
        (path, the video with its probabilities, or why it cannot be read), in their order.
    """
    chosen = settings_for_call(classifier.config, settings, classifier.classes)
    names = [files.path_of(path) for path in paths]
    data = classifier.config.data
    stored, timeout = files.settings_of(data), data.decode_timeout
    network = Network(classifier)
    opened: dict[int, Recording] = {}
    ready: dict[int, QueuedVideo | UserError] = {}
    due = 0
    events = decoder_pool.decode(names, stored, workers=workers, timeout=timeout, decoders=KEPT)
    with contextlib.closing(events):
        for event in events:
            job = event.job
            if isinstance(event, decoder_pool.Frames):
                recording = opened.setdefault(job, Recording(classifier, chosen))
                frames = (files.unpack(record, stored.frame_shape) for record in event.records)
                network.label(recording, recording.add(frames, event.times))
            elif isinstance(event, decoder_pool.Again):
                opened.pop(job, None)
            elif isinstance(event, decoder_pool.Failed):
                opened.pop(job, None)
                ready[job] = UserError(f"{names[job]}: {event.reason}")
            else:
                again = partial(
                    files.fitted, names[job], stored, count=len(event.times), timeout=timeout
                )
                video = classifier.plan_video(event.times.tolist(), again, chosen)
                video.size, video.damage, video.sha256 = event.size, event.damage, event.sha256
                if sizes is not None:
                    sizes[names[job]] = event.size
                ready[job] = complete(opened.pop(job), video, network)
            while due in ready:
                yield names[due], ready.pop(due)
                due += 1


def complete(recording: Recording, video: QueuedVideo, network: Network) -> QueuedVideo | UserError:
    """Labels what is missing of a recording; returns it, or why decoding it again has failed."""
    try:
        network.label(recording, recording.rest(video))
    except UserError as error:
        return error
    network.finish(recording)
    video.probabilities_NK[:] = recording.rows_NK[: len(video.probabilities_NK)]
    video.missing = 0
    return video


class Recording:
    """One recording while it is decoded.

    Attributes:
        rows_NK: class probabilities of the clips by number, NaN where they are not computed.
        waiting: clips that are too few for a batch.
    """

    def __init__(self, classifier: Classifier, settings: ConfigDict):
        """Takes the network's windows and `config.predict`."""
        self.rows_NK = np.full((FIRST_LOOK, len(classifier.classes)), np.nan, np.float32)
        self.waiting: list[Clip] = []
        self._plan = partial(classifier.plan_video, frames=lambda: (), settings=settings)
        self._data, self._overlap = classifier.config.data, settings.overlap
        self._window = temporal_window(self._data, settings.window or classifier.window_seconds)
        self._times_N, self._count = np.empty(2 * FIRST_LOOK), 0
        self._held: dict[int, np.ndarray] = {}  # number of a frame -> the frame
        self._holds, self._is_long, self._look_at = True, False, FIRST_LOOK
        self._start = 0  # the first frame of the next window
        self._taken: list[np.ndarray] = []  # frame numbers of the clips so far

    def add(self, frames: Iterable[np.ndarray], times: Sequence[float]) -> list[Clip]:
        """Takes the next frames; returns the clips of the windows that they complete."""
        for frame_HWC, seconds in zip(frames, times, strict=True):
            if self._count == (self._data.stored_frames or -1):
                break  # the video ends here for evaluation, too
            if self._count == len(self._times_N):
                self._times_N = np.concatenate([self._times_N, np.empty_like(self._times_N)])
            self._times_N[self._count] = seconds
            if self._holds:
                self._held[self._count] = frame_HWC
            self._count += 1
        times_N = self._times_N[: self._count]
        if not self._is_long and self._count >= self._look_at:
            self._look_at = 2 * self._count
            self._is_long = bool(self._plan(times_N.tolist()).plan.bounds)
        clips = list(self._windows(times_N)) if self._is_long and self._holds else []
        held = len(self._held) * next(iter(self._held.values())).nbytes if self._held else 0
        if held > files.HELD_BYTES:
            self._holds = False
            self._held.clear()
        return clips

    def _windows(self, times_N: np.ndarray) -> Iterator[Clip]:
        """The windows that are followed by a whole one: the last of a video is another."""
        window = self._window
        while True:
            stop = window.following(times_N, self._start)
            if stop >= len(times_N) or window.following(times_N, stop) >= len(times_N):
                return
            own_N = times_N[self._start : stop]
            clip = self._start + clip_indices(own_N, self._data, sampling=window.sampling)
            yield len(self._taken), np.stack([self._held[i] for i in clip.tolist()])
            self._taken.append(clip.astype(np.int32))
            before, self._start = self._start, window.following(times_N, self._start, self._overlap)
            for number in range(before, self._start):
                del self._held[number]

    def keep(self, numbers: Sequence[int], rows_BK: np.ndarray) -> None:
        """Copies the class probabilities of some clips: a view keeps a buffer of JAX alive."""
        while max(numbers) >= len(self.rows_NK):
            self.rows_NK = np.concatenate([self.rows_NK, np.full_like(self.rows_NK, np.nan)])
        self.rows_NK[numbers] = rows_BK

    def rest(self, video: QueuedVideo) -> Iterator[Clip]:
        """The clips of a video's plan that were not taken, or as others."""
        missing: dict[int, np.ndarray] = {}
        for number, clip in enumerate(video.plan.indices):
            if number < len(self._taken) and np.array_equal(clip, self._taken[number]):
                continue
            if all(i in self._held for i in clip.tolist()):
                yield number, np.stack([self._held[i] for i in clip.tolist()])
            else:
                missing[number] = clip
        if missing:
            numbers = list(missing)
            for place, clip_THWC in gather(video.frames(), list(missing.values())):
                yield numbers[place], clip_THWC


class Network:
    """Labels full batches of a recording, one at a time, while the next one is gathered."""

    def __init__(self, classifier: Classifier):
        """Takes the network."""
        self._probabilities = classifier.probabilities
        self._computing: tuple[Recording, list[int], Future] | None = None

    def label(self, recording: Recording, clips: Iterable[Clip]) -> None:
        """Starts each batch that the clips complete."""
        for clip in clips:
            recording.waiting.append(clip)
            if len(recording.waiting) == BATCH_SIZE:
                self._start(recording)

    def finish(self, recording: Recording) -> None:
        """Labels what is left of a recording, and waits for it."""
        if recording.waiting:
            self._start(recording)
        self._wait()

    def _start(self, recording: Recording) -> None:
        self._wait()
        numbers = [number for number, _ in recording.waiting]
        clips_BTHWC = np.stack([clip_THWC for _, clip_THWC in recording.waiting])
        recording.waiting = []
        computing = process.call_in_thread(self._probabilities, clips_BTHWC)
        self._computing = recording, numbers, computing

    def _wait(self) -> None:
        if self._computing:
            recording, numbers, computing = self._computing
            self._computing = None
            recording.keep(numbers, computing.result())

"""A classifier from a checkpoint: labels files, frames in memory and streams of frames."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from ml_collections import ConfigDict

from vid3d import checkpoint as checkpoints, compilation, models, parallel
from vid3d.config import from_json
from vid3d.errors import UserError
from vid3d.inference import files, in_memory
from vid3d.inference.explain import Explainer, Explanation
from vid3d.inference.in_memory import Encoded
from vid3d.inference.prediction import Prediction
from vid3d.inference.stream import Stream, check_frame
from vid3d.inference.video import QueuedVideo, label_videos, queue, settings_for_call, time_line
from vid3d.models.normalise import clip_shape, normalise
from vid3d.process import check_fork, cores
from vid3d.video import container, resize
from vid3d.video.decoder_process import OpenVideo
from vid3d.video.decoding import Decoders
from vid3d.video.plan import Durations, smoothed

BATCH_SIZE = 8  # clips
Source = str | os.PathLike[str] | Encoded | np.ndarray | Sequence[np.ndarray]  # of a video


class Classifier:
    """The network with the weights of one checkpoint, compiled for the default device.

    Threads may use one at the same time: files are decoded side by side, one per core. A process
    that is forked afterwards cannot use it.

    Attributes:
        config: the config of the training run.
        classes: class names in the order of the labels.
        step: optimizer steps up to the checkpoint.
    """

    def __init__(
        self,
        weights: dict[str, Any],
        config: ConfigDict,
        *,
        classes: Sequence[str],
        step: int = 0,
        window_seconds: float = 0.0,
        p95_seconds: float = 0.0,
    ):
        """Takes weights in memory; `load` reads them from a workdir.

        Args:
            weights: {"params"} and, with batch normalisation, {"batch_stats"}.
            config: the whole config.
            classes: class names in the order of the labels.
            step: optimizer steps that led to the weights.
            window_seconds: median duration of the training videos; 0 if unknown.
            p95_seconds: 95th percentile of the duration of the training videos; 0 if unknown.

        Raises:
            UserError: this process was forked after JAX had started.
        """
        check_fork()
        self.config = config
        self.classes = tuple(classes)
        self.step = step
        self.window_seconds = window_seconds
        self.p95_seconds = p95_seconds
        self._weights = jax.device_put(weights)
        module = models.build(config.model, len(self.classes))

        def network(weights: dict[str, Any], clips_BTHWC: jax.Array) -> jax.Array:
            logits_BK = module.apply(weights, normalise(clips_BTHWC, config.data), train=False)
            return jax.nn.softmax(cast(jax.Array, logits_BK))  # not a tuple, as nothing is mutable

        self._network = parallel.in_shares(jax.jit(network))
        self._compiled: set[int] = set()  # batch sizes
        self._compiling = threading.Lock()
        self._explainers: dict[str, Explainer] = {}  # by method
        # Decoding processes are kept for the next call and end with the classifier. Beside one file
        # that hangs there is always room for another.
        self._decoders = Decoders(max(cores(), 2))
        weakref.finalize(self, self._decoders.end)

    @property
    def weights(self) -> dict[str, Any]:
        """{"params"} and, with batch normalisation, {"batch_stats"}."""
        return self._weights

    @classmethod
    def load(cls, workdir: str | Path, checkpoint: str = "best") -> Classifier:
        """Reads weights, config and class names of one checkpoint, but not the optimizer's state.

        What JAX compiles from then on is kept in the cache that the command line uses, unless the
        program has set a cache of its own (`jax_compilation_cache_dir`).

        Args:
            workdir: the folder of a training run.
            checkpoint: "best" (highest validation accuracy), "latest", or the number of a step.

        Raises:
            UserError: the workdir or checkpoint does not exist or is damaged, or this process was
                forked after JAX had started.
        """
        check_fork()
        compilation.set_up()
        step, weights, meta = checkpoints.load(workdir, str(checkpoint))
        trained = Durations.of(meta)
        return cls(
            weights,
            from_json(json.dumps(meta["config"])),
            classes=meta["classes"],
            step=step,
            window_seconds=trained.median,
            p95_seconds=trained.p95,
        )

    def predict(
        self,
        source: Source,
        *,
        fps: float | None = None,
        **settings: float,
    ) -> Prediction:
        """Labels one video as evaluation does; a long video is labelled by windows, on a time line.

        Files are decoded in a separate process, so that one that hangs or crashes the decoder
        raises an error, too. A file in memory gets the same answer, by the same way.

        Args:
            source: the path of a video file (str or os.PathLike); its content (bytes, bytearray or
                memoryview), or an object that it is read from (with `read(size) -> bytes`, such as
                open(path, "rb"), io.BytesIO or an upload), at most 1 GiB; or the video's frames:
                uint8 RGB [N, H, W, 3] or a list of [H, W, 3].
            fps: frame rate of frames in memory; by default the model's `data.fps`, or 25.
            settings: threshold, window, overlap and smoothing; by default those of
                `config.predict`.

        Raises:
            UserError: the file cannot be read, the frames have another type or shape, or a setting
                is out of range.
        """
        check_fork()
        chosen = settings_for_call(self.config, settings)
        with self.queued(source, chosen, fps=fps) as video:
            return self.answer(video)

    @contextlib.contextmanager
    def queued(
        self, source: Source, settings: ConfigDict, *, fps: float | None = None
    ) -> Iterator[QueuedVideo]:
        """One video and the clips that answer for it; see `predict` for the arguments."""
        if isinstance(source, (str, os.PathLike)):
            yield self._read(os.fsdecode(source), settings)
        elif in_memory.is_encoded(source):
            with in_memory.opened(source) as video:
                yield self._read(video, settings)
        else:
            yield self._take(source, fps, settings)

    def answer(self, video: QueuedVideo) -> Prediction:
        """The prediction of a queued video.

        Raises:
            UserError: the file has to be decoded once more, and that fails.
        """
        answer = next(self._answers([video], batch_size=BATCH_SIZE))
        if isinstance(answer, UserError):
            raise answer
        return answer

    def explain(self, source: Source, *, label: str = "", method: str = "gradcam") -> Explanation:
        """Where and when the network looks for a class in a video; see `explain.Explanation`.

        Args:
            source: see `predict`.
            label: the class; by default the one that `predict` answers.
            method: "gradcam" or "integrated_gradients".

        Raises:
            UserError: there is no such class or method, the video cannot be read, or the network
                has no map for Grad-CAM.
        """
        with self._compiling:
            if method not in self._explainers:
                self._explainers[method] = Explainer(self, method)
        return self._explainers[method].explain(source, label=label)

    def predict_many(
        self,
        paths: Iterable[str | Path],
        *,
        batch_size: int = BATCH_SIZE,
        workers: int = 2,
        sizes: dict[str, tuple[int, int]] | None = None,
        **settings: float,
    ) -> Iterator[tuple[str, Prediction | UserError]]:
        """Labels many files; processes decode the next ones while the network computes.

        Args:
            paths: video files.
            batch_size: clips per call of the network, of one or several videos.
            workers: number of decoding processes.
            sizes: filled with the height and width of each readable video, if given.
            settings: see `predict`.

        Yields:
            (path, prediction) in the order of `paths`, or (path, error) for an unreadable file.
        """
        check_fork()
        if min(batch_size, workers) < 1:
            raise UserError(f"batch_size={batch_size} and workers={workers} have to be at least 1")
        if isinstance(paths, (str, Path)):
            raise UserError(f"predict_many takes a list of paths: predict_many([{str(paths)!r}])")
        chosen = settings_for_call(self.config, settings)
        names = [files.path_of(path) for path in paths]
        found = files.read_many(names, self.config.data, workers=workers)

        def videos() -> Iterator[QueuedVideo | UserError]:
            for name, file in zip(names, found, strict=True):
                if isinstance(file, files.File) and sizes is not None:
                    sizes[name] = file.size
                yield self._plan_file(file, chosen) if isinstance(file, files.File) else file

        with contextlib.closing(found):
            yield from zip(names, self._answers(videos(), batch_size=batch_size), strict=True)

    def stream(self, *, fps: float | None = None) -> Stream:
        """A sliding window for your own loop over frames; `config.live` sets the smoothing.

        Args:
            fps: rate of frames that are pushed without a time; by default the model's `data.fps`,
                or 25.
        """
        return Stream(self, fps=self._rate(fps))

    def compile(self, batch_sizes: Iterable[int] | None = None, *, decoders: int = 1) -> None:
        """Does beforehand what the first calls would otherwise wait for.

        Args:
            batch_sizes: numbers of clips to compile the network for; each stands for all up to the
                next power of two. `predict` asks for the clips of a video, at most 8 at a time:
                [1] is enough for short videos if `eval.views` is 1, [1, 2, 4, 8] for any. By
                default the network is compiled for one clip, as `stream` needs it, and no decoding
                process is started.
            decoders: decoding processes to start, at most one per core: as many as there are
                threads that call `predict` with files.

        Raises:
            UserError: a number is below 1, or a decoding process cannot start.
        """
        sizes = [1] if batch_sizes is None else list(batch_sizes)
        if min([*sizes, decoders]) < 1:
            raise UserError(f"batch_sizes={sizes} and decoders={decoders} have to be at least 1")
        num_frames, *_, channels = clip_shape(self.config.data)
        shape = (num_frames, *resize.stored_size(self.config.data), channels)
        for size in sizes:
            self.probabilities(np.zeros((size, *shape), np.uint8))
        if batch_sizes is not None:
            files.start(self._decoders, decoders, self.config.data)

    def probabilities(self, clips_BTHWC: np.ndarray) -> np.ndarray:
        """Class probabilities of uint8 clips of the stored size: float32 [B, K]."""
        check_fork()
        # Batches are padded to a power of two: few shapes, few compilations.
        size = 1 << (len(clips_BTHWC) - 1).bit_length()
        padding = [(0, size - len(clips_BTHWC))] + [(0, 0)] * 4
        padded_BTHWC = np.pad(clips_BTHWC, padding)
        if size in self._compiled:
            probabilities_BK = self._network(self._weights, padded_BTHWC)
        else:
            with self._compiling:  # once, not in every thread
                probabilities_BK = self._network(self._weights, padded_BTHWC)
                self._compiled.add(size)
        return np.asarray(probabilities_BK)[: len(clips_BTHWC)]

    def _read(self, video: str | OpenVideo, settings: ConfigDict) -> QueuedVideo:
        """Decodes a file in one of the processes that are kept between calls."""
        file = files.read_one(video, self.config.data, self._decoders)
        return self._plan_file(file, settings)

    def _plan_file(self, file: files.File, settings: ConfigDict) -> QueuedVideo:
        """Chooses the clips that represent a file."""
        return replace(
            self.plan_video(file.times, file.frames, settings), size=file.size, damage=file.damage
        )

    def _take(self, source: Any, fps: float | None, settings: ConfigDict) -> QueuedVideo:
        """Fits frames in memory like those of a file."""
        if not hasattr(source, "__len__"):
            raise UserError(
                "give a video in bytes, an open file, a video's path or a list of frames, not "
                f"{type(source).__name__}"
            )
        if not len(source):
            raise UserError("there are no frames to predict from")
        rate = self._rate(fps)
        how = resize.fitting(self.config.data)
        fitted = [resize.fit(check_frame(frame), **how) for frame in source]
        video = self.plan_video([i / rate for i in range(len(fitted))], lambda: fitted, settings)
        return replace(video, size=np.asarray(source[0]).shape[:2])

    def _rate(self, fps: float | None) -> float:
        """The rate of frames that come without times."""
        if fps is not None and not 0 < fps < np.inf:
            raise UserError(f"fps={fps} has to be a number above 0")
        return fps or self.config.data.fps or container.DEFAULT_FPS

    def plan_video(
        self,
        times: list[float],
        frames: Callable[[], Iterable[np.ndarray]],
        settings: ConfigDict,
    ) -> QueuedVideo:
        """Chooses the clips that represent a video."""
        trained = Durations(self.window_seconds, self.p95_seconds)
        return queue(np.array(times), frames, settings, self.config, trained, len(self.classes))

    def _answers(
        self, videos: Iterable[QueuedVideo | UserError], *, batch_size: int
    ) -> Iterator[Prediction | UserError]:
        """The predictions or errors of videos, in their order."""
        for video in label_videos(videos, self.probabilities, batch_size=batch_size):
            yield self.prediction_of(video) if isinstance(video, QueuedVideo) else video

    def prediction_of(self, video: QueuedVideo) -> Prediction:
        """The weighted mean over the clips, and the time line."""
        settings, how = video.settings, self.config.eval.long_videos
        rows_NK = video.probabilities_NK
        smooth_NK = smoothed(rows_NK, settings.smoothing) if video.plan.bounds else rows_NK
        if how == "longest":  # of the timeline that is shown
            rows_NK = smooth_NK
        weights_N = video.plan.weights(rows_NK, how, threshold=settings.threshold)
        return Prediction.of(
            self.classes,
            weights_N @ rows_NK,
            num_frames=video.num_frames,
            start=0.0,
            end=video.seconds,
            segments=time_line(video, smooth_NK, self.classes),
            threshold=settings.threshold,
            damage=video.damage,
            note=video.plan.note,
            events=video.events(self.classes),
        )

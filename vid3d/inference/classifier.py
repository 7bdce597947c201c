"""A classifier from a checkpoint: labels files, frames in memory and streams of frames."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ml_collections import ConfigDict

from vid3d import process
from vid3d.engine.checkpointed import open_checkpoint
from vid3d.errors import UserError
from vid3d.inference import files, in_memory
from vid3d.inference.in_memory import Encoded
from vid3d.inference.prediction import Prediction
from vid3d.inference.stream import LabelStream, Stream, check_frame
from vid3d.inference.stretch import Stretches
from vid3d.inference.video import QueuedVideo, answer, label_videos, queue, settings_for_call
from vid3d.process import check_fork, cores
from vid3d.video import container, resize
from vid3d.video.decoder_handle import OpenVideo
from vid3d.video.decoder_pool import Decoders
from vid3d.video.plan import Durations

if TYPE_CHECKING:
    from vid3d.engine import Network
    from vid3d.inference.explain import Explainer, Explanation

BATCH_SIZE = 8  # clips
Source = (
    str | os.PathLike[str] | Stretches | Encoded | OpenVideo | np.ndarray | Sequence[np.ndarray]
)  # of a video


class Classifier:
    """The network with the weights of one checkpoint, compiled by JAX or OpenVINO.

    Threads may use one at the same time: files are decoded side by side, one per core. A process
    that is forked afterwards cannot use it.

    Attributes:
        config: the config of the training run.
        classes: class names in the order of the labels.
        step: optimizer steps up to the checkpoint.
        network: that labels clips; its `engine` and `precision` say how.
        limits: what a file that `predict` is given may ask for; set them before the first one.
    """

    def __init__(
        self,
        weights: dict[str, Any] | Callable[[], dict[str, Any]],
        config: ConfigDict,
        *,
        classes: Sequence[str],
        step: int = 0,
        window_seconds: float = 0.0,
        p95_seconds: float = 0.0,
        network: Network | None = None,
    ):
        """Takes weights in memory; `load` reads them from a workdir.

        Args:
            weights: {"params"} and, with batch normalisation, {"batch_stats"}; beside a `network`
                a function that loads them.
            config: the whole config.
            classes: class names in the order of the labels.
            step: optimizer steps that led to the weights.
            window_seconds: median duration of the training videos; 0 if unknown.
            p95_seconds: 95th percentile of those durations; 0 if unknown.
            network: with these weights; None is one by JAX.

        Raises:
            UserError: this process was forked after JAX had started.
        """
        check_fork()
        self.config = config
        self.classes = tuple(classes)
        self.step = step
        self.window_seconds, self.p95_seconds = window_seconds, p95_seconds
        if network is None:
            with process.without_gc():
                from vid3d.engine.jax_network import JaxNetwork

            network = JaxNetwork(cast(dict, weights), config, len(self.classes))
        self.network = network
        self._weights = getattr(network, "weights", weights)
        self._explainers: dict[str, Explainer] = {}  # by method
        self.limits = files.NO_LIMITS
        # Decoding processes are kept for the next call and end with the classifier. Beside one file
        # that hangs there is always room for another.
        self._decoders = Decoders(max(cores(), 2))
        weakref.finalize(self, self._decoders.end)

    @property
    def weights(self) -> dict[str, Any]:
        """{"params"} and, with batch normalisation, {"batch_stats"}; read now if not before."""
        if callable(self._weights):
            self._weights = self._weights()
        return self._weights

    @classmethod
    def load(
        cls,
        workdir: str | Path,
        checkpoint: str = "best",
        *,
        engine: str = "jax",
        precision: str = "f32",
    ) -> Classifier:
        """Reads a checkpoint, but not the optimizer's state.

        What is compiled is kept in the cache that the command line uses; JAX's, unless the program
        has set a cache of its own (`jax_compilation_cache_dir`). OpenVINO is compared with JAX
        once, and from then on neither JAX nor the weights are loaded.

        Args:
            workdir: the folder of a training run.
            checkpoint: "best" (highest validation accuracy), "latest", or the number of a step.
            engine: "jax"; "openvino", on CPUs; or "auto", the one that was faster here.
            precision: of OpenVINO: "f32", or "bf16" on processors that have it.

        Raises:
            UserError: the workdir or checkpoint does not exist or is damaged, the engine is not
                installed or cannot take the network, or this process was forked after a network
                had started.
        """
        check_fork()
        found = open_checkpoint(workdir, str(checkpoint), engine=engine, precision=precision)
        trained, config = Durations.of(found.meta), found.config
        if config.data.background in found.meta["classes"]:  # what is no event of the training
            config.predict.events.background += (config.data.background,)
        return cls(
            found.weights,
            config,
            classes=found.meta["classes"],
            step=found.step,
            window_seconds=trained.median,
            p95_seconds=trained.p95,
            network=found.network,
        )

    def predict(
        self,
        source: Source,
        *,
        fps: float | None = None,
        **settings: Any,
    ) -> Prediction:
        """Labels one video as evaluation does; a long video is labelled by windows, on a time line.

        Files are decoded in a separate process, so that one that hangs or crashes the decoder
        raises an error, too. A file in memory gets the same answer, by the same way.

        Args:
            source: the path of a video file (str or os.PathLike); its content (bytes, bytearray or
                memoryview), or an object that it is read from (with `read(size) -> bytes`, such as
                open(path, "rb"), io.BytesIO or an upload), at most 1 GiB; or the video's frames:
                uint8 RGB [N, H, W, 3] or a list of [H, W, 3]; or `vid3d.stretch` of a file.
            fps: frame rate of frames in memory; by default the model's `data.fps`, or 25.
            settings: threshold, window, overlap and smoothing of `config.predict`, whose values
                are the defaults; for the events those of `config.predict.events`, such as
                background=["other"] or shortest=0.5.

        Raises:
            UserError: the file cannot be read, the frames have another type or shape, or a setting
                is out of range.
        """
        check_fork()
        chosen = settings_for_call(self.config, settings, self.classes)
        with self.queued(source, chosen, fps=fps) as video:
            return self.predict_queued(video)

    @contextlib.contextmanager
    def queued(
        self, source: Source, settings: ConfigDict, *, fps: float | None = None
    ) -> Iterator[QueuedVideo]:
        """One video and the clips that answer for it; see `predict` for the arguments."""
        if isinstance(source, (OpenVideo, Stretches)):
            yield self._read(source, settings)
        elif isinstance(source, (str, os.PathLike)):
            yield self._read(os.fsdecode(source), settings)
        elif in_memory.is_encoded(source):
            with in_memory.opened(source) as video:
                yield self._read(video, settings)
        else:
            yield self._take(source, fps, settings)

    def predict_queued(self, video: QueuedVideo) -> Prediction:
        """The prediction of a queued video.

        Raises:
            UserError: the file has to be decoded once more, and that fails.
        """
        found = next(self._answers([video], batch_size=BATCH_SIZE))
        if isinstance(found, UserError):
            raise found
        return found

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
        return self.explainer(method).explain(source, label=label)

    def explainer(self, method: str = "gradcam") -> Explainer:
        """What `explain` explains with, by one method; see there for the errors."""
        from vid3d.inference.explain import Explainer

        if method not in self._explainers:
            self._explainers[method] = Explainer(self, method)
        return self._explainers[method]

    def predict_many(
        self,
        paths: Iterable[str | Path | Stretches],
        *,
        batch_size: int = BATCH_SIZE,
        workers: int = 2,
        sizes: dict[str, tuple[int, int]] | None = None,
        **settings: Any,
    ) -> Iterator[tuple[str, Prediction | UserError]]:
        """Labels many files; processes decode the next ones while the network computes.

        Args:
            paths: video files, or stretches of some.
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
        chosen = settings_for_call(self.config, settings, self.classes)
        sources = [p if isinstance(p, Stretches) else files.path_of(p) for p in paths]
        names = [str(video) for video in sources]
        found = files.read_many(sources, self.config.data, workers=workers)

        def videos() -> Iterator[QueuedVideo | UserError]:
            for name, file in zip(names, found, strict=True):
                if isinstance(file, files.File) and sizes is not None:
                    sizes[name] = file.size
                yield self._plan_file(file, chosen) if isinstance(file, files.File) else file

        with contextlib.closing(found):
            yield from zip(names, self._answers(videos(), batch_size=batch_size), strict=True)

    def stream(self, *, fps: float | None = None, mode: str | None = None) -> LabelStream:
        """Labels for your own loop over frames; `config.live` sets the smoothing.

        Args:
            fps: rate of frames that are pushed without a time; by default the model's `data.fps`,
                or 25.
            mode: "clip" computes the clip of the newest frames, "stream" only what is new, see
                `ContinualStream`; by default `config.live.mode`.

        Raises:
            UserError: another mode, or the network has no form that takes a frame at a time.
        """
        mode = mode or self.config.live.mode
        if mode == "clip":
            return Stream(self, fps=self._rate(fps))
        if mode != "stream":
            raise UserError(f"mode={mode!r} is not one of clip, stream")
        from vid3d.inference.continual_stream import ContinualStream

        return ContinualStream(self, fps=self._rate(fps))

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
        shape = resize.stored_shape(self.config.data)
        for size in sizes:
            self.probabilities(np.zeros((size, *shape), np.uint8))
        if batch_sizes is not None:
            files.start(self._decoders, decoders, self.config.data, self.limits)

    def probabilities(self, clips_BTHWC: np.ndarray) -> np.ndarray:
        """Class probabilities of uint8 clips of the stored size: float32 [B, K]."""
        return self.network(clips_BTHWC)

    def _read(self, video: str | OpenVideo | Stretches, settings: ConfigDict) -> QueuedVideo:
        """Decodes a file in one of the processes that are kept between calls."""
        file = files.read_one(video, self.config.data, self._decoders, self.limits)
        return self._plan_file(file, settings)

    def _plan_file(self, file: files.File, settings: ConfigDict) -> QueuedVideo:
        """Chooses the clips that represent a file."""
        video = self.plan_video(file.times, file.frames, settings)
        return replace(video, size=file.size, damage=file.damage, start=file.start)

    def _take(self, source: Any, fps: float | None, settings: ConfigDict) -> QueuedVideo:
        """Fits frames in memory like those of a file."""
        files.check_frames(source)
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
        return answer(video, self.classes, self.config.eval.long_videos)

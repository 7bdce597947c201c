"""The progress line with the time left, metrics.jsonl, timings.jsonl, TensorBoard.

Process 0 alone writes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vid3d import compilation, parallel, storage, terminal
from vid3d.checkpoint import Workdir
from vid3d.checkpoint.rows import append_row, cut_rows
from vid3d.training import steps
from vid3d.training.augment import augment
from vid3d.training.log import RunLog
from vid3d.training.tensorboard import Board
from vid3d.training.time_left import TimeLeft, duration

PLAIN_INTERVAL = 10.0  # seconds between two progress lines where there is no terminal
LONG_COMPILATION = 5.0  # seconds
LINES_BEFORE_DOUBLING, LONGEST_INTERVAL = 60, 600.0  # so that a long run's log stays short


def open_recorder(
    workdir: Workdir,
    *,
    first_step: int,
    last_step: int,
    steps_per_epoch: int,
    eval_every: int,
    config: ConfigDict,
    log: RunLog,
) -> AnyRecorder:
    """The recorder of this process: only process 0 writes."""
    if not parallel.is_main():
        return SilentRecorder()
    return Recorder(
        workdir,
        first_step=first_step,
        last_step=last_step,
        steps_per_epoch=steps_per_epoch,
        eval_every=eval_every,
        batch_size=config.train.batch_size,
        log=log,
    )


class Recorder:
    """The one writer of a workdir's records.

    `metrics.jsonl` holds only what a repeat of the run reproduces, `timings.jsonl` the clocks. Rows
    beyond the step that is resumed from are cut, so that none is missing, doubled or torn.
    """

    def __init__(
        self,
        workdir: Workdir,
        *,
        first_step: int,
        last_step: int,
        steps_per_epoch: int,
        batch_size: int,
        eval_every: int = 0,
        log: RunLog | None = None,
    ):
        self.workdir = workdir
        self.last_step = last_step
        self.steps_per_epoch, self.batch_size = steps_per_epoch, batch_size
        for path in (workdir.metrics_file, workdir.timings_file):
            cut_rows(path, last=first_step)
        self.events = storage.Staged(workdir.tensorboard_folder)
        self.board = Board(self.events.local, purge_step=first_step + 1)
        self.log = log
        console = terminal.training_console()
        self.bar = terminal.LineBar(console, total=last_step, completed=first_step)
        self.bar.show(first_step, [f"step {first_step}/{last_step}  compiling"])
        self.bar.start()
        self.printed, self.num_printed = time.perf_counter(), 0
        self.time_left = TimeLeft(last_step, eval_every)
        self.restart_clock(first_step)

    def warn_of_gaps(self, *, every: int, last: int) -> None:
        """Says which of the evaluations, one per `every` steps, have no row any more."""
        found = {row["step"] for row in self.workdir.rows()}
        if lost := [step for step in range(every, last + 1, every) if step not in found]:
            numbers = ", ".join(map(str, lost[:3])) + ", ..." * (len(lost) > 3)
            self.say(
                f"warning: {self.workdir.metrics_file} has lost the rows of {len(lost)} "
                f"evaluations (step {numbers}), and nothing writes them again"
            )

    def restart_clock(self, step: int) -> None:
        """Starts a new interval of timings."""
        self.clock, self.clock_step, self.waited = time.perf_counter(), step, 0.0
        self.compiled = compilation.seconds()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as waiting for data."""
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start

    def rates(self, step: int) -> dict[str, float]:
        """Clips per second and the share of time spent waiting for data, since `restart_clock`.

        Time in which JAX compiled does not count.
        """
        compiling = compilation.seconds() - self.compiled
        seconds = max(time.perf_counter() - self.clock - compiling, 1e-9)
        return {
            "clips_per_second": (step - self.clock_step) * self.batch_size / seconds,
            "data_wait_fraction": min(self.waited / seconds, 1.0),
            "seconds": seconds,
        }

    def show(self, step: int, *, loss: float, accuracy: float) -> None:
        """Updates the bar; now and then adds a line to the log, and prints it without a bar."""
        rates = self.rates(step)
        now = time.perf_counter()
        left = self.time_left.after(step)
        where = f"epoch {step / self.steps_per_epoch:.1f}", f"step {step}/{self.last_step}"
        speed = f"{rates['clips_per_second']:.1f} clips/s"
        waiting = f"{rates['data_wait_fraction']:.0%} waiting for data"
        rest = "? left" if left is None else self.time_left.words(left)
        scores = f"loss {loss:.3f}", f"accuracy {accuracy:.3f}"
        self.bar.show(
            step, narrowing(where, scores, (speed, waiting), (rest,) * (left is not None))
        )
        pause = min(
            PLAIN_INTERVAL * 2 ** (self.num_printed // LINES_BEFORE_DOUBLING), LONGEST_INTERVAL
        )
        if now - self.printed > pause:
            self.printed, self.num_printed = now, self.num_printed + 1
            line = f"{', '.join(where)}: {', '.join((*scores, speed, waiting, rest))}"
            if not self.bar.animated:
                self.say(line)
            elif self.log:
                self.log.add(line)

    def pause(self, *, evaluating: bool) -> contextlib.AbstractContextManager[None]:
        """See `TimeLeft.pause`."""
        return self.time_left.pause(evaluating=evaluating)

    def compiled_in(self, seconds: float) -> None:
        """Says how long compiling took, where one had to wait for it."""
        if seconds > LONG_COMPILATION:
            self.say(f"compiled in {duration(seconds)}")

    def say(self, line: str) -> None:
        """Prints one line above the bar, on standard error."""
        self.bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def row(
        self,
        step: int,
        measured: dict[str, dict[str, float]],
        *,
        learning_rate: float,
        improved: bool,
        rates: dict[str, float],
    ) -> None:
        """Writes the figures of one evaluation everywhere.

        Args:
            step: optimizer steps done.
            measured: loss and accuracy of "train", the mean over the steps since the last row, and,
                where they were evaluated, of "val" and "train_eval".
            learning_rate: of the step.
            improved: whether to say that this evaluation is the best.
            rates: of the training before the evaluation.
        """
        epoch = step / self.steps_per_epoch
        figures = {
            f"{what}/{name}": value
            for what, scores in measured.items()
            for name, value in scores.items()
        }
        figures["learning_rate"] = learning_rate
        append_row(self.workdir.timings_file, {"step": step, "epoch": epoch} | rates)
        append_row(self.workdir.metrics_file, {"step": step, "epoch": epoch} | figures)
        for name, value in (figures | rates).items():
            self.board.add_scalar(name, value, step)
        self.board.flush()
        self.board.check()
        self.events.send()
        self.say(
            f"epoch {epoch:g}: "
            + "; ".join(f"{WORDS[what]} {losses(scores)}" for what, scores in measured.items())
            + (", the best so far" if improved else "")
        )
        self.restart_clock(step)

    def image(self, name: str, image_HWC: np.ndarray, step: int) -> None:
        """Adds a uint8 picture to TensorBoard."""
        self.board.add_image(name, image_HWC, step, dataformats="HWC")

    def close(self) -> None:
        self.bar.stop()
        self.board.close()
        self.events.close()


def clip_strip(batch: dict[str, jax.Array], config: ConfigDict, *, flip: bool) -> np.ndarray:
    """Up to four augmented training clips of step 0 as a picture: one per row, frames in order."""

    @jax.jit  # one program instead of forty
    def look(round_B: jax.Array, index_B: jax.Array, clips_BTHWC: jax.Array) -> jax.Array:
        keys_B = steps.augmentation_keys(config.seed, round_B, index_B)
        return augment(keys_B, clips_BTHWC, config.data, config.augment, flip=flip)

    names = ("round_B", "index_B", "clips_BTHWC")
    seen = np.asarray(look(*(parallel.unshard(batch[name])[:4] for name in names)))
    pixels = (seen * np.array(config.data.std) + np.array(config.data.mean)) * 255
    frames = np.clip(pixels.round(), 0, 255).astype(np.uint8)
    rows = [np.concatenate(list(clip_THWC), axis=1) for clip_THWC in frames]
    strip = np.concatenate(rows, axis=0)
    return np.repeat(strip, 3, axis=2) if strip.shape[2] == 1 else strip


class SilentRecorder:
    """The recorder of the other hosts: accepts every call and writes nothing."""

    def waiting(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()

    def pause(self, *, evaluating: bool) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


AnyRecorder = Recorder | SilentRecorder


WORDS = {
    "train": "training",
    "val": "validation",
    "train_eval": "training videos as in validation",
}


def narrowing(
    where: Sequence[str], scores: Sequence[str], speed: Sequence[str], left: Sequence[str]
) -> list[str]:
    """The progress in one line, from all figures to those that matter most, in fewer characters."""
    lines = ["  ".join((*where, *scores, *some, *left)) for some in (speed, speed[:1], ())]
    short = " ".join((*where, *scores, *left)).replace("accuracy", "acc")
    return [*lines, short, short.replace(where[1], where[1].partition("/")[0])]


def losses(scores: dict[str, float]) -> str:
    """ "loss 0.6931, accuracy 0.500"."""
    return f"loss {scores['loss']:.4f}, accuracy {scores['accuracy']:.3f}"


class Profile:
    """Writes the JAX profile of some steps to the workdir; a context manager."""

    def __init__(self, workdir: Workdir, span: tuple[int, ...]):
        """Takes `train.profile_steps`: (first, last), or () for none."""
        self.folder = workdir.profile_folder
        self.span = span if parallel.is_main() else ()
        self.staged: storage.Staged | None = None  # while the profile is recorded

    def at(self, step: int) -> None:
        """To be called before each step."""
        if not self.span:
            return
        inside = self.span[0] <= step <= self.span[1]
        if inside and not self.staged:
            self.staged = storage.Staged(self.folder)
            jax.profiler.start_trace(str(self.staged.local))
        elif not inside:
            self.stop()

    def stop(self) -> None:
        if self.staged:
            jax.profiler.stop_trace()
            self.staged.close()
            self.staged = None

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

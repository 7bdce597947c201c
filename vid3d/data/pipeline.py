"""tf.data: from prepared shards to batches.

A batch is a dict of numpy arrays: `clips_BTHWC` uint8 (evaluation: `clips_BVTHWC`, V clips of one
video), `labels_B` int32, `mask_B` float32 (0 marks padding), `index_B` int32, the position of the
video in its split, and `round_B` int32, how often it was drawn before (the epoch, unless classes
are balanced). The order is a function of (seed, epoch) alone: nothing is buffered that a resume
would have to restore, and each host computes its own slice of the same global batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
from ml_collections import ConfigDict

from vid3d.data.prepared import Prepared
from vid3d.data.store import FrameStore
from vid3d.errors import UserError
from vid3d.tf import quiet_tensorflow
from vid3d.video.clips import clip_indices
from vid3d.video.plan import UNKNOWN, Durations, plan

Batch = dict[str, np.ndarray]


class Clips:
    """Random access to the clips of a split, from memory where they fit, else from the shards.

    Training draws a clip of each video. In evaluation each has a plan, `eval.views` clips or the
    windows of a long video, which comes in rows of `eval.views` clips: one row per video, more for
    a long one.
    """

    def __init__(
        self,
        prepared: Prepared,
        split: str,
        data: ConfigDict,
        *,
        evaluation: ConfigDict | None = None,
        trained: Durations = UNKNOWN,
        most: int | None = None,
    ):
        """Finds the split's readable videos and their frames; loads nothing yet.

        Args:
            prepared: the shards.
            split: "train", "val" or "test".
            data: `config.data`.
            evaluation: `config.eval`; None for training clips.
            trained: how long the training videos are, for evaluation.
            most: how many videos, evenly spaced in the split's order; None is all.
        """
        self.videos = tuple(v for v in prepared.index.split(split) if v.name in prepared.facts)
        if most is not None and most < len(self.videos):
            places = (place * len(self.videos) // most for place in range(most))
            self.videos = tuple(self.videos[place] for place in places)
        self.num_expected = len(prepared.index.split(split))
        self.data = data
        self.evaluation = evaluation
        self.views = evaluation.views if evaluation else 0
        self.facts = [prepared.facts[v.name] for v in self.videos]
        times = [facts.times_N for facts in self.facts]
        self.plans = [plan(t, data, evaluation, trained) for t in times] if evaluation else []
        rows = [
            (video, first)
            for video, its in enumerate(self.plans)
            for first in range(0, len(its.indices), self.views)
        ]
        self.rows_R2 = np.array(rows, np.int64).reshape(-1, 2)
        label_of = {name: i for i, name in enumerate(prepared.index.classes)}
        self.labels_N = np.array([label_of[v.label] for v in self.videos], np.int32)
        self.frame_shape = prepared.frame_shape
        self.store = FrameStore(prepared)
        self.frames: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.videos)

    def hashes(self) -> dict[str, str]:
        """Name -> content of each video of the split."""
        return {v.name: f.sha256 for v, f in zip(self.videos, self.facts, strict=True)}

    def durations(self) -> Durations:
        """How long the split's videos are."""
        seconds_N = [f.times_N[-1] + 1 / f.fps for f in self.facts]
        return Durations(float(np.median(seconds_N)), float(np.quantile(seconds_N, 0.95)))

    def note(self) -> str:
        """How many videos are not answered like those of training length, and how; otherwise ""."""
        noted = [(v.name, p.note) for v, p in zip(self.videos, self.plans, strict=True) if p.note]
        if not noted:
            return ""
        name, note = noted[0]
        count = f"{len(noted)} of {len(self)} videos"
        return f"{count} are not answered like those of training length: {name}, for one, {note}"

    def records(self, index: int, position: float) -> np.ndarray:
        """Record numbers of a video's training clip that starts at this position, int64 [T]."""
        facts, sampling = self.facts[index], self.data.sampling
        return facts.first_record + clip_indices(
            facts.times_N, self.data, sampling=sampling, position=position
        )

    def row_records(self, row_B: np.ndarray) -> np.ndarray:
        """Record numbers of rows of evaluation, int64 [B, V, T].

        A row that is not full repeats its last clip.
        """
        rows = []
        for video, first in self.rows_R2[row_B].tolist():
            clips = self.plans[video].indices[first : first + self.views]
            clips = [*clips, *[clips[-1]] * (self.views - len(clips))]
            rows.append(self.facts[video].first_record + np.stack(clips))
        return np.stack(rows)

    def needed_records(self) -> np.ndarray:
        """Every record that any clip of the split can ask for, int64, ascending."""
        if self.evaluation:
            pieces = [
                facts.first_record + np.unique(its.indices)
                for facts, its in zip(self.facts, self.plans, strict=True)
            ]
        elif self.data.sampling in ("first", "center"):
            pieces = [self.records(i, 0.5) for i in range(len(self))]
        else:
            pieces = [np.arange(f.first_record, f.first_record + f.num_frames) for f in self.facts]
        return np.unique(np.concatenate(pieces)) if pieces else np.zeros(0, np.int64)

    def hold_in_memory(self, budget_bytes: int) -> int:
        """Loads the split's frames if they fit.

        Returns the bytes they take, 0 where they stream instead.
        """
        needed = self.needed_records()
        size = len(needed) * int(np.prod(self.frame_shape))
        if size > budget_bytes:
            return 0
        self.needed = needed
        self.frames = self.store.load(needed)
        self.store.close()
        return size

    def draw_positions(
        self, index_B: np.ndarray, *, seed: int, epoch: int | np.ndarray
    ) -> list[float]:
        """Where each training clip starts, from (seed, epoch, index) alone.

        Each clip may have an epoch of its own.
        """
        if self.data.sampling in ("first", "center"):
            return [0.5] * len(index_B)
        draws = []
        for index, its_epoch in zip(index_B, np.broadcast_to(epoch, len(index_B)), strict=True):
            bits = np.random.Philox(key=seed, counter=[int(index), int(its_epoch), 0, 0])
            draws.append(np.random.Generator(bits).random())
        return draws

    def batch_records(
        self, index_B: np.ndarray, *, seed: int = 0, epoch: int | np.ndarray = 0
    ) -> np.ndarray:
        """Record numbers of a batch of training clips, int64 [B, T]."""
        positions = self.draw_positions(index_B, seed=seed, epoch=epoch)
        return np.stack([self.records(int(i), p) for i, p in zip(index_B, positions, strict=True)])

    def read(self, records: np.ndarray) -> np.ndarray:
        """The frames of these records, uint8 [..., H, W, C], from memory or from the shards."""
        if self.frames is not None:
            return self.frames[np.searchsorted(self.needed, records)]
        return self.store.load(records.ravel()).reshape(*records.shape, *self.frame_shape)


def steps_per_epoch(num_videos: int, batch_size: int) -> int:
    """Whole batches in an epoch; the remainder, another one each epoch, is dropped.

    Raises:
        UserError: there are fewer videos than a batch holds.
    """
    if num_videos < batch_size:
        raise UserError(
            f"{num_videos} training videos are fewer than config.train.batch_size={batch_size}: "
            "take a smaller batch or more videos"
        )
    return num_videos // batch_size


def train_batches(
    clips: Clips,
    *,
    seed: int,
    batch_size: int,
    first_step: int,
    last_step: int,
    balance: bool = False,
    host: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """This host's share of the global batches of steps first_step <= step < last_step.

    Each epoch is a permutation of the split (`tf.random.experimental.index_shuffle`, a cipher keyed
    by (seed, epoch)). Where there are few videos, the cipher looks only at eight bits of a key: it
    is applied once per eight bits. With `balance` an epoch is as long, but has every class equally
    often: see `balanced`.
    """
    tf = quiet_tensorflow()

    share = batch_size // host[1]
    per_epoch = steps_per_epoch(len(clips), batch_size)
    draw = balanced(clips.labels_N, seed=seed) if balance else None
    bits = max(seed, last_step // per_epoch).bit_length()

    @tf.autograph.experimental.do_not_convert
    def order(step):
        epoch = step // per_epoch
        start = (step % per_epoch) * batch_size + host[0] * share
        shuffled = start + tf.range(share, dtype=tf.int64)
        for shift in range(0, max(bits, 1), 8):
            key = tf.stack([tf.constant(seed, tf.int64), epoch]) // 2**shift
            again = tf.random.experimental.index_shuffle(shuffled, key, len(clips) - 1)
            shuffled = tf.where(shift == 0 or tf.reduce_any(key > 0), again, shuffled)
        if draw:
            pair = tf.numpy_function(draw, [shuffled, epoch], [tf.int64, tf.int64], stateful=False)
            return tuple(tf.ensure_shape(x, [share]) for x in pair)
        return shuffled, tf.fill([share], epoch)

    steps = tf.data.Dataset.range(first_step, last_step)
    return assemble(steps.map(order), clips, share, seed=seed)


def balanced(
    labels_N: np.ndarray, *, seed: int
) -> Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]:
    """An order in which the classes are drawn equally often, up to one video per epoch.

    A class goes through a permutation of its videos, then through another one, across the epochs:
    none of its videos is drawn twice before all were drawn once.

    Returns:
        draw(places, epoch) -> (positions in the split, how often each was drawn before), int64;
        places are those of an epoch of N, in any order.
    """
    members = [np.flatnonzero(labels_N == label) for label in np.unique(labels_N)]
    whole, rest = divmod(len(labels_N), len(members))

    @functools.lru_cache(maxsize=4 * len(members))
    def permuted(label: int, times: int) -> np.ndarray:
        # The 1 keeps these numbers apart from those of `draw_positions`.
        bits = np.random.Philox(key=seed, counter=[label, times, 1, 0])
        return np.random.Generator(bits).permutation(members[label])

    def draw(places: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        drawn, epoch = [], int(epoch)
        # An epoch draws every class `whole` times, and `rest` classes, which change with the epoch,
        # once more.
        cycles, started = divmod(epoch, len(members))
        for place in places.tolist():
            label = (place + epoch) % len(members)
            more = cycles * rest + np.count_nonzero(
                (label - np.arange(started)) % len(members) < rest
            )
            number = epoch * whole + int(more) + place // len(members)
            times, inside = divmod(number, len(members[label]))
            drawn.append((permuted(label, times)[inside], times))
        index, rounds = np.array(drawn, np.int64).T
        return index, rounds

    return draw


def eval_batches(
    clips: Clips, *, batch_size: int, host: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """This host's share of the batches that hold each row of clips once, in order.

    The last one is padded and masked.

    Over all hosts the rows of a batch come in the order of the hosts.
    """
    tf = quiet_tensorflow()

    share = batch_size // host[1]
    total = -(-len(clips.rows_R2) // batch_size) * batch_size

    @tf.autograph.experimental.do_not_convert
    def order(start):
        places = start + host[0] * share + tf.range(share, dtype=tf.int64)
        return places, tf.zeros([share], tf.int64)

    return assemble(tf.data.Dataset.range(0, total, batch_size).map(order), clips, share, seed=0)


def assemble(order, clips: Clips, share: int, *, seed: int) -> Iterator[Batch]:
    """Turns a tf.data.Dataset of (places, rounds), [share] each, into batches.

    Places past the end are padding.

    A place is that of a video in the split, in evaluation that of a row of clips.

    Raises:
        UserError: a shard that is read for a batch is not what was written, or cannot be read.
    """
    tf = quiet_tensorflow()
    damage: list[UserError] = []

    name = "clips_BVTHWC" if clips.views else "clips_BTHWC"
    shape = (share, *[clips.views] * bool(clips.views), clips.data.num_frames, *clips.frame_shape)
    videos_P = clips.rows_R2[:, 0] if clips.views else np.arange(len(clips))

    def read(place_B, round_B):
        inside = np.minimum(place_B, len(videos_P) - 1)
        try:
            if clips.views:
                return clips.read(clips.row_records(inside))
            return clips.read(clips.batch_records(inside, seed=seed, epoch=round_B))
        except UserError as error:
            damage.append(error)  # TensorFlow raises an error of its own instead
            raise

    @tf.autograph.experimental.do_not_convert
    def load(place_B, round_B):
        pixels = tf.numpy_function(read, [place_B, round_B], tf.uint8, stateful=False)
        index_B = tf.gather(videos_P, tf.minimum(place_B, len(videos_P) - 1))
        return {
            name: tf.ensure_shape(pixels, shape),
            "labels_B": tf.gather(clips.labels_N, index_B),
            "mask_B": tf.cast(place_B < len(videos_P), tf.float32),
            "index_B": tf.cast(index_B, tf.int32),
            "round_B": tf.cast(round_B, tf.int32),
        }

    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    batches = order.map(load, num_parallel_calls=2).prefetch(4).with_options(options)
    try:
        yield from batches.as_numpy_iterator()
    except tf.errors.OpError as error:
        raise next(iter(damage), error) from None

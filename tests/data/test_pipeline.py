"""The order of clips: each video once per epoch, the same for any number of hosts and restarts."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from vid3d.data import pipeline, prepare
from vid3d.errors import UserError
from vid3d.training.steps import augmentation_keys
from vid3d.video.clips import clip_indices
from vid3d.video.plan import Durations

LONGER = Durations(median=9.0)  # than all videos here


@pytest.fixture
def clips(settings, two_classes, warm_cache):
    def make(
        split: str = "train",
        *,
        views: int = 0,
        in_memory: bool = True,
        trained: Durations = LONGER,
        **changed,
    ):
        for key, value in changed.items():
            settings.data[key] = value
        prepared = prepare.prepare(settings, quiet=True)
        settings.eval.views = max(views, 1)
        evaluation = settings.eval if views else None
        found = pipeline.Clips(
            prepared, split, settings.data, evaluation=evaluation, trained=trained
        )
        if in_memory:
            assert found.hold_in_memory(2**30)
        else:
            assert not found.hold_in_memory(1)
        return found

    return make


def train(
    clips, *, first: int, last: int, batch_size: int = 4, host=(0, 1), seed: int = 0
) -> list[dict]:
    return list(
        pipeline.train_batches(
            clips, seed=seed, batch_size=batch_size, first_step=first, last_step=last, host=host
        )
    )


def test_epochs_are_permutations_of_the_videos(clips):
    found = clips()
    per_epoch = pipeline.steps_per_epoch(len(found), 2)
    epochs = [
        [int(i) for batch in train(found, first=first, last=first + per_epoch, batch_size=2)
         for i in batch["index_B"]]
        for first in range(0, 3 * per_epoch, per_epoch)
    ]  # fmt: skip
    for order in epochs:
        assert len(set(order)) == len(order) == per_epoch * 2
        assert set(order) <= set(range(len(found)))
    assert epochs[0] != epochs[1] != epochs[2]


def test_order_depends_on_seed_and_epoch_alone(clips):
    found = clips()
    found.videos, found.facts, found.labels_N = (
        found.videos[:12],
        found.facts[:12],
        found.labels_N[:12],
    )
    order = [batch["index_B"].tolist() for batch in train(found, first=0, last=6)]
    assert order == [
        [0, 9, 1, 8], [4, 10, 3, 6], [7, 2, 5, 11],
        [1, 11, 5, 4], [3, 2, 6, 0], [9, 7, 8, 10],
    ]  # fmt: skip
    other = [batch["index_B"].tolist() for batch in train(found, first=0, last=6, seed=1)]
    assert other != order


@pytest.mark.parametrize(
    ("workers", "hosts", "restarts"),
    [
        (1, 1, ()),
        pytest.param(2, 2, (3,), marks=pytest.mark.slow),
        pytest.param(4, 4, (1, 2, 7), marks=pytest.mark.slow),
    ],
)
def test_clips_equal_the_golden_file(clips, two_classes, warm_cache, workers, hosts, restarts):
    """Video, frames and augmentation of each clip are the same in any version of vid3d.

    However many processes decoded the videos, whatever hosts share the batches and wherever the run
    was interrupted.
    """
    shutil.rmtree(warm_cache)
    golden = json.loads((Path(__file__).parent / "golden_clips.json").read_text())
    splits = dict.fromkeys((path for _, path, *_ in golden), "train")
    rows = [
        f"{path},{path.partition('/')[0]},{splits.get(path, 'test')}"
        for path in (file.relative_to(two_classes).as_posix() for file in two_classes.glob("*/*"))
    ]
    (two_classes / "manifest.csv").write_text("\n".join(["path,label,split", *rows]))
    found = clips(sampling="random", workers=workers, val_fraction=0.0)
    last = 3 * pipeline.steps_per_epoch(len(found), 4)
    pieces = itertools.pairwise([0, *restarts, last])
    shares = [
        [train(found, first=a, last=b, seed=7, host=(p, hosts)) for p in range(hosts)]
        for a, b in pieces
    ]
    seen = []
    for batch in (batch for piece in shares for step in zip(*piece, strict=True) for batch in step):
        index_B, round_B = batch["index_B"], batch["round_B"]
        records = found.batch_records(index_B, seed=7, epoch=round_B)
        np.testing.assert_array_equal(batch["clips_BTHWC"], found.read(records))
        keys = jax.random.key_data(augmentation_keys(7, round_B, index_B)).tolist()
        for index, epoch, record_T, key in zip(index_B, round_B, records, keys, strict=True):
            frames = (record_T - found.facts[index].first_record).tolist()
            seen.append([int(epoch), found.videos[index].path, frames, key])
    assert seen == golden


@pytest.mark.slow
@pytest.mark.parametrize("in_memory", [True, False])
def test_memory_is_constant_over_2000_batches(settings, two_classes, in_memory):
    code = (
        "import json, sys, psutil\n"
        "from ml_collections import ConfigDict\n"
        "from vid3d.data import pipeline, prepare\n"
        "config = ConfigDict(json.loads(sys.argv[1]))\n"
        "clips = pipeline.Clips(prepare.prepare(config, quiet=True), 'train', config.data)\n"
        "if sys.argv[2] == 'True': assert clips.hold_in_memory(2**30)\n"
        "this, found = psutil.Process(), []\n"
        "batches = pipeline.train_batches(clips, seed=0, batch_size=4, first_step=0, "
        "last_step=2500)\nfor number, _ in enumerate(batches, 1):\n"
        "    if number in (500, 1500, 2500):\n"
        "        found.append((this.memory_info().rss, this.num_threads(), this.num_fds()))\n"
        "print(json.dumps(found))\n"
    )
    command = [sys.executable, "-c", code, settings.to_json(), str(in_memory)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    memory, threads, handles = zip(*json.loads(done.stdout.splitlines()[-1]), strict=True)
    assert max(memory) < 1.01 * memory[0], memory
    assert max(threads) <= threads[0] and max(handles) <= handles[0], (threads, handles)


@pytest.mark.parametrize("views", [0, 1])
def test_shard_damaged_while_streaming_is_one_line(clips, views):
    found = clips("test" if views else "train", views=views, in_memory=False)
    for path in found.store.paths:
        content = bytearray(path.read_bytes())
        content[70_000:] = bytes(len(content) - 70_000)
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"array_record.* is damaged .*remove the folder"):
        if views:
            list(pipeline.eval_batches(found, batch_size=4))
        else:
            train(found, first=0, last=7)


def test_resume_continues_with_the_same_clips(clips):
    found = clips(sampling="random")
    whole = train(found, first=0, last=7)
    rest = train(found, first=4, last=7)
    for a, b in zip(whole[4:], rest, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_each_global_batch(clips, hosts):
    found = clips(sampling="random")
    alone = train(found, first=0, last=5)
    shared = [train(found, first=0, last=5, host=(p, hosts)) for p in range(hosts)]
    for step, batch in enumerate(alone):
        for name, expected in batch.items():
            together = np.concatenate([shared[p][step][name] for p in range(hosts)])
            np.testing.assert_array_equal(together, expected)


@pytest.mark.parametrize("store", ["raw", pytest.param("jpeg", marks=pytest.mark.slow)])
@pytest.mark.parametrize("sampling", ["first", "uniform", "random"])
def test_streaming_equals_memory(clips, store, sampling):
    held = clips(sampling=sampling, store=store)
    streamed = clips(sampling=sampling, store=store, in_memory=False)
    assert streamed.frames is None
    for a, b in zip(train(held, first=0, last=4), train(streamed, first=0, last=4), strict=True):
        np.testing.assert_array_equal(a["clips_BTHWC"], b["clips_BTHWC"])
        np.testing.assert_array_equal(a["labels_B"], b["labels_B"])


def test_clip_holds_the_sampled_frames(clips):
    """Frame k of a video is grey with the value shade + 10 (k + 1), shade tells the video."""
    found = clips(sampling="center")
    for batch in train(found, first=0, last=3):
        for index, clip_THWC, label in zip(
            batch["index_B"], batch["clips_BTHWC"], batch["labels_B"], strict=True
        ):
            video, facts = found.videos[index], found.facts[index]
            number = int(video.path.rsplit("_", 1)[1].split(".")[0])
            shade = {"down": 0, "up": 100}[video.label] + number
            expected = clip_indices(facts.times_N, found.data, sampling="center")
            seen = clip_THWC.reshape(len(clip_THWC), -1).mean(axis=1)
            np.testing.assert_allclose(seen, (shade + 10 * (expected + 1)) % 256, atol=3)
            assert ["down", "up"][label] == video.label


def test_random_clips_start_anywhere_inside_the_video(clips):
    found = clips(sampling="random")
    longest = max(range(len(found)), key=lambda i: found.facts[i].num_frames)
    facts = found.facts[longest]
    starts = {
        int(found.batch_records(np.array([longest]), seed=0, epoch=epoch)[0, 0])
        - facts.first_record
        for epoch in range(200)
    }
    assert starts == set(range(facts.num_frames - found.data.num_frames + 1))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 64])
@pytest.mark.parametrize("views", [1, 3])
def test_evaluation_covers_videos_once_and_masks_padding(clips, batch_size, views):
    found = clips("test", views=views)
    seen = []
    for batch in pipeline.eval_batches(found, batch_size=batch_size):
        assert batch["clips_BVTHWC"].shape == (batch_size, views, 4, 32, 32, 3)
        real = batch["mask_B"] > 0
        seen += batch["index_B"][real].tolist()
        np.testing.assert_array_equal(
            batch["labels_B"][real], found.labels_N[batch["index_B"][real]]
        )
    assert seen == list(range(len(found)))


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("hosts", [1, 2])
def test_long_video_takes_several_rows(clips, hosts, in_memory):
    found = clips("test", views=2, in_memory=in_memory, trained=Durations(0.1))
    counts = [len(its.indices) for its in found.plans]
    assert {2, 3} <= set(counts)  # of windows, in rows of two
    batches = [
        list(pipeline.eval_batches(found, batch_size=4, host=(host, hosts)))
        for host in range(hosts)
    ]
    shown = {video: [] for video in range(len(found))}
    for batch in (batch for step in zip(*batches, strict=True) for batch in step):
        real = batch["mask_B"] > 0
        for video, row_VTHWC in zip(
            batch["index_B"][real], batch["clips_BVTHWC"][real], strict=True
        ):
            shown[int(video)] += list(row_VTHWC)
    for video, its in enumerate(found.plans):
        for clip_THWC, index_T in zip(shown[video], its.indices, strict=False):
            records_T = found.facts[video].first_record + index_T
            np.testing.assert_array_equal(clip_THWC, found.store.load(records_T))
        rest = shown[video][len(its.indices) :]
        assert len(shown[video]) == -(-len(its.indices) // 2) * 2
        assert all((clip == shown[video][len(its.indices) - 1]).all() for clip in rest)


def test_split_beyond_the_budget_streams(clips):
    found = clips(in_memory=False)
    size = len(found.needed_records()) * 32 * 32 * 3
    assert found.hold_in_memory(size - 1) == 0
    assert found.hold_in_memory(size) == size


def test_fewer_videos_than_batch_is_an_error(clips):
    with pytest.raises(UserError, match=r"fewer than config\.train\.batch_size=64"):
        pipeline.steps_per_epoch(len(clips()), 64)


def test_balanced_epochs_draw_classes_equally():
    labels_N = np.array([0] * 17 + [1] * 5 + [2])
    draw = pipeline.balanced(labels_N, seed=3)
    places = np.arange(len(labels_N))
    drawn = [draw(places, epoch) for epoch in range(30)]
    for index_N, _ in drawn:
        counts = np.bincount(labels_N[index_N], minlength=3)
        assert counts.max() - counts.min() <= 1
    index, rounds = (np.concatenate(x) for x in zip(*drawn, strict=True))
    # A video that comes again comes with another round, so with another augmentation.
    assert len(set(zip(index.tolist(), rounds.tolist(), strict=True))) == len(index)
    for label in (0, 1):
        counts = np.bincount(index, minlength=len(labels_N))[labels_N == label]
        assert counts.max() - counts.min() <= 1
    again = pipeline.balanced(labels_N, seed=3)(places, 7)
    np.testing.assert_array_equal(again[0], drawn[7][0])
    other = pipeline.balanced(labels_N, seed=4)(places, 7)
    assert not np.array_equal(other[0], drawn[7][0])


@pytest.mark.slow
def test_balanced_batches_resume_and_span_hosts(clips):
    found = clips(sampling="random")
    found.labels_N = np.array([0] * (len(found) - 3) + [1] * 3, np.int32)

    def some(**options) -> list[dict]:
        options = {"first_step": 0, "last_step": 6, "batch_size": 4, "seed": 0} | options
        return list(pipeline.train_batches(found, balance=True, **options))

    whole = some()
    labels = np.concatenate([batch["labels_B"] for batch in whole])
    assert 0.3 < labels.mean() < 0.7
    for a, b in zip(whole[4:], some(first_step=4), strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    halves = [some(host=(p, 2)) for p in range(2)]
    for step, batch in enumerate(whole):
        for name, expected in batch.items():
            together = np.concatenate([half[step][name] for half in halves])
            np.testing.assert_array_equal(together, expected)


@pytest.mark.slow
def test_orders_differ_beyond_256_epochs_and_seeds(clips):
    """The cipher of TensorFlow looks at the last eight bits of each."""
    found = clips()
    per_epoch = pipeline.steps_per_epoch(len(found), 2)

    def order(epoch: int, seed: int) -> tuple[int, ...]:
        steps = train(
            found, first=epoch * per_epoch, last=(epoch + 1) * per_epoch, batch_size=2, seed=seed
        )
        return tuple(int(i) for batch in steps for i in batch["index_B"])

    keys = [(e, s) for e in (0, 1, 256, 257, 513, 65536) for s in (0, 1, 257, 70_000, 2**31 - 1)]
    orders = {key: order(*key) for key in keys}
    assert len(set(orders.values())) == len(keys)
    assert all(len(set(found)) == len(found) for found in orders.values())
    # The same wherever a training was interrupted, and however long it goes on.
    middle = 256 * per_epoch + 1
    some = train(found, first=middle, last=middle + 1, batch_size=2)[0]["index_B"]
    assert tuple(some.tolist()) == orders[256, 0][2:4]


def test_durations_count_the_last_frames_own_time(clips):
    found = clips()
    seconds_N = np.array([facts.num_frames for facts in found.facts]) / 25
    expected = np.median(seconds_N), np.quantile(seconds_N, 0.95)
    assert found.durations() == pytest.approx(expected) and expected[0] < expected[1]

"""The embedded data set teaches motion: without the order of the frames, nothing can be learnt."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from vid3d import config
from vid3d.datasets import index, splits, synthetic, synthetic_recordings
from vid3d.errors import UserError
from vid3d.video import frames


def small(cache: Path, **changed) -> ConfigDict:
    """The config of a small set."""
    c = config.default()
    with c.unlocked():
        c.data.source = "synthetic"
        c.data.cache_dir = str(cache)
        c.data.size = 32
        c.data.synthetic.update(
            dict(groups=4, videos_per_group=1, num_frames=10, size=32) | changed
        )
    return c


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """400 videos: (frames uint8 [N, T, H, W, C], labels [N], groups [N])."""
    c = small(tmp_path_factory.mktemp("synthetic"), groups=40, videos_per_group=2, num_frames=20)
    found = index.find(c.data, 0)
    videos = [frames.read_video(Path(found.root, v.path), c.data) for v in found.videos]
    clips_NTHWC = np.stack([video.frames_THWC for video in videos])
    labels_N = np.array([found.classes.index(v.label) for v in found.videos])
    return clips_NTHWC, labels_N, np.array([v.group for v in found.videos])


def held_out_accuracy(features_ND: np.ndarray, labels_N: np.ndarray, groups_N: np.ndarray) -> float:
    """Of a ridge classifier that is fitted on half of the groups and tested on the other half."""
    features_ND = (features_ND - features_ND.mean(0)) / (features_ND.std(0) + 1e-9)
    names = np.unique(groups_N)
    train_N = np.isin(groups_N, names[::2])
    targets_NK = np.eye(5)[labels_N] - 0.2
    train_ND = features_ND[train_N]
    penalty = 10 * np.eye(train_ND.shape[1])
    weights_DK = np.linalg.solve(train_ND.T @ train_ND + penalty, train_ND.T @ targets_NK[train_N])
    guesses = (features_ND[~train_N] @ weights_DK).argmax(1)
    return float((guesses == labels_N[~train_N]).mean())


def coarse(clips_NTHWC: np.ndarray) -> np.ndarray:
    """Brightness on an 8 x 8 grid, float64 [N, T, 64]."""
    count, num_frames, height, width, _ = clips_NTHWC.shape
    cells = clips_NTHWC.mean(-1).reshape(count, num_frames, 8, height // 8, 8, width // 8)
    return cells.mean((3, 5)).reshape(count, num_frames, 64)


@pytest.mark.parametrize("window", [slice(0, 10), slice(3, 13), slice(0, 20)])
def test_unordered_frames_do_not_tell_the_class(studied, window):
    clips_NTHWC, labels_N, groups_N = studied
    cells = coarse(clips_NTHWC[:, window])
    bags = {
        "mean": cells.mean(1),
        "spread": cells.std(1),
        "brightest": cells.max(1),
        "sorted": np.sort(cells, axis=1).reshape(len(cells), -1)[:, ::4],
    }
    for name, features_ND in bags.items():
        assert held_out_accuracy(features_ND, labels_N, groups_N) < 0.3, name


@pytest.mark.parametrize("place", [0, 1, 9])
def test_single_frame_does_not_tell_the_class(studied, place):
    clips_NTHWC, labels_N, groups_N = studied
    cells = coarse(clips_NTHWC)[:, place]
    assert held_out_accuracy(cells, labels_N, groups_N) < 0.3


def test_codec_traces_do_not_tell_the_class(studied):
    clips_NTHWC, labels_N, groups_N = studied
    still = np.median(clips_NTHWC, axis=1, keepdims=True)
    # What the codec leaves behind beside the shape: small deviations from the background.
    residue = abs(clips_NTHWC.astype(float) - still)
    traces = coarse(np.where(residue < 20, residue, 0))[:, 4:10].mean(1)
    assert held_out_accuracy(traces, labels_N, groups_N) < 0.3


def test_frame_order_tells_the_class(studied):
    clips_NTHWC, labels_N, groups_N = studied
    cells = coarse(clips_NTHWC[:, :10])
    steps = [abs(np.diff(cells, n=1, axis=1)[:, ::1]).mean(-1)]
    for lag in (2, 3, 5):
        steps.append(abs(cells[:, lag:] - cells[:, :-lag]).mean(-1))
    features_ND = np.concatenate([s - steps[0].mean(1, keepdims=True) for s in steps], axis=1)
    assert held_out_accuracy(features_ND, labels_N, groups_N) > 0.5


def test_each_round_visits_every_point_once():
    rng = np.random.default_rng(0)
    seen = {
        label: {tuple(synthetic.order(rng, label)) for _ in range(300)}
        for label in synthetic.LABELS
    }
    for label, orders in seen.items():
        assert all(sorted(order) == list(range(synthetic.POINTS)) for order in orders), label
        for other in synthetic.LABELS:
            assert other == label or not orders & seen[other]


def test_files_have_ucf101_names_and_xvid(tmp_path):
    c = small(tmp_path, groups=3, videos_per_group=2)
    root = synthetic.write(c.data, 0)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.avi"))
    assert len(names) == 5 * 3 * 2
    assert names[0] == "Clockwise/v_Clockwise_g01_c01.avi"
    assert all(b"XVID" in (root / name).read_bytes()[:512] for name in names)
    with c.unlocked():
        c.data.update(source="ucf101", root=str(root))
    assert len(index.find(c.data, 0).videos) == 30


def test_groups_stay_in_one_split_for_all_classes(tmp_path):
    c = small(tmp_path, groups=12)
    found = index.find(c.data, 0)
    assert found.protocol == "grouped" and not splits.shared_groups(found.videos)
    for split in ("train", "val", "test"):
        counts = Counter(v.label for v in found.split(split))
        assert len(counts) == 5 and len(set(counts.values())) == 1


def test_seed_determines_videos_and_cache_keeps_them(tmp_path):
    def digest(cache: str, seed: int) -> str:
        root = synthetic.write(small(tmp_path / cache).data, seed)
        whole = b"".join(path.read_bytes() for path in sorted(root.rglob("*.avi")))
        return hashlib.sha256(whole).hexdigest()

    assert digest("a", 0) == digest("b", 0) != digest("a", 1)
    root = synthetic.write(small(tmp_path / "a").data, 0)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.avi")}
    assert synthetic.write(small(tmp_path / "a").data, 0) == root
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*.avi")}


def test_unwritable_video_is_named(tmp_path):
    with pytest.raises(OSError, match=r"cannot write x\.avi"):
        synthetic.write_avi(tmp_path / "none" / "x.avi", np.zeros((2, 32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("changed", "message"), [(dict(num_frames=15), "multiple of 10"), (dict(size=31), "even")]
)
def test_unusable_sizes_are_refused(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        synthetic.write(small(tmp_path, **changed).data, 0)


@pytest.fixture(scope="module")
def untrimmed(tmp_path_factory):
    """The config and the index of 8 recordings, pauses included."""
    c = small(tmp_path_factory.mktemp("untrimmed"), groups=8, untrimmed=True, num_frames=20)
    c.data.background = "Pause"
    return c, index.find(c.data, 0)


def test_recordings_have_every_motion_and_pauses_as_stretches(untrimmed):
    c, found = untrimmed
    assert found.classes == (*synthetic.LABELS[:3], "Pause", *synthetic.LABELS[3:])
    of_file = Counter((v.path, v.label) for v in found.videos if v.label != "Pause")
    assert len(of_file) == 8 * 5 and set(of_file.values()) == {1}
    assert all(len({v.split for v in found.videos if v.path == p}) == 1 for p, _ in of_file)
    rate = set()
    for path in sorted({v.path for v in found.videos}):
        video = frames.read_video(Path(found.root, path), c.data)
        times_N, cells = video.times_T, coarse(video.frames_THWC[None])[0]
        for span, label in ((v.span, v.label) for v in found.videos if v.path == path):
            inside_N = (times_N >= span.start - 1e-6) & (times_N < span.end - 1e-6)
            change = np.abs(np.diff(cells[inside_N], axis=0)).max(1).mean()
            assert (change < 8) == (label == "Pause"), (path, span, label, change)
            assert span.end <= times_N[-1] + 0.1, "beyond the end"
            if label != "Pause":
                assert 20 <= inside_N.sum() <= 40
                assert np.isclose(times_N, span.start).any() and np.isclose(times_N, span.end).any()
        rate |= set(np.round(1000 * np.diff(times_N)).tolist())
    assert min(rate) < 35 and max(rate) > 45 and len(rate) > 10


def test_a_single_frame_tells_neither_motion_nor_pause():
    """The shape rests where it also passes."""
    rng, size = np.random.default_rng(0), 32
    counts, labels = [], []
    for k in range(300):
        look = synthetic.draw_look(rng, size)
        label = ("", "Clockwise")[k % 2]
        drawn = synthetic_recordings.draw_part(rng, look, synthetic_recordings.Part(label, 10))
        counts.append(np.abs(drawn[3].astype(float) - look.background_HWC).mean())
        labels.append(k % 2)
    counts, labels = np.array(counts), np.array(labels)
    order = counts[labels == 0][:, None] < counts[labels == 1]
    assert 0.4 < order.mean() < 0.6

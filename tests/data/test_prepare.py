"""Videos are decoded once and completely, and everything wrong with them is reported."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np
import pytest
from filelock import FileLock
from ml_collections import ConfigDict
from rich.console import Console

from vid3d import cache, terminal
from vid3d.config import cache_folder
from vid3d.data import disk, prepare, prepared as prepared_folder, report, shards
from vid3d.data.store import DamagedError, FrameStore
from vid3d.datasets import index
from vid3d.errors import UserError
from vid3d.terminal import printable
from vid3d.tf import quiet_tensorflow
from vid3d.video import frames, resize

PREPARE = """
import json, sys
from ml_collections import ConfigDict
from vid3d.data import prepare
config = ConfigDict(json.loads(sys.argv[1]))
prepared = prepare.prepare(config)
print(json.dumps([str(prepared.directory), len(prepared.facts), "tensorflow" in sys.modules]))
"""


def run_prepare(settings: ConfigDict, **options) -> subprocess.Popen:
    """`prepare` in a process of its own."""
    command = [sys.executable, "-c", PREPARE, settings.to_json()]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, **pipes, **options)


def stored(prepared: prepared_folder.Prepared, path: str) -> np.ndarray:
    """The frames of one video from the shards."""
    facts = prepared.facts[path]
    records = np.arange(facts.first_record, facts.first_record + facts.num_frames)
    return FrameStore(prepared).load(records)


def flip(path: Path, *, at: int, bit: int = 0) -> None:
    """Changes one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def change_facts(folder: Path, change: Callable[[dict], None]) -> None:
    """Changes the facts of a prepared folder as if they had been written so."""
    path = folder / prepared_folder.FACTS
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    (folder / prepared_folder.SUMS).write_text(json.dumps(prepared_folder.sums(folder)))


def count_looks(monkeypatch) -> list[Path]:
    """A list of the files whose content is read."""
    looked, original = [], prepare.storage.sha256

    def sha256(path: Path) -> str:
        looked.append(path)
        return original(path)

    monkeypatch.setattr(prepare.storage, "sha256", sha256)
    return looked


def count_decoded(monkeypatch) -> list[int]:
    """A list that grows by the number of videos whenever some are decoded."""
    decoded = []
    original = prepare.build

    def build(folder, listed, *rest):
        decoded.append(len(listed.videos))
        original(folder, listed, *rest)

    monkeypatch.setattr(prepare, "build", build)
    return decoded


@pytest.fixture
def prepared(settings, warm_cache) -> prepared_folder.Prepared:
    """Two classes, prepared."""
    return prepare.prepare(settings, quiet=True)


@pytest.fixture
def decoded_here(settings, two_classes) -> prepared_folder.Prepared:
    """The same, decoded from these very files: only such frames are copied to another list."""
    return prepare.prepare(settings, quiet=True)


class TestShards:
    def test_stored_frames_equal_live_frames(self, prepared, settings):
        assert len(prepared.facts) == 20 and not prepared.bad
        for video in prepared.index.videos:
            decoded = frames.read_video(Path(prepared.index.root, video.path), settings.data)
            assert (stored(prepared, video.path) == decoded.frames_THWC).all()
            facts = prepared.facts[video.path]
            assert facts.times_N.tolist() == decoded.times_T.tolist()
            assert (facts.fps, facts.size) == (decoded.fps, decoded.size)

    def test_tfds_reads_the_shards(self, prepared):
        tfds = pytest.importorskip("tensorflow_datasets")
        source = tfds.builder_from_directory(prepared.directory).as_data_source("all")
        facts = prepared.facts["up/g0_0.avi"]
        assert len(source) == len(FrameStore(prepared)) == sum(prepared.shards.values())
        expected = stored(prepared, "up/g0_0.avi")
        for k in range(facts.num_frames):
            assert (source[facts.first_record + k]["frame"] == expected[k]).all()

    def test_records_come_in_requested_order(self, prepared):
        store = FrameStore(prepared)
        wanted = [7, 3, 3, len(store) - 1, 0]
        assert store.read(wanted) == [store.read([record])[0] for record in wanted]
        assert store.read([]) == []
        with pytest.raises(IndexError):
            store.read([len(store)])

    @pytest.mark.parametrize(("store", "tolerance"), [("raw", 0), ("jpeg", 6)])
    @pytest.mark.parametrize("color", ["rgb", "gray"])
    def test_record_holds_the_decoded_frame(self, settings, two_classes, store, tolerance, color):
        with settings.unlocked():
            settings.data.update(store=store, color=color)
        done = prepare.prepare(settings, quiet=True)
        frame_store = FrameStore(done)
        records = np.arange(0, len(frame_store), 5)
        loaded = frame_store.load(records)
        assert loaded.shape == (len(records), 32, 32, 3 if color == "rgb" else 1)
        video = done.index.videos[0]
        decoded = frames.read_video(Path(done.index.root, video.path), settings.data)
        assert abs(stored(done, video.path).astype(int) - decoded.frames_THWC).mean() <= tolerance

    def test_records_are_numbered_across_shards(self, settings, two_classes, monkeypatch):
        monkeypatch.setattr(shards.ShardWriter.__init__, "__kwdefaults__", {"shard_bytes": 50_000})
        settings.data.workers = 2
        done = prepare.prepare(settings, quiet=True)
        assert len(done.shards) > 5
        for video in done.index.videos:
            decoded = frames.read_video(Path(done.index.root, video.path), settings.data)
            assert (stored(done, video.path) == decoded.frames_THWC).all()

    def test_stored_frames_keeps_the_first_frames(self, settings, two_classes):
        with settings.unlocked():
            settings.data.stored_frames = 6
        done = prepare.prepare(settings, quiet=True)
        assert {f.num_frames for f in done.facts.values()} == {5, 6}


class TestCache:
    def test_other_protocol_or_sampling_reuses_frames(self, settings, two_classes, monkeypatch):
        decoded = count_decoded(monkeypatch)
        first = prepare.prepare(settings, quiet=True)
        for changed in (
            dict(protocol="random", group_pattern=r"g\d"),
            dict(sampling="uniform", num_frames=2, frame_step=2, fps=5.0),
            dict(classes=("up", "down"), test_fraction=0.4),
            dict(workers=2, decode_timeout=5.0, memory_budget_mb=1),
        ):
            with settings.unlocked():
                settings.data.update(changed)
            again = prepare.prepare(settings, quiet=True)
            assert again.directory == first.directory
        assert again.index.classes == ("up", "down")
        assert decoded == [20]

    @pytest.mark.parametrize(
        "changed",
        [
            *(dict(size=24), dict(stored_size=(40, 40)), dict(color="gray"), dict(store="jpeg")),
            *(dict(resize="short_side"), dict(stored_frames=3), dict(pixels="stored")),
            *(dict(deinterlace="bwdif"), dict(tone_map=True)),
        ],
    )
    def test_cache_key_covers_frame_settings(self, settings, two_classes, changed):
        listed = index.find(settings.data, 0)
        before = prepare.cache_key(listed, settings.data)
        with settings.unlocked():
            settings.data.update(changed)
        assert prepare.cache_key(listed, settings.data) != before

    @pytest.mark.slow
    def test_changed_file_is_decoded_again_moved_folder_not(
        self, settings, two_classes, video, tmp_path, monkeypatch
    ):
        first = prepare.prepare(settings, quiet=True)
        moved = tmp_path / "moved"
        two_classes.rename(moved)
        with settings.unlocked():
            settings.data.root = str(moved)
        assert prepare.prepare(settings, quiet=True).directory == first.directory
        # Other content of the same size and time, as an archive or `cp -p` leaves it.
        one, other = moved / "up" / "g0_0.avi", moved / "down" / "g0_0.avi"
        assert one.stat().st_size == other.stat().st_size
        for path in (one, other):
            os.utime(path, ns=(10**18, 10**18))
        third = prepare.prepare(settings, quiet=True)
        for path, name in (
            (one, "swap"),
            (other, "up/g0_0.avi"),
            (moved / "swap", "down/g0_0.avi"),
        ):
            path.rename(moved / name)
        swapped = prepare.prepare(settings, quiet=True)
        names = ("up/g0_0.avi", "down/g0_0.avi")
        hashes = [[found.facts[name].sha256 for name in names] for found in (third, swapped)]
        assert hashes[0] == hashes[1][::-1] and hashes[0][0] != hashes[0][1]
        # And only touched, as by a change of rights: nothing is decoded, and no more looked at the
        # next time.
        monkeypatch.setattr(prepare, "build", lambda *_: pytest.fail("it decodes"))
        one.chmod(0o600)
        looked = count_looks(monkeypatch)
        for _ in range(2):
            assert prepare.prepare(settings, quiet=True).directory == swapped.directory
        assert len(looked) == 1
        monkeypatch.undo()
        video(moved / "up" / "g0_0.avi", 9)
        second = prepare.prepare(settings, quiet=True)
        assert second.directory != first.directory
        assert second.facts["up/g0_0.avi"].num_frames == 9

    @pytest.mark.slow
    def test_only_new_videos_are_decoded(
        self, settings, decoded_here, two_classes, video, monkeypatch, capsys
    ):
        decoded = []
        original = prepare.decoder_pool.decode

        def decode(paths, *rest, look=False, **options):
            decoded.extend([] if look else paths)
            return original(paths, *rest, look=look, **options)

        monkeypatch.setattr(prepare.decoder_pool, "decode", decode)
        new = video(two_classes / "left" / "g9_0.avi", 7, shade=50)
        video(two_classes / "left" / "g8_0.avi", 7, shade=60)
        with settings.unlocked():
            settings.data.test_fraction = settings.data.val_fraction = 0.0
        grown = prepare.prepare(settings)
        assert sorted(decoded) == [str(new.with_name("g8_0.avi")), str(new)]
        assert "cache: 2 sets of frames" in capsys.readouterr().err
        decoded.clear()
        settings.data.classes = ("left", "up")
        chosen = prepare.prepare(settings, quiet=True)
        assert not decoded and len(chosen.facts) == 12
        for found in (grown, chosen):
            for path, facts in found.facts.items():
                whole = frames.read_video(two_classes / path, settings.data)
                assert (stored(found, path) == whole.frames_THWC).all()
                assert facts.times_N.tolist() == whole.times_T.tolist()
        os.utime(new, (1, 1))
        prepare.prepare(settings, quiet=True)
        assert decoded == [str(new)]

    @pytest.mark.slow
    def test_warm_cache_needs_no_tensorflow(self, settings, prepared):
        process = run_prepare(settings)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert json.loads(out) == [str(prepared.directory), 20, False]

    @pytest.mark.slow
    def test_damaged_prepared_folder_is_prepared_again(self, settings, prepared):
        expected = stored(prepared, "up/g0_0.avi")
        times = prepared.facts["up/g0_0.avi"].times_N.tolist()
        shard = prepared.directory / next(iter(prepared.shards))
        os.truncate(shard, shard.stat().st_size - 10)
        for name in (None, prepared_folder.FACTS, prepared_folder.TIMES, prepared_folder.SUMS):
            if name:
                flip(prepared.directory / name, at=-40)
            assert not prepared_folder.is_whole(prepared.directory, 0)
            again = prepare.prepare(settings, quiet=True)
            assert prepared_folder.is_whole(prepared.directory, 0)
            np.testing.assert_array_equal(stored(again, "up/g0_0.avi"), expected)
            assert again.facts["up/g0_0.avi"].times_N.tolist() == times

    @pytest.mark.slow
    @pytest.mark.parametrize("store", ["raw", "jpeg"])
    def test_damaged_frames_are_never_returned(self, settings, two_classes, store):
        """One bit flipped anywhere in a shard: the frames that were written, or an error."""
        settings.data.store = store
        prepared = prepare.prepare(settings, quiet=True)
        paths = [prepared.directory / name for name in prepared.shards]
        whole = {path: path.read_bytes() for path in paths}
        everything = range(sum(prepared.shards.values()))
        expected, noticed = FrameStore(prepared).load(everything), 0
        for seed in range(200):
            rng = np.random.default_rng(seed)
            path = paths[rng.integers(len(paths))]
            at = int(rng.integers(path.stat().st_size))
            flip(path, at=at, bit=int(rng.integers(8)))
            try:
                found = FrameStore(prepared).load(everything)
            except UserError as error:
                noticed += 1
                assert f"{path} is damaged" in str(error) and "remove the folder" in str(error)
            else:  # the byte was padding
                np.testing.assert_array_equal(found, expected)
            path.write_bytes(whole[path])
        assert noticed > 50

    def test_damaged_cached_frames_are_decoded_again(
        self, settings, decoded_here, two_classes, video
    ):
        for name in decoded_here.shards:
            flip(decoded_here.directory / name, at=70_000)
        video(two_classes / "up" / "g9_0.avi", 7)
        grown = prepare.prepare(settings, quiet=True)
        assert grown.directory != decoded_here.directory and len(grown.facts) == 21
        for path in grown.facts:
            whole = frames.read_video(two_classes / path, settings.data)
            assert (stored(grown, path) == whole.frames_THWC).all()

    def test_another_format_number_is_prepared_again(self, settings, prepared):
        change_facts(prepared.directory, lambda facts: facts.update(format=0))
        assert not prepared_folder.is_whole(prepared.directory, 0)
        again = prepare.prepare(settings, quiet=True)
        assert again.directory == prepared.directory
        assert prepared_folder.is_whole(prepared.directory, 0)

    def test_damaged_list_of_changes_is_prepared_again(self, settings, prepared):
        (prepared.directory / prepare.TOUCHED).write_text("{")
        prepare.prepare(settings, quiet=True)
        assert len(json.loads((prepared.directory / prepare.TOUCHED).read_text())) == 20

    def test_hung_video_is_retried_with_longer_timeout(self, settings, prepared):
        reason = "the decoder hung: nothing for 20 s (data.decode_timeout)"

        def hang(facts: dict) -> None:
            del facts["videos"]["up/g0_0.avi"]
            facts["bad"] = {"up/g0_0.avi": reason}

        change_facts(prepared.directory, hang)
        with pytest.raises(UserError, match="the decoder hung"):
            prepare.prepare(settings, quiet=True)
        with settings.unlocked():
            settings.data.decode_timeout = 40.0
        assert "up/g0_0.avi" in prepare.prepare(settings, quiet=True).facts

    def test_only_abandoned_leftovers_are_removed(self, settings, two_classes):
        folder = Path(settings.data.cache_dir)
        for name in ("frames-killed", "frames-working"):
            (folder / f"incomplete.{name}" / "inside").mkdir(parents=True)
        with filelock.FileLock(folder / "frames-working.lock"):
            prepare.prepare(settings, quiet=True)
        assert [path.name for path in folder.glob("incomplete.*")] == ["incomplete.frames-working"]

    @pytest.mark.slow
    @pytest.mark.parametrize("delay", [0.0, 0.4, 1.2])
    def test_kill_leaves_no_usable_half_folder(self, settings, two_classes, delay):
        process = run_prepare(settings, start_new_session=True)
        folder = Path(settings.data.cache_dir)
        while not list(folder.glob("incomplete.*")) and process.poll() is None:
            time.sleep(0.005)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        done = prepare.prepare(settings, quiet=True)
        assert len(done.facts) == 20
        assert not list(folder.glob("incomplete.*"))
        assert len(list(folder.glob("frames-*/"))) == 1

    @pytest.mark.slow
    def test_second_process_waits_for_the_first(self, settings, two_classes):
        processes = [run_prepare(settings) for _ in range(2)]
        outputs = [process.communicate(timeout=120) for process in processes]
        assert all(process.returncode == 0 for process in processes), outputs
        found = [json.loads(out) for out, _ in outputs]
        assert found[0][:2] == found[1][:2] == [found[0][0], 20]
        decoded = [err for _, err in outputs if "decoding: 20 videos" in err]
        assert len(decoded) == 1

    def test_stalled_process_is_not_waited_for_forever(self, settings, two_classes):
        listed = index.find(settings.data, 0)
        folder = Path(settings.data.cache_dir)
        folder.mkdir()
        name = f"frames-{prepare.cache_key(listed, settings.data)}.lock"
        with (
            FileLock(folder / name),
            pytest.raises(UserError, match=r"waited 1 s for another process that holds .*lock"),
        ):
            prepare.prepare(settings, quiet=True, stalled_seconds=1.0)

    def test_unwritable_cache_is_named(self, settings, two_classes, tmp_path):
        (tmp_path / "file").touch()
        with settings.unlocked():
            settings.data.cache_dir = str(tmp_path / "file" / "below")
        with pytest.raises(UserError, match=r"cannot write to .*set data.cache_dir"):
            prepare.prepare(settings, quiet=True)

    def test_small_disk_is_refused_before_decoding(self, settings, two_classes, monkeypatch):
        usage = shutil.disk_usage(two_classes)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))
        with pytest.raises(
            UserError, match=r"1\.0 MB free, 20 videos need about .* 134\.2 MB have to stay"
        ):
            prepare.prepare(settings, quiet=True)
        assert not list(Path(settings.data.cache_dir).glob("*frames-*[!k]"))

    def test_full_disk_leaves_no_half_data_set(self, settings, two_classes, small_disk):
        small = small_disk("30k")
        with settings.unlocked():
            settings.data.cache_dir = str(small)
        listed = index.find(settings.data, 0)
        with (
            pytest.raises(UserError, match="free some space"),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(disk, "RESERVE_BYTES", -(10**9))  # as if the estimate were too low
            prepare.prepare(settings, index=listed, quiet=True)
        assert not [path for path in small.iterdir() if path.suffix != ".lock"]

    def test_disk_filled_by_others_is_noticed_early(self, settings, two_classes, monkeypatch):
        left = iter([10**12, *[10**5] * 20])
        usage = shutil.disk_usage(two_classes)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(left)))
        monkeypatch.setattr(disk, "RESERVE_BYTES", 2 * 10**5)
        with pytest.raises(UserError, match=r"the disk of .*cache is full: set data\.cache_dir"):
            prepare.prepare(settings, quiet=True)
        assert not list(Path(settings.data.cache_dir).glob("*frames-*[!k]"))

    def test_other_os_errors_are_not_disk_errors(self, tmp_path):
        def build(folder: Path) -> None:
            (folder / "none").read_bytes()

        with pytest.raises(FileNotFoundError):
            cache.make_once(tmp_path / "frames", build)
        assert [path.name for path in tmp_path.iterdir()] == ["frames.lock"]

    def test_default_cache_is_in_user_folder(self, settings, monkeypatch):
        with settings.unlocked():
            settings.data.cache_dir = ""
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert cache_folder(settings.data.cache_dir) == Path("/somewhere/vid3d")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder(settings.data.cache_dir) == Path.home() / ".cache" / "vid3d"


class TestBadVideos:
    @staticmethod
    def spoil(root: Path, split: str, settings: ConfigDict) -> str:
        """Makes a video of this split unreadable, and returns its path."""
        path = index.find(settings.data, 0).split(split)[0].path
        (root / path).write_text("no video any more")
        return path

    @pytest.mark.parametrize("split", ["train", "val", "test"])
    def test_bad_video_is_an_error_by_default(self, settings, two_classes, split):
        path = self.spoil(two_classes, split, settings)
        with pytest.raises(UserError, match=f"{path} .not a video") as caught:
            prepare.prepare(settings, quiet=True)
        ledger = Path(str(caught.value).split("listed in ")[1].split(": replace")[0])
        with ledger.open(newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["path", "reason"] and [row[0] for row in rows[1:]] == [path]

    def test_max_bad_fraction_allows_bad_training_videos(self, settings, two_classes):
        path = self.spoil(two_classes, "train", settings)
        with settings.unlocked():
            settings.data.max_bad_fraction = 0.2
        done = prepare.prepare(settings, quiet=True)
        assert set(done.bad) == {path} and len(done.facts) == 19
        said = io.StringIO()
        Console(file=said, width=500).print(report.summary(done))
        counts = [len(done.index.split(s)) - (s == "train") for s in ("train", "val", "test")]
        assert said.getvalue().startswith("{} train, {} val, {} test videos".format(*counts))

    def test_bad_share_counts_training_and_validation(self, settings, two_classes):
        self.spoil(two_classes, "train", settings)
        index_of = index.find(settings.data, 0)
        count = len(index_of.split("train")) + len(index_of.split("val"))
        with pytest.raises(UserError, match=f"1 of {count} training and validation videos"):
            prepare.prepare(settings, quiet=True)

    def test_bad_test_video_is_always_an_error(self, settings, two_classes):
        self.spoil(two_classes, "test", settings)
        with settings.unlocked():
            settings.data.max_bad_fraction = 1.0
        with pytest.raises(UserError, match=r"1 of .* test videos cannot be read"):
            prepare.prepare(settings, quiet=True)

    def test_real_odd_files_are_used_or_in_ledger(self, settings, shared, tmp_path):
        files = sorted(p for p in (shared / "odd_videos").iterdir())
        rows = "".join(f"{path},{'ab'[k % 2]},train\n" for k, path in enumerate(files))
        (tmp_path / "odd.csv").write_text("path,label,split\n" + rows)
        with settings.unlocked():
            settings.data.update(
                root=str(tmp_path / "odd.csv"),
                source="manifest",
                max_bad_fraction=1.0,
                val_fraction=0.0,
                test_fraction=0.0,
                decode_timeout=5.0,
            )
        done = prepare.prepare(settings, quiet=True)
        assert len(done.facts) + len(done.bad) == len(files)
        assert len(done.facts) == 13
        damaged = done.facts[str(shared / "odd_videos" / "corrupted.mp4")]
        assert damaged.num_frames == 49 and "1 packet lost at 3.00 s" in damaged.damage


class TestDoctor:
    def test_manifest_trains_and_report_lists_contents(
        self, settings, two_classes, tmp_path, capsys
    ):
        with settings.unlocked():
            settings.data.group_pattern = r"(g\d)_"
        found = index.find(settings.data, 0)
        checkup = prepare.doctor(settings, tmp_path / "out")
        assert checkup.all_readable and checkup.manifest == tmp_path / "out" / "manifest.csv"
        captured = capsys.readouterr()
        for expected in ("down", "frames per video: 5 to 14", "64x48 (20)", "protocol grouped"):
            assert expected in captured.err
        with settings.unlocked():
            settings.data.update(root=str(tmp_path / "out"), group_pattern="")
        again = index.find(settings.data, 5)
        assert again.protocol == "manifest"
        assert [v.split for v in again.videos] == [v.split for v in found.videos]
        assert [v.group for v in again.videos] == [v.group for v in found.videos]

    def test_manifest_above_videos_has_relative_paths(self, settings, two_classes):
        prepare.doctor(settings, two_classes.parent)
        lines = (two_classes.parent / "manifest.csv").read_text().splitlines()
        assert lines[1].startswith("videos/down/g0_0.avi,down,")

    def test_edited_manifest_is_never_overwritten(self, settings, two_classes, tmp_path):
        prepare.doctor(settings, tmp_path)
        prepare.doctor(settings, tmp_path)
        assert not (tmp_path / "manifest-2.csv").exists()
        edited = (tmp_path / "manifest.csv").read_text().replace("test", "train")
        (tmp_path / "manifest.csv").write_text(edited)
        assert prepare.doctor(settings, tmp_path).manifest == tmp_path / "manifest-2.csv"
        assert (tmp_path / "manifest.csv").read_text() == edited
        assert (tmp_path / "manifest-2.csv").read_text() != edited

    def test_bad_video_is_reported_without_a_crash(self, settings, two_classes, tmp_path, capsys):
        path = TestBadVideos.spoil(two_classes, "test", settings)
        assert not prepare.doctor(settings, tmp_path).all_readable
        assert path in (tmp_path / "bad_videos.csv").read_text()
        assert "BAD: 1 video cannot be read: " in capsys.readouterr().err

    def test_no_readable_video_is_reported(self, settings, tmp_path, capsys):
        for k in range(12):
            path = Path(settings.data.root, "ab"[k % 2], f"{k}.mp4")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("no video")
        assert not prepare.doctor(settings, tmp_path).all_readable
        said = capsys.readouterr().err
        assert "no readable videos" in said and "BAD: 12 videos" in said

    def test_duplicates_across_splits_are_warned_of(self, settings, two_classes, capsys):
        found = index.find(settings.data, 0)
        train, test = (
            next(v.path for v in found.split(s) if v.label == "up") for s in ("train", "test")
        )
        shutil.copy(two_classes / train, two_classes / test)
        prepare.doctor(settings)
        assert "DUPLICATES: the same video is in two splits" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["proc", "file"])
    def test_unwritable_output_is_refused_before_decoding(self, settings, tmp_path, capsys, name):
        (tmp_path / "file").touch()
        folder = {"proc": "/proc/x", "file": tmp_path / "file"}[name]
        reason = {"proc": "cannot write in /proc/x", "file": "file is a file: give a folder"}[name]
        with pytest.raises(UserError, match=reason):
            prepare.doctor(settings, folder)
        assert not capsys.readouterr().err

    def test_short_videos_are_counted(self, settings, two_classes, capsys):
        with settings.unlocked():
            settings.data.num_frames = 8
        prepare.doctor(settings)
        assert "shorter than a clip (repeat): 6 of 20" in capsys.readouterr().err


def test_undecodable_name_is_prepared_and_reported(settings, two_classes, video, tmp_path):
    source = video(tmp_path / "x.avi", 6)
    odd = os.fsencode(two_classes) + b"/up/\xff.avi"
    shutil.copy(os.fsencode(source), odd)
    done = prepare.prepare(settings, quiet=True)
    assert done.facts[os.fsdecode(b"up/\xff.avi")].num_frames == 6
    assert prepare.doctor(settings, tmp_path / "out")
    assert printable(os.fsdecode(b"\xff")).encode() == b"\\udcff"
    reread = prepare.prepare(settings, quiet=True)
    assert set(reread.facts) == set(done.facts)


class TestBuilder:
    @pytest.fixture
    def mocked(self, settings, tmp_path):
        """The ucf101 builder of tfds with random videos and real metadata."""
        tf = quiet_tensorflow()
        tfds = pytest.importorskip("tensorflow_datasets")
        del tf
        data_dir = tmp_path / "tfds"
        builder = tfds.builder("ucf101", data_dir=data_dir)
        template = tfds.core.ShardedFileTemplate(
            data_dir=builder.data_dir, dataset_name="ucf101", filetype_suffix="tfrecord"
        )
        infos = [
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=[6],
                num_bytes=1,
                filename_template=template.replace(split=name),
            )
            for name in ("test", "train")
        ]
        builder.info.set_splits(tfds.core.splits.SplitDict(infos))
        Path(builder.data_dir).mkdir(parents=True)
        builder.info.write_to_directory(builder.data_dir)
        with settings.unlocked():
            settings.data.update(
                source="tfds",
                builder="ucf101",
                root=str(data_dir),
                val_fraction=0.0,
                stored_frames=5,
            )
        with tfds.testing.mock_data(num_examples=6, data_dir=str(data_dir)):
            yield tfds

    @pytest.mark.slow
    def test_builder_splits_labels_and_frames_are_used(self, settings, mocked):
        done = prepare.prepare(settings, quiet=True)
        assert done.index.protocol.startswith("tfds ucf101/ucf101_1_256")
        assert len(done.index.split("train")) == len(done.index.split("test")) == 6
        examples = list(mocked.as_numpy(mocked.load("ucf101", split="train", shuffle_files=False)))
        for number, example in enumerate(examples):
            path = f"ucf101/train/{number:06d}"
            expected = [
                resize.fit(frame, size=(32, 32), resize="squash", color="rgb")
                for frame in example["video"][:5]
            ]
            assert (stored(done, path) == np.stack(expected)).all()

    @pytest.mark.slow
    def test_builder_duplicates_across_splits_are_found(self, settings, mocked):
        done = prepare.prepare(settings, quiet=True)  # the mocked splits are equal
        hashes = [
            {done.facts[v.path].sha256 for v in done.index.split(s)} for s in ("train", "test")
        ]
        assert hashes[0] == hashes[1]

    def test_unprepared_builder_is_refused_not_downloaded(self, settings, tmp_path, monkeypatch):
        quiet_tensorflow()
        tfds = pytest.importorskip("tensorflow_datasets")
        asked = []
        monkeypatch.setattr(
            tfds.core.DatasetBuilder, "download_and_prepare", lambda *a, **k: asked.append(a)
        )
        with settings.unlocked():
            settings.data.update(source="tfds", builder="ucf101", root=str(tmp_path / "none"))
        with pytest.raises(UserError, match=r"none/ucf101.* no prepared data.*`tfds build ucf101"):
            prepare.prepare(settings, quiet=True)
        assert not asked and not (tmp_path / "none").exists()

    @pytest.mark.parametrize(
        ("builder", "words"),
        [
            ("", "needs data.builder"),
            ("ucf1o1", "ucf1o1"),
            ("mnist", "features image, label, not video and label"),
        ],
    )
    def test_unknown_or_unfit_builder_is_named(self, settings, mocked, builder, words):
        settings.data.builder = builder
        with pytest.raises(UserError, match=words):
            prepare.prepare(settings, quiet=True)

    def test_builder_without_examples_is_named(self, settings, tmp_path):
        quiet_tensorflow()
        tfds = pytest.importorskip("tensorflow_datasets")
        builder = tfds.builder("ucf101", data_dir=tmp_path)
        Path(builder.data_dir).mkdir(parents=True)
        builder.info.write_to_directory(builder.data_dir)
        with settings.unlocked():
            settings.data.update(source="tfds", builder="ucf101", root=str(tmp_path))
        with pytest.raises(UserError, match="ucf101' has no examples"):
            prepare.prepare(settings, quiet=True)

    def test_beam_refuses_tfds_sources(self, settings, mocked):
        with pytest.raises(UserError, match="--beam decodes video files"):
            prepare.prepare(settings, quiet=True, beam_options="")

    @pytest.mark.slow
    @pytest.mark.parametrize("file_format", ["tfrecord", "array_record", "parquet"])
    def test_own_builder_with_grey_and_empty_videos(self, settings, tmp_path, file_format):
        """A data set that tfds builds: one split, and three classes of which two are chosen."""
        own_builder(tmp_path / "tfds", file_format)
        with settings.unlocked():
            settings.data.update(
                source="tfds", builder="grey_videos", root=str(tmp_path / "tfds"),
                classes=("a", "b"), val_fraction=0.0, test_fraction=0.0, max_bad_fraction=0.2,
            )  # fmt: skip
        done = prepare.prepare(settings, quiet=True)
        assert done.index.protocol == "grouped (groups unknown)"
        assert len(done.index.split("train")) == 8 and len(done.facts) == 7
        assert list(done.bad.values()) == ["a video without frames"]
        shades = []
        for path in done.facts:
            frames_THWC = stored(done, path)
            assert frames_THWC.shape == (4, 32, 32, 3) and np.ptp(frames_THWC) == 0
            shades.append(int(frames_THWC[0, 0, 0, 0]))
        assert sorted(shades) == [0, 10, 40, 60, 70, 90, 100]
        labels = {video.path: video.label for video in done.index.videos}
        assert [labels[path] for path in done.facts] == ["ab"[shade // 10 % 3] for shade in shades]


def own_builder(data_dir: Path, file_format: str) -> None:
    """Builds a tfds data set of 12 grey videos of shade 10 times their number; one is empty."""
    quiet_tensorflow()
    tfds = pytest.importorskip("tensorflow_datasets")

    class GreyVideos(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "video": tfds.features.Video(shape=(None, 16, 24, 1)),
                "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for k in range(12):
                video = np.full((0 if k == 3 else 4, 16, 24, 1), 10 * k, np.uint8)
                yield k, {"video": video, "label": k % 3}

    config = tfds.download.DownloadConfig(register_checksums=False)
    builder = GreyVideos(data_dir=data_dir, file_format=file_format)
    builder.download_and_prepare(download_config=config)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_is_a_bar_or_plain_lines(is_terminal, monkeypatch):
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0)
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=is_terminal, highlight=False)
    with terminal.VideoProgress(3, console) as progress:
        for bad in (False, True, False):
            progress.advance(bad=bad)
    last = out.getvalue().splitlines()[-1]
    assert "decoding: 3 videos in 0" in last and last.endswith("1 bad")
    assert ("\x1b" in out.getvalue()) == ("━" in out.getvalue()) == is_terminal
    assert ("decoding: 2 of 3 videos, " in out.getvalue()) != is_terminal


@pytest.mark.slow
@pytest.mark.parametrize("shard_bytes", [10_000, 2**20])  # as many shards, and fewer
def test_replaced_folder_is_not_read_as_before(settings, two_classes, shard_bytes, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(shards.ShardWriter.__init__.__kwdefaults__, "shard_bytes", 10_000)
        settings.data.workers = 1
        before = prepare.prepare(settings, quiet=True)
    opened, late = FrameStore(before), FrameStore(before)
    expected = opened.load(range(10))
    shutil.rmtree(before.directory)
    settings.data.decode_timeout += 1  # the same name, and other facts
    with monkeypatch.context() as patch:
        patch.setitem(shards.ShardWriter.__init__.__kwdefaults__, "shard_bytes", shard_bytes)
        after = prepare.prepare(settings, quiet=True)
    assert after.directory == before.directory
    assert (after.shards.keys() == before.shards.keys()) == (shard_bytes == 10_000)
    assert (opened.load(range(10)) == expected).all()
    with pytest.raises(DamagedError, match="was prepared anew while this process used it"):
        late.load(range(10))


def test_store_keeps_few_shards_open(settings, two_classes, monkeypatch):
    monkeypatch.setitem(shards.ShardWriter.__init__.__kwdefaults__, "shard_bytes", 10_000)
    prepared = prepare.prepare(settings, quiet=True)
    assert len(prepared.shards) >= 4
    whole = FrameStore(prepared).load(range(len(FrameStore(prepared))))
    monkeypatch.setattr("vid3d.data.store.OPEN_SHARDS", 2)
    store = FrameStore(prepared)
    order = np.random.default_rng(0).permutation(len(store))
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for record in order:
        assert (store.load([record])[0] == whole[record]).all()
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) <= before + 2
        store.close()
        assert len(os.listdir("/proc/self/fd")) == before
    shard = prepared.directory / next(iter(prepared.shards))
    shard.unlink()
    with pytest.raises(DamagedError, match=r"is damaged .it is missing."):
        FrameStore(prepared).load(range(4))


def test_shard_cut_after_opening_is_damaged(settings, two_classes):
    prepared = prepare.prepare(settings, quiet=True)
    store = FrameStore(prepared)
    store.load([0])
    for name in prepared.shards:
        os.truncate(prepared.directory / name, 0)
    with pytest.raises(DamagedError, match=r"array_record-00000-of-.* is damaged"):
        store.load(range(1, len(store)))


def test_foreign_cache_entries_do_not_break_report(settings, two_classes, capsys):
    other = Path(settings.data.cache_dir) / "frames-other"
    other.mkdir(parents=True)
    (other / "gone").symlink_to(other / "nowhere")
    prepare.prepare(settings)
    assert "cache: 2 sets of frames" in capsys.readouterr().err

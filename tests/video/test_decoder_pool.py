"""A bad video costs itself alone: not the run, not its neighbours, and no process stays behind."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
import pytest

from vid3d.data import prepare
from vid3d.errors import UserError
from vid3d.video import decoder_handle, decoder_pool, frames
from vid3d.video.decoder_pool import Again, Done, Failed, Frames
from vid3d.video.records import Settings, record_bytes, record_header

SMALL = Settings(size=(16, 16), resize="squash", color="rgb", max_frames=0, store="raw")
LARGE = Settings(size=(256, 256), resize="squash", color="rgb", max_frames=0, store="raw")


def collect(paths, settings=SMALL, *, act=lambda event: None, **options):
    """Decodes, and returns (frames by job, the last event by job, all events)."""
    options = dict(workers=2, timeout=20.0) | options
    pieces, ends, events = defaultdict(list), {}, []
    for event in decoder_pool.decode(map(str, paths), settings, **options):
        events.append(event)
        if isinstance(event, Frames):
            size = int(np.prod(settings.frame_shape))
            pieces[event.job] += [bytes(record)[-size:] for record in event.records]
        elif isinstance(event, Again):
            pieces.pop(event.job, None)
        else:
            ends[event.job] = event
        act(event)
    shape = (-1, *settings.frame_shape)
    found = {k: np.frombuffer(b"".join(p), np.uint8).reshape(shape) for k, p in pieces.items()}
    return found, ends, events


def test_children_decode_as_the_parent(decoders, video, settings, tmp_path):
    paths = [video(tmp_path / f"{k}.avi", 5 + k, shade=k) for k in range(12)]
    found, ends, _ = collect(paths, LARGE)
    with settings.unlocked():
        settings.data.size = 256
    for job, path in enumerate(paths):
        decoded = frames.read_video(path, settings.data)
        assert (found[job] == decoded.frames_THWC).all()
        assert ends[job].times.tolist() == decoded.times_T.tolist()
        assert (ends[job].fps, ends[job].size) == (decoded.fps, decoded.size)
        digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
        assert ends[job].sha256 == digest.stdout.split()[0]
    assert not decoders()


def test_frames_pass_through_disk_without_memfd(video, tmp_path, monkeypatch):
    """As on macOS."""
    paths = [video(tmp_path / "x.avi", 5)]
    expected, _, _ = collect(paths)
    monkeypatch.delattr(os, "memfd_create")
    found, _, _ = collect(paths)
    assert len(found[0]) == 5 and (found[0] == expected[0]).all()


@pytest.mark.parametrize(("number", "name"), [(signal.SIGBUS, "SIGBUS"), (40, "signal 40")])
def test_signal_that_ended_decoder_is_named(number, name):
    child = subprocess.Popen([sys.executable, "-c", f"import os; os.kill(os.getpid(), {number})"])
    assert decoder_handle.death(child) == f"the decoder crashed ({name})"


def test_long_video_passes_small_memory_in_order(video, tmp_path):
    path = video(tmp_path / "long.avi", 200)
    sizes = []

    def watch(event):
        if isinstance(event, Frames):
            sizes.append(sum(map(len, event.records)))

    found, ends, events = collect([path], LARGE, act=watch)
    assert len(found[0]) == len(ends[0].times) == 200
    assert len(sizes) > decoder_pool.SLOTS and max(sizes) <= decoder_pool.SLOT_BYTES
    brightness = found[0].mean((1, 2, 3))
    assert np.allclose(brightness, [(10 * (k + 1)) % 256 for k in range(200)], atol=3)
    assert [type(event) for event in events[-1:]] == [Done]


def test_bad_videos_fail_with_their_reasons(video, tmp_path):
    good = [video(tmp_path / f"{k}.avi", 5) for k in range(4)]
    (tmp_path / "empty.avi").touch()
    (tmp_path / "text.avi").write_text("no video")
    bad = [tmp_path / "empty.avi", tmp_path / "text.avi", tmp_path / "gone.avi"]
    _, ends, _ = collect([good[0], *bad, *good[1:]])
    reasons = {job: end.reason for job, end in ends.items() if isinstance(end, Failed)}
    assert set(reasons) == {1, 2, 3}
    assert "empty" in reasons[1] and "not a video" in reasons[2] and "no such file" in reasons[3]
    assert all(isinstance(ends[job], Done) for job in (0, 4, 5, 6))


@pytest.mark.slow
def test_flipped_bytes_give_frames_or_reasons(decoders, video, tmp_path):
    paths = []
    for suffix, count in ((".avi", 450), (".mp4", 450), (".mkv", 100)):
        made = video(tmp_path / f"whole{suffix}", 5, size=(16, 24))
        whole = np.frombuffer(made.read_bytes(), np.uint8)
        for seed in range(count):
            rng = np.random.default_rng(seed)
            spoilt = whole.copy()
            places = rng.integers(0, len(whole), 1 + seed // 9)
            spoilt[places] = rng.integers(0, 256, len(places))
            paths.append(tmp_path / f"{seed}{suffix}")
            paths[-1].write_bytes(spoilt)
    _, ends, _ = collect(paths, timeout=5.0)
    assert len(ends) == len(paths) == 1000
    assert all(isinstance(end, Done) or end.reason for end in ends.values())
    assert sum(isinstance(end, Done) for end in ends.values()) > 300
    assert not decoders()


@pytest.mark.slow
def test_flipped_bytes_of_real_files_give_frames_or_reasons(decoders, shared, tmp_path):
    files = [
        next((shared / "ucf101_sample").rglob("*.avi")),
        shared / "odd_videos" / "realshort.mp4",
    ]
    paths = []
    for path in files:
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        whole = whole[:100_000] if path.suffix == ".avi" else whole
        for seed in range(500):
            rng = np.random.default_rng(seed)
            spoilt = whole.copy()
            # Where the headers are (an MP4 has them at its end), and anywhere.
            near = rng.integers(0, 4096, seed % 5)
            places = np.concatenate([near, -1 - near, rng.integers(0, len(whole), 1 + seed // 9)])
            spoilt[places] = rng.integers(0, 256, len(places))
            paths.append(tmp_path / f"{seed}{path.suffix}")
            paths[-1].write_bytes(spoilt)
    _, ends, _ = collect(paths, Settings((16, 16), "squash", "rgb", 10, "raw"), timeout=5.0)
    assert len(ends) == len(paths) == 1000
    assert all(isinstance(end, Done) or end.reason for end in ends.values())
    assert sum(isinstance(end, Done) for end in ends.values()) > 300
    assert not decoders()


@pytest.mark.slow
def test_odd_files_are_decoded_or_in_ledger(ffmpeg, video, settings, tmp_path):
    root = tmp_path / "videos"
    expected: dict[str, int | str] = {}  # frames, or words of the reason
    root.mkdir()
    (root / "no bytes.mp4").touch()
    (root / "text.mp4").write_text("not a video\n" * 100)
    expected |= {"no bytes.mp4": "empty file", "text.mp4": "not a video"}
    for suffix in (".avi", ".mp4"):
        whole = video(tmp_path / f"whole{suffix}", 20).read_bytes()
        for share in (0.1, 0.5, 0.9):
            cut = root / f"cut at {share}{suffix}"
            cut.write_bytes(whole[: int(len(whole) * share)])
            # The header of an AVI comes first, that of an MP4 last.
            expected[cut.name] = "not a video" if suffix == ".mp4" else -1
    whole = (tmp_path / "whole.avi").read_bytes()
    (root / "header only.avi").write_bytes(whole[: whole.index(b"movi") + 4])
    expected["header only.avi"] = ""
    lying = bytearray(whole)
    for tag, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = lying.index(tag) + offset
        lying[at : at + 4] = (431).to_bytes(4, "little")
    (root / "lying.avi").write_bytes(lying)
    expected["lying.avi"] = 20
    for name, count, source in (
        ("one frame.mkv", 1, "testsrc=s=32x24:d=0.04:r=25"),
        ("8K.mkv", 1, "testsrc=s=7680x4320:d=0.04:r=25"),
        ("odd size.mkv", 5, "testsrc=s=31x17:d=0.2:r=25"),
    ):
        ffmpeg("-f", "lavfi", "-i", source, "-c:v", "ffv1", root / name)
        expected[name] = count
    short = ("-f", "lavfi", "-i", "testsrc=s=32x24:d=0.2:r=25")
    ffmpeg(*short, "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", root / "10 bit.mkv")
    variable = ("-vf", "setpts=N*N/25/TB", "-fps_mode", "passthrough", "-c:v", "mpeg4")
    ffmpeg(*short, *variable, root / "variable rate.mkv")
    ffmpeg(
        "-i",
        tmp_path / "whole.mp4",
        "-c",
        "copy",
        "-metadata:s:v",
        "rotate=90",
        root / "rotated.mp4",
    )
    ffmpeg(*short, "-frames:v", "0", "-c:v", "mpeg4", root / "no frames.mp4")
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", root / "sound.mp4")
    (root / "circle.mp4").symlink_to(root / "circle.mp4")
    video(root / "-日本.avi", 5)
    expected |= {
        "10 bit.mkv": 5, "variable rate.mkv": 5, "rotated.mp4": 20, "no frames.mp4": "",
        "sound.mp4": "not a video", "circle.mp4": "symbolic links", "-日本.avi": 5,
    }  # fmt: skip
    rows = [f"{name},{'ab'[k % 2]},train\n" for k, name in enumerate(expected)]
    (root / "manifest.csv").write_text("path,label,split\n" + "".join(rows))
    with settings.unlocked():
        settings.data.update(
            root=str(root), val_fraction=0.0, test_fraction=0.0, max_bad_fraction=1.0
        )
        settings.data.decode_timeout = 10.0
    done = prepare.prepare(settings, quiet=True)
    with done.ledger.open(newline="") as file:
        ledger = dict(list(csv.reader(file))[1:])
    assert done.facts.keys() | ledger.keys() == expected.keys()
    assert not done.facts.keys() & ledger.keys()
    for name, what in expected.items():
        if isinstance(what, str):
            assert ledger[name] and what in ledger[name], (name, ledger.get(name))
        elif what > 0:
            assert done.facts[name].num_frames == what, name
        else:
            assert name in ledger or done.facts[name].num_frames < 20, name
    assert done.facts["lying.avi"].damage == ""


def test_unreadable_file_is_reported(video):
    """As another user, since root may read everything."""
    code = (
        "import os, sys\nfrom vid3d.video.reader import Reader\n"
        "os.getuid() or os.seteuid(65534)\nReader(sys.argv[1])\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = video(Path(folder) / "x.avi", 3)
        Path(folder).chmod(0o755)
        path.chmod(0)
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "cannot be read: Permission denied" in done.stderr


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("os._exit(123)", "ended with exit code 123"),
        ("exec('while True: pass')", "hung: nothing for 2 s"),
        ("bytearray(2**40)", "decoding needs too much memory: the file is damaged, or"),
    ],
)
def test_misbehaving_decoder_costs_one_video(decoders, act, reason, video, tmp_path, monkeypatch):
    """A hook in Python acts as the broken decoder when a file with a certain name is opened."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "def hook(event, arguments):\n"
        "    if event == 'open' and 'poison' in str(arguments[0]):\n"
        f"        {act}\n"
        "sys.addaudithook(hook)\n"
    )
    inherited = decoder_handle.child_environment()
    monkeypatch.setattr(
        decoder_handle,
        "child_environment",
        lambda: inherited | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    paths = [video(tmp_path / f"{name}.avi", 5) for name in ("poison", "a", "b", "c")]
    _, ends, _ = collect(paths, timeout=2.0)
    assert isinstance(ends[0], Failed) and reason in ends[0].reason
    assert all(isinstance(ends[job], Done) for job in (1, 2, 3))
    assert not decoders()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blow", "reason"),
    [
        (signal.SIGSEGV, "crashed (SIGSEGV)"),
        (signal.SIGKILL, "crashed (SIGKILL)"),
        (signal.SIGSTOP, "hung: nothing for 3 s"),
    ],
)
def test_video_that_kills_decoders_costs_itself(decoders, video, tmp_path, blow, reason):
    paths = [
        video(tmp_path / "poison.avi", 400),
        *[video(tmp_path / f"{k}.avi", 5) for k in range(4)],
    ]

    def strike(event):
        if isinstance(event, Frames) and event.job == 0:
            victim = child_with_open(paths[0], decoders())
            if victim is not None:  # the last frames of one that is dead already
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, blow)

    started = time.monotonic()
    _, ends, events = collect(paths, LARGE, act=strike, timeout=3.0)
    assert isinstance(ends[0], Failed) and reason in ends[0].reason
    assert all(isinstance(ends[job], Done) for job in range(1, 5))
    assert any(isinstance(event, Again) for event in events) == (blow != signal.SIGSTOP)
    assert time.monotonic() - started < 60
    assert not decoders()


def child_with_open(path: Path, decoders: list[psutil.Process]) -> int | None:
    """The decoder that is reading this file, if there is one."""
    for process in decoders:
        with contextlib.suppress(psutil.Error):
            if any(file.path == str(path) for file in process.open_files()):
                return process.pid
    return None


def test_single_decoder_death_costs_nothing(decoders, video, tmp_path):
    paths = [video(tmp_path / f"{k}.avi", 200) for k in range(4)]  # more than the slots hold
    struck = []

    def strike(event):
        if not struck and isinstance(event, Frames):
            victim = child_with_open(paths[event.job], decoders())
            if victim is not None:
                struck.append(victim)
                os.kill(victim, signal.SIGKILL)

    found, ends, _ = collect(paths, LARGE, act=strike)
    assert struck
    assert all(isinstance(end, Done) for end in ends.values()) and len(ends) == 4
    assert all(len(found[job]) == 200 for job in range(4))


@pytest.mark.slow
def test_video_beyond_memory_limit_fails(ffmpeg, video, tmp_path):
    bomb = tmp_path / "bomb.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=s=6000x6000:d=0.04:r=25", "-c:v", "ffv1", bomb)
    paths = [bomb, video(tmp_path / "x.avi", 5)]
    _, ends, _ = collect(paths, memory_bytes=100 * 2**20)
    assert isinstance(ends[0], Failed), ends[0]
    assert isinstance(ends[1], Done)


def test_disguised_playlist_opens_no_address(tmp_path, video):
    video(tmp_path / "real.avi", 5)
    for name, text in (
        ("hls.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n"),
        ("concat.mp4", "ffconcat version 1.0\nfile http://127.0.0.1:9/x.avi\n"),
    ):
        (tmp_path / name).write_text(text)
        _, ends, _ = collect([tmp_path / name])
        assert isinstance(ends[0], Failed)


@pytest.mark.slow
def test_slow_consumer_causes_no_timeout(video, tmp_path):
    paths = [video(tmp_path / f"{k}.avi", 100) for k in range(3)]
    paused = []

    def pause(event):
        if len(paused) < 3 and isinstance(event, Frames):
            paused.append(event)
            time.sleep(1.2)

    _, ends, _ = collect(paths, LARGE, act=pause, timeout=1.0)
    assert all(isinstance(end, Done) for end in ends.values()) and len(ends) == 3


def test_closing_early_leaves_no_process(decoders, video, tmp_path):
    paths = [video(tmp_path / f"{k}.avi", 100) for k in range(4)]
    events = decoder_pool.decode(map(str, paths), LARGE, workers=2, timeout=20.0)
    next(events)
    assert decoders()
    events.close()
    assert not decoders()


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True], ids=["busy", "hanging"])
def test_no_child_outlives_its_parent(video, tmp_path, stopped):
    path = video(tmp_path / "x.avi", 300)
    code = (
        "import sys, time\nfrom vid3d.video import decoder_pool\nfrom vid3d.video.records import "
        "Settings\ns = Settings((256, 256), 'squash', 'rgb', 0, 'raw')\n"
        "events = decoder_pool.decode([sys.argv[1]] * 4, s, workers=2, timeout=60)\n"
        "lanes = set()\n"
        "while len(lanes) < 2:\n    lanes.add(next(events).lane)\n"
        "print('go', flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"go\n"
    orphans = psutil.Process(parent.pid).children()
    assert len(orphans) == 2
    if stopped:
        orphans[0].suspend()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert not psutil.wait_procs(orphans, timeout=10)[1]


def test_look_reads_claimed_frame_counts(video, tmp_path):
    paths = [video(tmp_path / f"{k}.avi", 5 + k) for k in range(3)]
    _, ends, events = collect(paths, look=True)
    assert [ends[job].claimed for job in range(3)] == [5, 6, 7]
    assert not any(isinstance(event, Frames) for event in events)


def test_child_that_cannot_start_says_why(monkeypatch, video, tmp_path):
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1 is missing')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(
        decoder_handle,
        "child_environment",
        lambda: os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    with pytest.raises(UserError, match=r"libGL\.so\.1 is missing"):
        collect([video(tmp_path / "x.avi", 3)])


def test_modules_in_current_folder_are_not_loaded(video, tmp_path, monkeypatch):
    for name in ("cv2", "json", "vid3d"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    _, ends, _ = collect([video(tmp_path / "x.avi", 3)])
    assert isinstance(ends[0], Done)


ROOT = Path(decoder_pool.__file__).parents[2]


def test_no_videos_give_no_events():
    assert collect([])[2] == []


def test_records_are_tf_examples():
    tf = pytest.importorskip("tensorflow")
    for size in (1, 100, 127, 128, 16_000, 16_383, 16_384, 3_000_000):
        payload = np.random.default_rng(size).bytes(size)
        example = tf.train.Example.FromString(record_header(size) + payload)
        assert example.features.feature["frame"].bytes_list.value[0] == payload
    assert record_bytes(SMALL) == len(record_header(768)) + 768


def test_children_load_neither_jax_nor_tensorflow():
    code = (
        "import sys, vid3d.video.decoder_child\n"
        "print([m for m in ('jax', 'tensorflow', 'ml_collections') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

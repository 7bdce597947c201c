"""Live labels of files and an unreliable camera, in a real window, in a video and as JSON.

The camera is ffmpeg serving a video in real time over HTTP, as network cameras do.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes.util
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from vid3d.commands import live as command
from vid3d.errors import UserError
from vid3d.inference.camera import Worker
from vid3d.inference.live import live
from vid3d.inference.live_output import Recording, to_json
from vid3d.video import frames
from vid3d.video.writer import VideoWriter

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PATIENCE = 120  # seconds that a process may take on a busy machine


def labels_of(workdir, source, **options) -> list[dict]:
    """The JSON lines of `vid3d live`, parsed."""
    lines: list[str] = []
    live(workdir, source, on_label=lambda label: lines.append(to_json(label)), **options)
    return [json.loads(line) for line in lines]


def run_live(workdir, source, *, as_json=False, output="") -> int:
    """`vid3d live` in this process; returns the exit code."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    options = parser.parse_args([f"--workdir={workdir}", f"--source={source}"])
    options.json, options.output = as_json, output
    return command.run(options, [])


@contextlib.contextmanager
def process(*arguments: object, **env: str) -> Iterator[subprocess.Popen]:
    """`vid3d live` in a process of its own, which is stopped at the end if it still runs."""
    command = [sys.executable, "-m", "vid3d.cli", "live", *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XLA_FLAGS": ""} | env,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def camera(video: Path, port: int, *, real_time: bool = True) -> Iterator[str]:
    """The URL of a camera that shows a video again and again."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    url = f"http://127.0.0.1:{port}/camera"
    pace = ["-re"] if real_time else []
    command = ["ffmpeg", "-v", "error", *pace, "-stream_loop", "-1", "-i", video]
    command += ["-c:v", "mjpeg", "-q:v", "2", "-f", "mpjpeg", "-listen", "1", url]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for_listener(server)
            yield url
        finally:
            server.kill()


def wait_for_listener(server: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if any(
            c.status == psutil.CONN_LISTEN for c in psutil.Process(server.pid).net_connections()
        ):
            return
        time.sleep(0.05)
    raise AssertionError("ffmpeg does not listen")


def test_labels_of_a_file_are_reproducible(workdir, videos, load):
    runs = []
    for _ in range(2):
        runs.append(labels_of(workdir, videos["turning"]))
        for line in runs[-1]:
            assert list(line) == [
                "event", "time", "seconds", "label", "probability", "probabilities", "latency_ms",
            ]  # fmt: skip
            assert line.pop("event") == "label" and line.pop("latency_ms") > 0
            age = datetime.now(UTC) - datetime.fromisoformat(line.pop("time"))
            assert timedelta(0) < age < timedelta(seconds=PATIENCE)
    assert runs[0] == runs[1]
    assert len(runs[0]) == 99  # 102 frames, windows of 4
    labels = [label for label, _ in itertools.groupby(line["label"] for line in runs[0])]
    assert [labels[0], labels[-1]] == ["red", "green"] and "blue" in labels
    stream = load().stream()
    answers = [stream.push(*item) for item in frames.read_frames(videos["turning"])]
    assert [a.probabilities for a in answers if a] == [line["probabilities"] for line in runs[0]]


def test_file_urls_are_never_overwritten(workdir, videos):
    url = videos["turning"].absolute().as_uri()
    assert len(labels_of(workdir, url)) == 99
    with pytest.raises(UserError, match="would overwrite the source"):
        live(workdir, url, output=videos["turning"])


def test_live_options_are_applied(workdir, videos):
    overrides = [("live.every", "10"), ("live.smoothing", "0.7"), ("live.threshold", "0.9")]
    lines = labels_of(workdir, videos["turning"], overrides=overrides)
    assert [round(25 * line["seconds"]) for line in lines] == list(range(3, 102, 10))
    assert "unknown" in {line["label"] for line in lines}
    with pytest.raises(UserError, match="fixed by the checkpoint"):
        labels_of(workdir, videos["red"], overrides=[("data.size", "8")])
    with pytest.raises(UserError, match=r"live\.every"):
        labels_of(workdir, videos["red"], overrides=[("live.evry", "8")])


def test_file_shorter_than_a_window_has_one_label(make_workdir, videos):
    workdir = make_workdir({"data.sampling": "uniform", "live.window": 5.0})
    lines = labels_of(workdir, videos["green"])
    assert [line["label"] for line in lines] == ["green"]


def test_short_file_shows_its_label_from_the_start(make_workdir, videos, tmp_path):
    workdir = make_workdir({"data.sampling": "uniform", "live.window": 5.0})
    output = tmp_path / "annotated.mp4"
    live(workdir, videos["green"], output=output)
    bars = [frame[-26:, :160] for frame, _ in frames.read_frames(output)]
    assert len(bars) == 12
    for bar in bars:
        assert (bar > 180).all(axis=2).sum() > 20  # white letters
        assert np.abs(bar.astype(int) - bars[-1]).mean() < 12


def test_annotated_video_labels_every_frame(workdir, videos, tmp_path, capsys):
    output = tmp_path / "annotated.mp4"
    assert run_live(workdir, videos["turning"], output=output) == 0
    assert capsys.readouterr().out == f"wrote {output}: 102 frames, 99 labels\n"
    original = [frame for frame, _ in frames.read_frames(videos["turning"])]
    annotated = list(frames.read_frames(output))
    assert len(annotated) == 102
    assert annotated[-1][1] == pytest.approx(101 / 25, abs=0.01)
    for before, (after, _) in zip(original, annotated, strict=True):
        assert after.shape == (240, 320, 3)  # five times enlarged, to be legible
        above, below = after[:200].mean(axis=(0, 1)), after[-26:].mean(axis=(0, 1))
        assert np.abs(above - before.mean(axis=(0, 1))).max() < 12
        assert below.max() < 0.6 * above.max()
    assert (annotated[50][0][-26:, :160] > 180).all(axis=2).sum() > 20  # white letters


def test_json_and_video_together(workdir, videos, tmp_path, capsys):
    assert run_live(workdir, videos["red"], output=tmp_path / "red.mp4", as_json=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {json.loads(line)["label"] for line in lines} == {"red"}
    assert len(list(frames.read_frames(tmp_path / "red.mp4"))) == 12


def test_options_set_what_the_config_sets(workdir, videos, call):
    """As in predict, and one that predict does not have."""
    source = (f"--workdir={workdir}", f"--source={videos['turning']}", "--json")
    short = call("live", *source, "--threshold=0.9", "--smoothing=0.7", "--every=10").stdout
    keys = {"threshold": 0.9, "smoothing": 0.7, "every": 10}
    long = call("live", *source, *(f"--config.live.{k}={v}" for k, v in keys.items())).stdout
    plain = call("live", *source).stdout
    labels = [[json.loads(line)["label"] for line in text.splitlines()] for text in (short, long)]
    assert labels[0] == labels[1] and "unknown" in labels[0]
    assert len(labels[0]) < len(plain.splitlines())


def test_unreadable_sources_give_one_error_line(workdir, videos, tmp_path, port):
    (tmp_path / "empty.mp4").touch()
    for source, reason in (
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path / "empty.mp4", "empty"),
        (tmp_path, "not a file"),
        ("71", "camera"),
        (f"http://127.0.0.1:{port}/camera", "cannot be opened"),
    ):
        with pytest.raises(UserError, match=reason) as error:
            live(workdir, source, output=tmp_path / "out.mp4")
        assert str(source) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="none"):
        labels_of(tmp_path / "none", videos["red"])
    assert [p.name for p in tmp_path.iterdir()] == ["empty.mp4"]


def test_missing_display_gives_one_error_line(workdir, videos):
    for name in ("", ":987"):
        with process(f"--workdir={workdir}", f"--source={videos['red']}", DISPLAY=name) as child:
            out, err = child.communicate(timeout=PATIENCE)
        assert child.returncode == 1 and out == ""
        assert "no display" in err and "--output" in err and err.count("\n") == 1


def find_window(display: str, child: subprocess.Popen) -> str:
    """The number of the visible window, once there is one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and child.poll() is None:
        command = ["xdotool", "search", "--onlyvisible", "--name", "^vid3d$"]
        found = subprocess.run(
            command, env=os.environ | {"DISPLAY": display}, capture_output=True, text=True
        ).stdout.split()
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no window; {child.poll()}")


def screenshot(display: str, window: str, path: Path) -> np.ndarray:
    """What the window shows, uint8 RGB, once that is something."""
    if not shutil.which("import"):
        pytest.skip("imagemagick is not installed")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        command = ["import", "-display", display, "-window", window, str(path)]
        subprocess.run(command, check=True, timeout=PATIENCE)
        seen = cv2.imread(str(path))
        if seen is not None and seen.max() > 100:
            return seen[:, :, ::-1]
        time.sleep(0.2)
    raise AssertionError("the window stays empty")


def test_no_window_stays_black_on_a_busy_machine(display):
    if not shutil.which("import"):
        pytest.skip("imagemagick is not installed")
    if not ctypes.util.find_library("X11-xcb"):
        pytest.skip("the system has no libX11-xcb")
    done = subprocess.run(
        [sys.executable, HERE / "open_windows.py", "6"],
        env=os.environ | {"DISPLAY": display, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{[200] * 6}\n"), done.stderr


@pytest.mark.parametrize("way", ["escape", "close"])
def test_window_shows_the_label_until_closed(
    workdir, noisy, write_video, tmp_path, display, way, port
):
    """That of a file by a key, that of a camera by its button."""
    source = write_video(tmp_path / "long.avi", np.tile(noisy("green", 50), (100, 1, 1, 1)))
    env = os.environ | {"DISPLAY": display}
    with contextlib.ExitStack() as stack:
        if way == "close":
            source = stack.enter_context(camera(source, port))
        arguments = (f"--workdir={workdir}", f"--source={source}")
        child = stack.enter_context(process(*arguments, DISPLAY=display))
        window = find_window(display, child)
        seen = screenshot(display, window, tmp_path / "window.png")
        assert seen.shape == (240, 320, 3)
        assert np.abs(seen[:200].mean(axis=(0, 1)) - (40, 200, 40)).max() < 20
        assert (seen[-26:] > 180).all(axis=2).any()  # white letters
        if way == "escape":
            subprocess.run(["xdotool", "key", "--window", window, "a"], env=env, check=True)
            assert child.poll() is None
            subprocess.run(["xdotool", "key", "--window", window, "Escape"], env=env, check=True)
        else:
            command = [sys.executable, HERE / "close_window.py", window]
            subprocess.run(command, env=env, check=True)
        out, err = child.communicate(timeout=PATIENCE)
    assert (child.returncode, out, err) == (0, "", "")


def test_stream_cut_in_its_first_frame_raises(workdir, videos, serve, tmp_path):
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    path = tmp_path / "stream.mkv"
    command = ["ffmpeg", "-v", "error", "-i", videos["red"], "-c:v", "mjpeg", "-live", "1", path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\x1f\x43\xb6\x75") + 60])  # where the frames begin
    with serve(tmp_path) as url:
        url = f"{url}/stream.mkv"
        with pytest.raises(UserError, match=f"^{url}: no frame can be decoded"):
            labels_of(workdir, url)


def test_thread_errors_are_raised_by_check():
    class Fails(Worker):
        def run(self):
            raise UserError("no memory left")

    with Fails() as worker, pytest.raises(UserError, match="no memory left"):
        for _ in range(100 * PATIENCE):
            worker.check()
            time.sleep(0.01)


def test_lost_camera_is_reopened(workdir, videos, tmp_path, port):
    output = tmp_path / "out.mp4"
    with contextlib.ExitStack() as stack:
        with camera(videos["red"], port) as url:
            child = stack.enter_context(
                process(f"--workdir={workdir}", f"--source={url}", "--json", f"--output={output}")
            )
            first = [json.loads(child.stdout.readline()) for _ in range(5)]
        assert {line["label"] for line in first} == {"red"}
        while "no signal" not in child.stderr.readline():
            assert child.poll() is None
        time.sleep(1)
        with camera(videos["blue"], port):
            deadline = time.monotonic() + PATIENCE
            events = []
            while (line := json.loads(child.stdout.readline())).get("label") != "blue":
                assert time.monotonic() < deadline
                events += [line] if line["event"] != "label" else []
            assert [event["event"] for event in events] == ["lost", "back"]
            assert all(list(event) == ["event", "time", "seconds"] for event in events)
            for before, after in itertools.pairwise([first[0], first[-1], *events, line]):
                began, ended = (datetime.fromisoformat(what["time"]) for what in (before, after))
                passed = after["seconds"] - before["seconds"]
                assert passed > 0 and ended.tzinfo
                assert (ended - began).total_seconds() == pytest.approx(passed, abs=0.5)
            later = [json.loads(child.stdout.readline()) for _ in range(5)]
            assert {line["label"] for line in later} == {"blue"}
            assert later[0]["seconds"] > line["seconds"] > first[-1]["seconds"] + 1
            child.send_signal(signal.SIGTERM)
            _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, errors
    shown = [frame[:200].mean(axis=(0, 1)).argmax() for frame, _ in frames.read_frames(output)]
    assert shown[0] == 0 and shown[-1] == 2


def test_memory_is_constant_over_ten_thousand_frames(workdir, videos, port):
    with (
        camera(videos["turning"], port, real_time=False) as url,
        process(f"--workdir={workdir}", f"--source={url}", "--json") as child,
    ):
        running, memory, counts = psutil.Process(child.pid), [], []
        for number in range(10_001):  # each label is that of at least one new frame
            json.loads(child.stdout.readline())
            if number in (3_000, 6_500, 10_000):
                memory.append(running.memory_info().rss)
                counts.append((running.num_threads(), running.num_fds()))
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, errors
    assert max(memory) < 1.01 * memory[0], memory
    threads, handles = zip(*counts, strict=True)
    assert (max(threads), max(handles)) == counts[0], counts


def test_camera_is_recorded_for_the_given_time(workdir, videos, tmp_path, port):
    with camera(videos["green"], port) as url:
        live(workdir, url, output=tmp_path / "out.mp4", seconds=1.0)
    for frame, _ in frames.read_frames(tmp_path / "out.mp4"):
        assert frame[:200].mean(axis=(0, 1)).argmax() == 1


def test_file_is_labelled_for_the_given_time(workdir, videos, tmp_path, call):
    """Up to a frame that comes at that time; less than a window has its one label."""
    command = ("live", f"--workdir={workdir}", f"--source={videos['turning']}", "--json")
    lines = [json.loads(line) for line in call(*command, "--seconds=1").stdout.splitlines()]
    assert [round(25 * line["seconds"]) for line in lines] == list(range(3, 25))
    assert len(call(*command, "--seconds=0.1").stdout.splitlines()) == 1
    for wrong in ("--seconds=-1", "--seconds=nan", "--wait=soon"):
        with pytest.raises(SystemExit, match="2"):
            call(*command, wrong)
    assert "--wait is for cameras and streams" in call(*command, "--wait=5", check=1).stderr


def test_camera_that_comes_late_is_waited_for(workdir, videos, port, capfd):
    came, ended = threading.Event(), threading.Event()

    def serve() -> None:
        came.wait(PATIENCE)
        with camera(videos["green"], port):
            ended.wait(PATIENCE)

    url = f"http://127.0.0.1:{port}/camera"
    with pytest.raises(UserError, match=f"^{url}: the stream cannot be opened"):
        labels_of(workdir, url, wait=0.1)
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    capfd.readouterr()
    thread = threading.Thread(target=serve)
    thread.start()
    threading.Timer(1.0, came.set).start()
    try:
        lines = labels_of(workdir, url, wait=PATIENCE, seconds=0.5)
    finally:
        came.set()
        ended.set()
        thread.join()
    assert {line["label"] for line in lines} == {"green"}
    assert lines[-1]["seconds"] < 1.0
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and said.endswith(f"; waiting {PATIENCE} s for it\n")


def test_recording_keeps_camera_times(tmp_path):
    """A frame that is shown again is not written again, and of a long gap a second is kept."""
    path = tmp_path / "out.mp4"
    came = [3.0, 3.01, 3.02, 3.02, 3.1, 3.2, 3.7, 103.7, 103.8]
    with VideoWriter(path, fps=10) as writer:
        recording = Recording(writer, longest_gap=1.0)
        for seconds in came:
            assert recording.show(np.full((48, 64, 3), 128, np.uint8), seconds)
    times = [seconds for _, seconds in frames.read_frames(path)]
    assert times == pytest.approx([0, 0.01, 0.02, 0.1, 0.2, 0.7, 1.7, 1.8], abs=1e-3)


def test_damaged_file_is_reported(workdir, shared, capsys):
    assert run_live(workdir, shared / "odd_videos" / "corrupted.mp4", as_json=True) == 0
    assert "warning: " in (said := capsys.readouterr().err)
    assert "corrupted.mp4: damaged: 1 packet lost at 3.00 s" in said and said.count("\n") == 1

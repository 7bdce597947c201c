"""Annotated videos: complete or absent, with the times of their frames."""

from __future__ import annotations

import os
import resource
import signal

import av
import numpy as np
import pytest

from vid3d.errors import UserError
from vid3d.video import frames
from vid3d.video.writer import VideoWriter


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_written_video_decodes_again(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, fps=29.97002997) as writer:
        for i in range(7):
            writer.write(np.full((48, 64, 3), (30 * i, 0, 200), np.uint8))
        assert not path.exists()
        writer.write(np.zeros((96, 128, 3), np.uint8))  # a camera that came back with another size
    decoded = list(frames.read_frames(path))
    assert [frame.shape for frame, _ in decoded] == [(48, 64, 3)] * 8
    assert np.abs(decoded[3][0].mean(axis=(0, 1)) - (90, 0, 200)).max() < 8
    assert decoded[-1][1] == pytest.approx(7 / 29.97, abs=1e-3)
    assert [p.name for p in path.parent.iterdir()] == ["out.mp4"]


def test_frames_keep_their_times(tmp_path):
    """A phone films at a variable rate; at a constant one, 1.2 s would be shown at 3 s."""
    times = [0.0, 0.04, 0.08, 1.2, 1.21, 7.5]
    for suffix in (".mp4", ".mov", ".mkv"):
        path = tmp_path / f"out{suffix}"
        with VideoWriter(path, fps=25) as writer:
            for seconds in times:
                writer.write(grey(48, 64), seconds)
        assert [seconds for _, seconds in frames.read_frames(path)] == pytest.approx(
            times, abs=2e-3
        )


def test_output_is_h264_that_browsers_play(tmp_path):
    """They need H.264 in 4:2:0 with colour tags."""
    path = tmp_path / "out.mp4"
    with VideoWriter(path, fps=25) as writer:
        writer.write(grey(48, 64))
    with av.open(path) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range) == (6, 1)


def test_odd_sizes_and_odd_rates_are_written(tmp_path):
    for size, fps in (((47, 63), 120.12345), ((241, 321), 1000 / 7), ((240, 320), 0.5)):
        path = tmp_path / f"{fps:g}.mp4"
        with VideoWriter(path, fps=fps) as writer:
            for _ in range(3):
                writer.write(grey(*size))
        assert len(list(frames.read_frames(path))) == 3


def test_refused_or_missing_frames_leave_no_file(tmp_path):
    with (
        pytest.raises(UserError, match=r"cannot write .*out\.mp4: 20000x16 pixels"),
        VideoWriter(tmp_path / "out.mp4", fps=25) as writer,
    ):
        writer.write(grey(16, 20_000))
    with VideoWriter(tmp_path / "out.mp4", fps=25):
        pass
    assert not list(tmp_path.iterdir())


def test_interrupted_video_leaves_nothing_behind(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"an older file")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, fps=25) as writer:
        writer.write(grey(48, 64))
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    assert path.read_bytes() == b"an older file"


def test_interrupted_close_leaves_no_part(tmp_path):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    noise = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            VideoWriter(tmp_path / "out.mp4", fps=25) as writer,
        ):
            for _ in range(12):  # which the encoder still holds
                writer.write(noise)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert {path.name for path in tmp_path.iterdir()} <= {"out.mp4"}


def test_no_file_before_first_frame(tmp_path):
    """A signal between it and the `with` block would leave the file for ever."""
    VideoWriter(tmp_path / "out.mp4", fps=25)
    assert not list(tmp_path.iterdir())


def test_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    for path, reason in (
        (tmp_path / "file" / "out.mp4", "not a directory|file exists"),
        (tmp_path / "folder.mp4", "folder"),
        (tmp_path / "out.txt", r"\.mp4"),
        (tmp_path / "typo" / "out.mp4", "there is no folder .*typo$"),
        ("/proc/out.mp4", "no such file|permission|not permitted"),
    ):
        with pytest.raises(UserError, match=reason) as error:
            VideoWriter(path, fps=25)
        assert not (tmp_path / "typo").exists()
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_full_disk_is_an_error(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    rng = np.random.default_rng(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with (
            pytest.raises(UserError, match=r"cannot write .*out\.mp4: file too large"),
            VideoWriter(tmp_path / "out.mp4", fps=25) as writer,
        ):
            for _ in range(60):
                writer.write(rng.integers(0, 255, (240, 320, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_disk_full_before_first_frame_is_named(small_disk):
    disk = small_disk("64k")
    (disk / "other").write_bytes(bytes(2**16))
    with (
        pytest.raises(UserError, match="no space left on the disk"),
        VideoWriter(disk / "out.mp4", fps=25) as writer,
    ):
        writer.write(grey(64, 64))
    assert [path.name for path in disk.iterdir()] == ["other"]


def test_undecodable_name_is_written_folder_refused(tmp_path):
    name = os.fsdecode(b"latin\xe9.mp4")
    with VideoWriter(tmp_path / name, fps=25) as writer:
        for _ in range(3):
            writer.write(np.zeros((32, 48, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    folder = tmp_path / os.fsdecode(b"\xe9")
    folder.mkdir()
    with pytest.raises(UserError, match="is not valid text"):
        VideoWriter(folder / "x.mp4", fps=25)

"""What a viewer sees of a label: on frames of any size, in files that are whole or not there."""

from __future__ import annotations

import os
import resource

import numpy as np
import pytest

from vid3d.config import UserError
from vid3d.data import frames
from vid3d.inference import overlay


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize("size", [(240, 320), (1080, 1920), (426, 240), (64, 64), (241, 321)])
def test_bar_is_legible_and_inside_the_frame(size):
    drawn = overlay.draw(grey(*size), "HulaHoop", probability=0.97, note="83 ms")
    zoom = drawn.shape[0] // size[0]
    assert drawn.shape == (size[0] * zoom, size[1] * zoom, 3) and min(drawn.shape[:2]) >= 240
    assert (drawn[: int(0.85 * len(drawn))] == 128).all()  # the picture above the bar is untouched
    white = np.argwhere((drawn > 200).all(axis=2))
    letters = white[white[:, 1] < drawn.shape[1] / 2]
    height = np.ptp(letters[:, 0]) + 1
    assert 10 <= height <= 0.08 * min(drawn.shape[:2]) + 8
    assert letters[:, 0].max() < len(drawn) - 1 and white[:, 1].max() < drawn.shape[1] - 1


def test_the_line_is_as_long_as_the_probability():
    drawn = overlay.draw(grey(240, 320), "a", probability=0.25)
    green_or_amber = (np.ptp(drawn.astype(int), axis=2) > 60).any(axis=0)
    assert green_or_amber.sum() == 80 and green_or_amber[:80].all()


def test_a_frame_is_not_written_on():
    frame = grey(240, 320)
    overlay.draw(frame, "label", probability=0.5)
    assert (frame == 128).all()


def test_long_labels_are_cut_and_other_letters_replaced():
    wide = overlay.draw(grey(240, 320), "an endless label " * 9, probability=0.5, note="12 ms")
    short = overlay.draw(grey(240, 320), "", probability=0.5, note="12 ms")
    assert (wide[:, 235:] == short[:, 235:]).all()  # probability and note are not written over
    assert overlay.ascii_text("Çà et là\n太") == "Ca et la??"


def test_written_video_decodes_again(tmp_path):
    path = tmp_path / "out.mp4"
    with overlay.VideoWriter(path, fps=29.97002997) as writer:
        for i in range(7):
            writer.write(np.full((48, 64, 3), (30 * i, 0, 200), np.uint8))
        assert not path.exists()
        writer.write(np.zeros((96, 128, 3), np.uint8))  # a camera that came back with another size
    decoded = list(frames.read_frames(path))
    assert [frame.shape for frame, _ in decoded] == [(48, 64, 3)] * 8
    assert np.abs(decoded[3][0].mean(axis=(0, 1)) - (90, 0, 200)).max() < 8
    assert decoded[-1][1] == pytest.approx(7 / 29.97, abs=1e-3)
    assert [p.name for p in path.parent.iterdir()] == ["out.mp4"]


def test_odd_sizes_and_odd_rates_are_written(tmp_path):
    for size, fps in (((47, 63), 120.12345), ((241, 321), 1000 / 7), ((240, 320), 0.5)):
        path = tmp_path / f"{fps:g}.mp4"
        with overlay.VideoWriter(path, fps=fps) as writer:
            for _ in range(3):
                writer.write(grey(*size))
        assert len(list(frames.read_frames(path))) == 3


def test_frames_that_no_encoder_takes_and_none_at_all_leave_no_file(tmp_path):
    with (
        pytest.raises(UserError, match="no encoder for 9000x16 pixels at 25 frames a second"),
        overlay.VideoWriter(tmp_path / "out.mp4", fps=25) as writer,
    ):
        writer.write(grey(16, 9000))
    with overlay.VideoWriter(tmp_path / "out.mp4", fps=25):
        pass
    assert not list(tmp_path.iterdir())


def test_an_interrupted_video_leaves_nothing_behind(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"an older file")
    with pytest.raises(KeyboardInterrupt), overlay.VideoWriter(path, fps=25) as writer:
        writer.write(grey(48, 64))
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    assert path.read_bytes() == b"an older file"


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
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
            overlay.VideoWriter(path, fps=25)
        assert not (tmp_path / "typo").exists()
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_full_disk_is_an_error(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with (
            pytest.raises(UserError, match="disk full"),
            overlay.VideoWriter(tmp_path / "out.mp4", fps=25) as writer,
        ):
            for _ in range(20):
                writer.write(noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_before_the_first_frame_is_named(small_disk):
    disk = small_disk("64k")
    (disk / "other").write_bytes(bytes(2**16))
    with (
        pytest.raises(UserError, match="no space left on the disk"),
        overlay.VideoWriter(disk / "out.mp4", fps=25) as writer,
    ):
        writer.write(grey(64, 64))
    assert [path.name for path in disk.iterdir()] == ["other"]


def test_no_shape_of_frame_is_too_strange():
    for size in ((1, 1), (2, 3000), (3000, 2), (20, 20)):
        drawn = overlay.draw(grey(*size), "label", probability=0.5, note="1 ms")
        assert max(drawn.shape) <= 4096


def test_a_name_that_is_no_text_is_written_and_a_folder_like_that_refused(tmp_path):
    name = os.fsdecode(b"latin\xe9.mp4")
    with overlay.VideoWriter(tmp_path / name, fps=25) as writer:
        for _ in range(3):
            writer.write(np.zeros((32, 48, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    folder = tmp_path / os.fsdecode(b"\xe9")
    folder.mkdir()
    with pytest.raises(UserError, match="is no valid text"):
        overlay.VideoWriter(folder / "x.mp4", fps=25)

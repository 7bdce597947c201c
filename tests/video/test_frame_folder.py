"""Folders of numbered pictures are videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numbered import number_of, picture

from vid3d.data import prepare
from vid3d.data.store import FrameStore
from vid3d.datasets import index
from vid3d.errors import UserError
from vid3d.video.container import VideoError
from vid3d.video.frame_folder import find_frames, open_reader
from vid3d.video.picture import DecodeOptions
from vid3d.video.selected import read_selected
from vid3d.video.spans import Selection, Span

AT_10 = DecodeOptions(frames_fps=10.0)


def write(folder: Path, numbers: range, name: str = "img_{:05d}.jpg") -> Path:
    folder.mkdir(parents=True)
    for number in numbers:
        bgr = cv2.cvtColor(picture(number), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / name.format(number)), bgr)
    return folder


@pytest.mark.parametrize("name", ["img_{:05d}.jpg", "{}.png", "a 100% {:03d}.jpg", "7-{:04d}.JPG"])
def test_pictures_are_frames_in_the_order_of_their_numbers(name, tmp_path):
    folder = write(tmp_path / "100%d", range(5, 17), name)
    (folder / "notes.txt").touch()
    frames = list(open_reader(folder, AT_10))
    assert [number_of(frame) for frame, _ in frames] == list(range(5, 17))
    assert [seconds for _, seconds in frames] == pytest.approx(np.arange(12) / 10)
    assert open_reader(folder, AT_10).claimed == 12


def test_stretches_are_sought(tmp_path):
    folder = write(tmp_path / "x", range(100))
    selection = Selection([Span(8, 8.5)])
    found = list(read_selected(open_reader(folder, AT_10), selection))
    frames = [(number_of(frame), seconds) for frame, seconds in found if frame is not None]
    assert frames == [(80 + k, pytest.approx(8 + k / 10)) for k in range(5)]
    assert len(found) < 20


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a_1.jpg", "a_2.jpg", "a_4.jpg"), "after frame 2 comes frame 4: some are missing"),
        (("a_1.jpg", "b_2.jpg"), "'b_2.jpg' is not numbered like 'a_1.jpg'"),
        (("a_1.jpg", "a_2.png"), "'a_2.png' is not numbered like 'a_1.jpg'"),
        (("a_01.jpg", "a_2.jpg"), "have numbers of 1 and 2 digits"),
        (("a_1.jpg", "cover.jpg"), "'cover.jpg' is not numbered like"),
        (("a.txt",), "a folder without pictures"),
    ],
)
def test_gaps_and_other_names_are_one_clear_line(names, reason, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(VideoError, match=reason):
        find_frames(str(tmp_path))


def test_another_size_and_an_unknown_rate_are_named(tmp_path):
    folder = write(tmp_path / "x", range(3))
    with pytest.raises(VideoError, match=r"set data\.frames_fps to its frames per second"):
        open_reader(folder)
    cv2.imwrite(str(folder / "img_00003.jpg"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(VideoError, match="frames have 128x96 pixels, and one has 64x48"):
        list(open_reader(folder, AT_10))


def test_folders_of_frames_are_found_prepared_and_recognised(settings, tmp_path):
    root = tmp_path / "videos"
    for k in range(6):
        write(root / "ab"[k % 2] / f"clip{k}", range(k, k + 4))
    with pytest.raises(UserError, match=r"6 folders of numbered pictures, such as a/clip0: set da"):
        index.find(settings.data, 0)
    settings.data.frames_fps = 10.0
    prepared = prepare.prepare(settings, quiet=True)
    facts = prepared.facts["b/clip3"]
    records = np.arange(facts.first_record, facts.first_record + facts.num_frames)
    frames = FrameStore(prepared).load(records)
    assert len(frames) == 4 and number_of(cv2.resize(frames[1], (128, 96))) == 4
    assert facts.times_N == pytest.approx(np.arange(4) / 10)
    assert prepare.prepare(settings, quiet=True).directory == prepared.directory
    write(tmp_path / "other", range(9, 10), "img_00003.jpg")
    (tmp_path / "other" / "img_00003.jpg").replace(root / "b" / "clip3" / "img_00003.jpg")
    assert prepare.prepare(settings, quiet=True).facts["b/clip3"].sha256 != facts.sha256

"""Stretches are prepared like videos of their own, from a file that is decoded once."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from numbered import encode, number_of

from vid3d.data import prepare, report
from vid3d.data.advice import train_command
from vid3d.data.content import Seen, content_of, showing_the_same
from vid3d.data.store import FrameStore
from vid3d.datasets.videos import ListedVideo
from vid3d.errors import UserError
from vid3d.video import decoder_pool
from vid3d.video.frames import read_frames

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", 20, "-bf", 2)
B_FRAMES_AVI = ("-c:v", "mpeg4", "-q:v", 2, "-bf", 2, "-g", 20)
HEADER = "path,label,split,start,end\n"


@pytest.fixture
def recordings(settings, tmp_path: Path) -> ConfigDict:
    """Three recordings of 120 numbered frames; the times of the last are those of decoding."""
    data = settings.data
    root = tmp_path / "videos"
    root.mkdir()
    encode(root / "a.mp4", *H264, num_frames=120)
    shutil.copy(root / "a.mp4", root / "b.mp4")
    encode(root / "c.avi", *B_FRAMES_AVI, num_frames=120)
    data.root, data.size, data.workers = str(root), 64, 1
    (root / "manifest.csv").write_text(
        HEADER + "a.mp4,up,train,4,4.4\na.mp4,up,train,0.2,0.4\na.mp4,up,train,0.3,0.6\n"
        "a.mp4,down,train,0.8,1\nb.mp4,down,val,2,2.2\nc.avi,up,test,3,3.4\nc.avi,down,test,4.6,9\n"
    )
    return settings


def numbers(prepared, name: str) -> list[int]:
    facts = prepared.facts[name]
    records = np.arange(facts.first_record, facts.first_record + facts.num_frames)
    return [number_of(frame) for frame in FrameStore(prepared).load(records)]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_stretches_of_a_file_are_stored_once(recordings, monkeypatch):
    asked = []
    original = decoder_pool.decode

    def decode(videos, *rest, **options):
        asked.append([Path(str(video)).name for video in videos])
        return original(videos, *rest, **options)

    monkeypatch.setattr(decoder_pool, "decode", decode)
    prepared = prepare.prepare(recordings, quiet=True, strict=False)
    assert numbers(prepared, "a.mp4 0.2-0.4 s") == list(range(5, 10))
    assert numbers(prepared, "a.mp4 0.3-0.6 s") == list(range(8, 15))
    assert numbers(prepared, "a.mp4 4-4.4 s") == list(range(100, 110))
    assert numbers(prepared, "b.mp4 2-2.2 s") == list(range(50, 55))
    assert numbers(prepared, "c.avi 3-3.4 s") == list(range(75, 85))  # sought in vain
    whole = list(read_frames(Path(recordings.data.root, "a.mp4")))
    facts = prepared.facts["a.mp4 4-4.4 s"]
    expected = np.array([seconds for _, seconds in whole[100:110]])
    assert (facts.times_N == expected - expected[0]).all() and facts.fps == pytest.approx(25)
    assert sum(prepared.shards.values()) == 10 + 10 + 5 + 5 + 10 + 5
    _looked, decoded = asked
    assert decoded == ["a.mp4", "b.mp4", "c.avi"]

    # Another stretch of one file: the other files are copied.
    manifest = Path(recordings.data.root, "manifest.csv")
    manifest.write_text(manifest.read_text().replace("down,val,2,2.2", "down,val,2,2.28"))
    again = prepare.prepare(recordings, quiet=True, strict=False)
    assert asked[2:] == [["a.mp4", "b.mp4", "c.avi"], ["b.mp4"]]  # the headers, then
    assert numbers(again, "b.mp4 2-2.28 s") == list(range(50, 57))
    assert numbers(again, "a.mp4 0.3-0.6 s") == list(range(8, 15))
    assert again.facts["a.mp4 4-4.4 s"].sha256 == facts.sha256


def test_a_stretch_beyond_the_end_is_named_with_its_line(recordings):
    with pytest.raises(UserError) as caught:
        prepare.prepare(recordings, quiet=True)
    assert (
        "1 of 2 test videos cannot be read, such as c.avi 4.6-9 s (it ends beyond the end of the "
        "video, 4.8 s; line 8 of the manifest)" in str(caught.value)
    )
    (row,) = rows(next(Path(recordings.data.cache_dir).glob("frames-*/bad_videos.csv")))
    assert (row["path"], row["start"], row["end"]) == ("c.avi", "4.6", "9")


def test_a_stretch_beyond_the_end_is_told_before_decoding(recordings, capsys):
    prepare.prepare(recordings, strict=False)
    said = [line for line in capsys.readouterr().err.splitlines() if "by its header" in line]
    assert len(said) == 1 and said[0].startswith("1 stretch ends after the end of the file")
    assert "line 8: c.avi 4.6-9 s of 4.8 s" in said[0]


def test_doctor_counts_stretches_and_writes_them(recordings, tmp_path, capsys):
    checkup = prepare.doctor(recordings, tmp_path / "out")
    assert "stretches: 7 in 3 files" in capsys.readouterr().err
    assert not checkup.all_readable
    found = {
        (row["path"].rpartition("/")[2], row["start"], row["end"]) for row in rows(checkup.manifest)
    }
    assert len(found) == 7 and ("a.mp4", "0.3", "0.6") in found


def test_the_command_of_doctor_draws_no_more_background(recordings, tmp_path):
    """That of the config is in the manifest that doctor writes."""
    recordings.data.background = "rest"
    given = [("data.root", recordings.data.root), ("data.background", "rest")]
    line = train_command("videos", given, recordings, tmp_path / "manifest.csv")
    assert "--config.data.background=" in line.split() and "rest" not in line


def test_what_two_videos_share_is_found(recordings):
    """A copy of a recording under another name, in another split, with other stretches."""
    manifest = Path(recordings.data.root, "manifest.csv")
    manifest.write_text(
        manifest.read_text().replace("b.mp4,down,val,2,2.2", "b.mp4,down,val,0.9,1.5")
    )
    prepared = prepare.prepare(recordings, quiet=True, strict=False)
    assert report.duplicates(prepared) == [
        "the same video is in two splits: a.mp4 0.8-1 s (train, down), b.mp4 0.9-1.5 s (val, down)"
    ]


def test_contents_overlap_by_their_times():
    one, later, touching = (content_of("f", *t) for t in ((0, 1), (1.04, 2), (1, 1.5)))
    assert one not in Seen([later]) and later not in Seen([one])
    assert one in Seen([touching]) and "f" in Seen([later]) and one in Seen(["f"])
    assert content_of("g", 0, 1) not in Seen([one, "f"])
    videos = [ListedVideo(name, "a") for name in "xyz"]
    groups = showing_the_same(dict(zip(videos, (later, one, touching), strict=True)))
    assert sorted(len(group) for group in groups) == [3]
    assert len(showing_the_same(dict(zip(videos[:2], (later, one), strict=True)))) == 2

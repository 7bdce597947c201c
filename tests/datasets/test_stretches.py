"""Manifests with start and end: labelled stretches of files, and the time that nobody labelled."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_collections import ConfigDict

from vid3d.datasets import index, manifest
from vid3d.datasets.stretches import Length, background
from vid3d.datasets.videos import ListedVideo, row_name, span_cells, span_columns
from vid3d.errors import UserError
from vid3d.video.spans import Span

HEADER = "path,label,start,end\n"


@pytest.fixture
def read(tmp_path: Path):
    """`read(text)`: the listing of a manifest beside three files."""
    for k in (1, 2, 3):
        (tmp_path / f"{k}.mp4").touch()

    def read(text: str):
        path = tmp_path / "manifest.csv"
        path.write_text(text)
        return manifest.listing(path)

    return read


def test_a_file_may_be_named_many_times(read):
    listed = read(f"{HEADER}1.mp4,a,0,2.5\n1.mp4,a,2,3\n1.mp4,b,7,8.25\n2.mp4,b,,\n")
    assert [(v.name, v.span, v.line) for v in listed.videos] == [
        ("1.mp4 0-2.5 s", Span(0, 2.5), 2),
        ("1.mp4 2-3 s", Span(2, 3), 3),
        ("1.mp4 7-8.25 s", Span(7, 8.25), 4),
        ("2.mp4", None, 5),
    ]
    assert [v.group for v in listed.videos] == ["1.mp4", "1.mp4", "1.mp4", ""]
    columns = span_columns(listed.videos)
    assert columns == ("start", "end")
    rows = [dict(zip(columns, span_cells(v, columns), strict=True)) for v in listed.videos]
    assert [row_name({"path": v.path} | r) for v, r in zip(listed.videos, rows, strict=True)] == [
        v.name for v in listed.videos
    ]


def test_frames_may_be_numbered_instead(read):
    listed = read("path;label;start_frame;end_frame;group\n1.mp4;a;0;25;x\n1.mp4;b;25;50;\n")
    assert [(v.name, v.group) for v in listed.videos] == [
        ("1.mp4 0-25 frames", "x"),
        ("1.mp4 25-50 frames", "1.mp4"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{HEADER}1.mp4,a,5,4\n", r"line 2: the stretch ends \(4\) before it begins \(5\)"),
        (f"{HEADER}1.mp4,a,5,5\n", r"line 2: the stretch ends \(5\) where it begins"),
        (f"{HEADER}1.mp4,a,1:05,2:00\n", "line 2: the start '1:05' is not a number of seconds"),
        (f"{HEADER}1.mp4,a,-1,2\n", "line 2: the start '-1' is not a number of seconds"),
        (f"{HEADER}1.mp4,a,3,\n", "line 2: the end '' is not a number of seconds"),
        (f"{HEADER}1.mp4,a,nan,3\n", "line 2: the start 'nan' is not a number of seconds"),
        (
            "path,label,start_frame,end_frame\n1.mp4,a,1.5,3\n",
            "line 2: the start_frame '1.5' is not the number of a frame",
        ),
        (f"{HEADER}1.mp4,a,1,2\n1.mp4,b,1.0,2.0\n", "line 3: 1.mp4 1-2 s is already in line 2"),
        (
            f"{HEADER}1.mp4,a,1,9\n2.mp4,a,0,1\n1.mp4,a,2,3\n1.mp4,b,8.5,10\n",
            r"line 5: 1.mp4 8.5-10 s \('b'\) overlaps 1-9 s in line 2 \('a'\): stretches with diff",
        ),
        (
            f"{HEADER}1.mp4,a,1,2\n2.mp4,a,,\n1.mp4,b,,\n",
            "line 4: 1.mp4 is named with times and, in line 2, without",
        ),
        ("path,label,start\n1.mp4,a,1\n", "there is a column 'start' and none 'end'"),
        (
            "path,label,start,end,start_frame,end_frame\n1.mp4,a,1,2,3,4\n",
            r"both seconds \(start, end\) and numbers of frames \(start_frame, end_frame\)",
        ),
    ],
)
def test_wrong_stretches_are_named_with_their_line(read, text, words):
    with pytest.raises(UserError, match=words) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_wrong_stretches_are_named_together(read):
    rows = ["1.mp4,a,5,4", "1.mp4,a,1,9", "1.mp4,b,8,10", "2.mp4,a,x,1", "3.mp4,a,,", "3.mp4,b,1,2"]
    with pytest.raises(UserError) as caught:
        read(HEADER + "\n".join(rows))
    said = str(caught.value)
    assert "manifest.csv has 4 mistakes: line 2: the stretch ends (4) before" in said
    for words in (
        "line 4: 1.mp4 8-10 s ('b') overlaps",
        "line 5: the start 'x'",
        "line 7: 3.mp4 is",
    ):
        assert f"; {words}" in said


def test_a_recording_stays_in_one_split(read, settings, tmp_path):
    """Whatever the fractions are; and where the manifest separates it, that is said."""
    rows = [f"{k}.mp4,{'ab'[s % 2]},{s},{s + 1}" for k in (1, 2, 3) for s in range(6)]
    read(HEADER + "\n".join(rows))
    data = settings.data
    data.root = str(tmp_path)
    found = index.find(data, 0)
    splits = {(video.path, video.split) for video in found.videos}
    assert len(splits) == 3 and {split for _, split in splits} == {"train", "val", "test"}
    assert found.protocol == "grouped"
    assert [video.order for video in found.videos] == sorted(v.order for v in found.videos)
    sides = [f"{row},g{k},{('train', 'val', 'test')[k // 2 % 3]}" for k, row in enumerate(rows)]
    read("path,label,start,end,group,split\n" + "\n".join(sides))
    found = index.find(data, 0)
    assert found.protocol == "manifest (leaky)"
    assert any("'1.mp4' in test and train and val" in note for note in found.notes)


class TestBackground:
    def found(self, **changes: object) -> list[str]:
        """The background of one file of 20 s at 10 frames per second."""
        data = ConfigDict(
            {
                "background": "other",
                "background_per_video": 100,
                "background_margin": 0.0,
                "background_seconds": 1.0,
            }
            | changes
        )
        spans = [Span(2, 4), Span(3, 5), Span(9.5, 11.5)]
        videos = [ListedVideo("x.mp4", "a", "x.mp4", "test", span=span) for span in spans]
        lengths = {"x.mp4": Length(205, 10.0)}
        stretches, note = background(videos, data, lengths)
        assert all((v.label, v.group, v.split) == ("other", "x.mp4", "test") for v in stretches)
        assert note == f"{len(stretches)} stretches of unlabelled time are the class 'other'"
        return [str(video.span).removesuffix(" s") for video in stretches]

    def test_fills_the_gaps(self):
        assert self.found() == [
            *("0-2", "5-7", "7-9", "11.5-13.5", "13.5-15.5", "15.5-17.5", "17.5-19.5"),
        ]

    def test_keeps_away_from_labels_and_drops_short_rests(self):
        assert self.found(background_margin=0.5) == [
            *("0-1.5", "5.5-7.5", "7.5-9", "12-14", "14-16", "16-18", "18-19.5"),
        ]
        assert self.found(background_margin=0.5, background_seconds=2.0) == [
            *("5.5-7.5", "12-14", "14-16", "16-18"),
        ]

    def test_takes_evenly_spaced_ones(self):
        assert self.found(background_per_video=2) == ["5-7", "15.5-17.5"]
        assert len(self.found(background_per_video=0)) == 3  # as many as are labelled


def test_background_needs_stretches(settings, two_classes):
    settings.data.background = "other"
    with pytest.raises(UserError, match=r"data.background='other' needs a manifest with the col"):
        index.find(settings.data, 0)

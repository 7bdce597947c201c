"""Stretches of a file have the frames and times of reading from its start, sought or not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numbered import corners, encode, number_of, run, set_display_matrix

from vid3d.video import seeking
from vid3d.video.packet_index import InexactError
from vid3d.video.picture import DecodeOptions
from vid3d.video.reader import Reader
from vid3d.video.selected import read_selected
from vid3d.video.spans import Selection, Span

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", 12, "-pix_fmt", "yuv420p", "-g", 20)
B_FRAMES = (*H264, "-bf", 2)
OPEN = (*B_FRAMES, "-x264-params", "open-gop=1:keyint=20:scenecut=0:bframes=3")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
VFR = ("-vf", "setpts='if(lt(N,50),N,50+(N-50)*4)/25/TB'", "-fps_mode", "vfr")
NUM_FRAMES = 120
# What is encoded how, and whether its far stretches are reached without decoding all before them.
KINDS = {
    "h264.mp4": (B_FRAMES, True),
    "h264 open gops.mp4": (OPEN, True),
    "h264 open gops.ts": (OPEN, True),
    "h264 variable rate.mp4": ((*VFR, *B_FRAMES), True),
    "h264 variable rate.mkv": ((*VFR, *H264), True),
    "h264.mkv": (B_FRAMES, True),
    "h264.mov": (B_FRAMES, True),
    "h264.flv": (B_FRAMES, True),
    "h264.ts": (B_FRAMES, True),
    "h264 from 100 s on.ts": ((*B_FRAMES, "-output_ts_offset", 100), True),
    "h264.avi": (B_FRAMES, False),  # its times are those of decoding
    "h264 refreshed bit by bit.mp4": (
        (*H264, "-x264-params", "intra-refresh=1:keyint=20"), False,
    ),
    "hevc open gops.mp4": ((*HEVC, "-x265-params", "keyint=20:open-gop=1:log-level=none"), True),
    "mpeg2.mpg": (("-c:v", "mpeg2video", "-q:v", 2, "-g", 20, "-bf", 2), True),
    "mpeg2.ts": (("-c:v", "mpeg2video", "-q:v", 2, "-g", 20, "-bf", 2), True),
    "xvid.avi": (("-c:v", "mpeg4", "-q:v", 2, "-vtag", "xvid", "-bf", 2, "-g", 20), False),
    "mpeg4 without b frames.avi": (("-c:v", "mpeg4", "-q:v", 2, "-bf", 0, "-g", 20), True),
    "mjpeg.avi": (("-c:v", "mjpeg", "-q:v", 2, "-pix_fmt", "yuvj420p"), True),
    "ffv1.mkv": (("-c:v", "ffv1", "-g", 20), True),
    "vp8.webm": (("-c:v", "libvpx", "-b:v", "1M", "-cpu-used", 8, "-g", 20), True),
    "vp9.webm": (("-c:v", "libvpx-vp9", "-b:v", "1M", "-cpu-used", 8, "-g", 20), True),
    "theora.ogv": (("-c:v", "libtheora", "-q:v", 9, "-g", 20), True),
    "wmv2.wmv": (("-c:v", "wmv2", "-q:v", 2, "-g", 20), False),
    "bare.h264": (B_FRAMES, False),
    "palette.gif": (("-c:v", "gif"), False),
}  # fmt: skip


def whole(path: Path, **options: object) -> list[tuple[np.ndarray, float]]:
    return list(Reader(path, DecodeOptions(**options)))


def selected(
    path: Path, spans: list[Span], *, seek: bool = True, **options: object
) -> tuple[list[tuple[np.ndarray, float]], Selection, int]:
    """The frames of stretches, which of them is where, and how many pictures were passed over."""
    selection = Selection(spans)
    reader = Reader(path, DecodeOptions(**options))
    found = list(read_selected(reader, selection, seek=seek))
    frames = [(frame, seconds) for frame, seconds in found if frame is not None]
    return frames, selection, len(found) - len(frames)


WANTED = ((2, 4), (67, 75), (73, 78), (80, 82), (101, 119))  # numbers of frames


def check(path: Path, *, is_sought: bool, **options: object) -> None:
    """Compares far and overlapping stretches with reading from the start."""
    expected = whole(path, **options)
    times = [seconds for _, seconds in expected]
    in_frames = [Span(a, b, "frames") for a, b in WANTED]
    by_time = [Span(times[a], times[b]) for a, b in WANTED]
    for spans in (by_time, in_frames):
        compare(path, spans, expected, is_sought=is_sought, **options)


def compare(
    path: Path,
    spans: list[Span],
    expected: list[tuple[np.ndarray, float]],
    *,
    is_sought: bool,
    **options: object,
) -> None:
    wanted = sorted({k for a, b in WANTED for k in range(a, b)})
    passed = {}
    for seek in (True, False):
        try:
            frames, selection, passed[seek] = selected(path, spans, seek=seek, **options)
        except InexactError:
            assert seek and not is_sought
            continue
        assert [seconds for _, seconds in frames] == [expected[k][1] for k in wanted]
        assert all(
            np.array_equal(f, expected[k][0]) for (f, _), k in zip(frames, wanted, strict=True)
        )
        assert selection.described() == (
            (0, 2, ""), (2, 10, ""), (8, 13, ""), (13, 15, ""), (15, 33, ""),
        )  # fmt: skip
    assert (passed.get(True, passed[False]) < passed[False]) == is_sought


@pytest.mark.parametrize("name", KINDS)
def test_stretches_equal_reading_from_the_start(name, tmp_path):
    arguments, is_sought = KINDS[name]
    path = encode(tmp_path / name, *arguments, num_frames=NUM_FRAMES)
    check(path, is_sought=is_sought)
    if "variable" not in name:
        frames, *_ = selected(path, [Span(4.0, 4.2)], seek=is_sought)
        assert [number_of(frame) for frame, _ in frames] == list(range(100, 105))


def test_edit_list_is_obeyed_after_a_seek(tmp_path):
    """A lossless cut: the file holds packets from the key frame on, and presents later ones."""
    long = encode(tmp_path / "long.mp4", *B_FRAMES, num_frames=200)
    cut = tmp_path / "cut.mp4"
    run("ffmpeg", "-v", "error", "-ss", "1.4", "-i", long, "-c", "copy", cut)
    frames, *_ = selected(cut, [Span(4.0, 4.2)])
    assert [number_of(frame) for frame, _ in frames] == list(range(135, 140))
    check(cut, is_sought=True)


def test_deinterlaced_frames_are_the_same_after_a_seek(tmp_path):
    """The filter looks at the frames around each."""
    coded = (*H264, "-flags", "+ildct+ilme", "-x264-params", "tff=1")
    path = encode(tmp_path / "x.mp4", *coded, num_frames=NUM_FRAMES)
    check(path, is_sought=True, deinterlace="bwdif")


def test_display_matrix_holds_after_a_seek(tmp_path):
    path = encode(tmp_path / "x.mp4", *H264, num_frames=NUM_FRAMES)
    set_display_matrix(path, (-1, 0, 0, 1))
    check(path, is_sought=True)
    frames, *_ = selected(path, [Span(4.0, 4.04)])
    assert corners(frames[0][0]) == ["green", "red", "gray", "blue"]


def test_other_times_after_a_seek_are_noticed(tmp_path, monkeypatch):
    """Where a container leads to another place than its packets say."""
    path = encode(tmp_path / "x.mp4", *H264, num_frames=NUM_FRAMES)
    original = seeking.PacketIndex.rank
    monkeypatch.setattr(
        seeking.PacketIndex, "rank", lambda index, stamp: max(original(index, stamp) - 1, 0)
    )
    with pytest.raises(InexactError, match="other pictures come after the key frame"):
        selected(path, [Span(4.0, 4.2)])


def test_streams_joined_end_to_end_are_read_through(tmp_path):
    """Their time stamps begin anew: a time of the file is no place in it."""
    part = encode(tmp_path / "x.ts", *B_FRAMES, num_frames=NUM_FRAMES).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part + part)
    times = [seconds for _, seconds in whole(joined)]
    with pytest.raises(InexactError):
        selected(joined, [Span(times[200], times[205])])
    frames, *_ = selected(joined, [Span(times[200], times[205])], seek=False)
    assert [number_of(frame) for frame, _ in frames] == list(range(80, 85))


def test_frames_are_counted_from_the_start(tmp_path):
    path = encode(tmp_path / "x.mp4", *VFR, *H264, num_frames=NUM_FRAMES)
    frames, selection, _ = selected(path, [Span(100, 103, "frames"), Span(119, 121, "frames")])
    assert [number_of(frame) for frame, _ in frames] == [100, 101, 102, 119]
    assert selection.described() == (
        (0, 3, ""),
        (3, 4, "it ends beyond the end of the video, 120 frames"),
    )


def test_pictures_that_are_missing_at_the_start_do_not_shift_the_numbers(tmp_path):
    """A recording that begins between two key frames: its packets are more than its pictures."""
    path = encode(tmp_path / "x.mp4", *H264, "-bf", 0, num_frames=NUM_FRAMES)
    begun = tmp_path / "begun.nut"
    run("ffmpeg", "-v", "error", "-i", path, "-c", "copy", "-copyinkf", "-bsf:v",
        "noise=drop='lt(n,5)'", begun)  # fmt: skip
    expected = whole(begun)
    numbers = [number_of(frame) for frame, _ in expected]
    for span in (Span(60, 63, "frames"), Span(90, 92, "frames")):
        try:
            frames, *_ = selected(begun, [span])
        except InexactError:
            frames, *_ = selected(begun, [span], seek=False)
        assert [number_of(frame) for frame, _ in frames] == numbers[span.start : span.end]


def test_what_is_wrong_with_a_stretch_is_named(tmp_path):
    path = encode(tmp_path / "x.mp4", *H264, num_frames=50)
    spans = [Span(1.9, 2.05), Span(1.9, 3), Span(7, 8), Span(1.001, 1.002)]
    _, selection, _ = selected(path, spans)
    assert [wrong for _, _, wrong in selection.described()] == [
        "",  # players round
        "it ends beyond the end of the video, 2 s",
        "it begins beyond the end of the video, 2 s",
        "it has no frame: it is shorter than the time between two",
    ]

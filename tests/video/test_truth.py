"""Frames equal those of FFmpeg's command: their order, times, orientation and colours."""

from __future__ import annotations

import itertools
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from numbered import (
    HEIGHT,
    WIDTH,
    corners,
    decoded_by_ffmpeg,
    encode,
    number_of,
    picture,
    run,
    set_display_matrix,
    times_by_ffprobe,
)

from vid3d.video import picture as picture_module
from vid3d.video.container import VideoError
from vid3d.video.picture import DecodeOptions
from vid3d.video.reader import ConversionError, Reader
from vid3d.video.sources import Source

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")

H264 = ("-c:v", "libx264", "-qp", 12, "-pix_fmt", "yuv420p")
INTERLACED = ("-flags", "+ildct+ilme", "-top", 1)
UPRIGHT = ["red", "green", "blue", "gray"]

# What is encoded how: all of it 24 numbered frames.
KINDS = {
    "h264.mp4": H264,
    "h264 b frames, open gops.mp4": (*H264, "-bf", 3, "-x264-params", "open-gop=1:keyint=8"),
    "h264.mkv": H264,
    "h264.avi": H264,
    "h264.flv": H264,
    "h264.ts": H264,
    "h264 interlaced.mts": (*H264, "-flags", "+ildct+ilme", "-x264-params", "tff=1"),
    "h264 interlaced, lower field first.mp4": (
        *H264, "-flags", "+ildct+ilme", "-x264-params", "bff=1",
    ),
    "h264 10 bit.mp4": ("-c:v", "libx264", "-qp", 12, "-pix_fmt", "yuv420p10le"),
    "h264 10 bit, 4:2:2.mov": ("-c:v", "libx264", "-qp", 12, "-pix_fmt", "yuv422p10le"),
    "h264 4:2:2, interlaced.mov": (
        "-c:v", "libx264", "-qp", 12, "-pix_fmt", "yuv422p",
        "-flags", "+ildct+ilme", "-x264-params", "tff=1",
    ),
    "h264 4:4:4.mkv": ("-c:v", "libx264", "-qp", 12, "-pix_fmt", "yuv444p"),
    "hevc.mp4": ("-c:v", "libx265", "-x265-params", "qp=12:log-level=none", "-pix_fmt", "yuv420p"),
    "mpeg2 interlaced.mpg": ("-c:v", "mpeg2video", "-q:v", 2, "-pix_fmt", "yuv420p", *INTERLACED),
    "mpeg2 4:2:2 interlaced.mxf": (
        "-c:v", "mpeg2video", "-q:v", 2, "-pix_fmt", "yuv422p", *INTERLACED,
    ),
    "mpeg1.mpg": ("-c:v", "mpeg1video", "-q:v", 2),
    "xvid.avi": ("-c:v", "mpeg4", "-q:v", 2, "-vtag", "xvid", "-bf", 2),
    "mjpeg.avi": ("-c:v", "mjpeg", "-q:v", 2, "-pix_fmt", "yuvj420p"),
    "prores.mov": ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"),
    "ffv1 with alpha.mkv": ("-c:v", "ffv1", "-pix_fmt", "bgra"),
    "vp8.webm": ("-c:v", "libvpx", "-b:v", "2M"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-b:v", "2M", "-cpu-used", 8),
    "av1.mp4": ("-c:v", "libaom-av1", "-crf", 15, "-cpu-used", 8, "-pix_fmt", "yuv420p"),
    "av1 10 bit.mkv": ("-c:v", "libaom-av1", "-crf", 15, "-cpu-used", 8, "-pix_fmt", "yuv420p10le"),
    "theora.ogv": ("-c:v", "libtheora", "-q:v", 9),
    "wmv2.wmv": ("-c:v", "wmv2", "-q:v", 2),
    "sorenson.flv": ("-c:v", "flv", "-q:v", 2),
    "palette.gif": ("-c:v", "gif"),
}  # fmt: skip
DV = {
    "pal.avi": ("-s", "720x576", "-c:v", "dvvideo", "-pix_fmt", "yuv420p"),
    "ntsc.dv": ("-s", "720x480", "-c:v", "dvvideo", "-pix_fmt", "yuv411p"),
}


def read(path: Path, **options: object) -> tuple[list[np.ndarray], np.ndarray, str]:
    """Frames, times and damage of a file."""
    reader = Reader(path, DecodeOptions(**options))
    found = list(reader)
    return [frame for frame, _ in found], np.array([s for _, s in found]), reader.damage


def check(path: Path, *, filters: str = "null", numbers: list[int] | None = None) -> None:
    """Compares a file with ffmpeg and ffprobe: pixels, times, and the numbers in the frames."""
    frames, times, damage = read(path)
    truth = decoded_by_ffmpeg(path, frames[0].shape[:2], filters)
    assert len(frames) == len(truth)
    for seen, expected in zip(frames, truth, strict=True):
        assert np.abs(seen.astype(int) - expected).mean((0, 1)).max() <= 1  # of 255, a channel
    late = np.abs(times - times_by_ffprobe(path))
    assert np.nanmax(late) < 0.002 and np.isnan(late).sum() <= 3
    assert [number_of(frame) for frame in frames] == (numbers or list(range(24)))
    assert corners(frames[0]) == UPRIGHT
    assert damage == ""


@pytest.mark.parametrize("name", KINDS)
def test_frames_equal_ffmpeg(name, tmp_path):
    check(encode(tmp_path / name, *KINDS[name]))


@pytest.mark.parametrize("name", DV)
def test_dv_equals_ffmpeg_with_square_pixels(name, tmp_path):
    fps = "25" if name.startswith("pal") else "30000/1001"
    check(
        encode(tmp_path / name, *DV[name], fps=fps),
        filters="scale=round(iw*sar):ih:flags=bicubic,setsar=1",
    )


@pytest.mark.parametrize("matrix", [0, 1, 2, *range(4, 15)])  # 3 is reserved
def test_colour_matrices_equal_ffmpeg(matrix, tmp_path):
    """An unknown tag must not leave the frame unfilled: black, or another video's picture."""
    tags = ("-bsf:v", f"h264_metadata=matrix_coefficients={matrix}")
    check(encode(tmp_path / "x.mp4", *H264, *tags))


@pytest.mark.parametrize("transfer", [1, 9, 10, 16, 18])
def test_transfer_functions_change_no_pixels(transfer, tmp_path):
    """HDR (16 is PQ, 18 HLG) is not tone-mapped: other pipelines do not do it."""
    tags = ("-bsf:v", f"h264_metadata=transfer_characteristics={transfer}:colour_primaries=9")
    check(encode(tmp_path / "x.mp4", *H264, *tags))


def test_full_and_limited_range_are_distinguished(tmp_path):
    for pixels in ("yuv420p", "yuvj420p"):
        path = encode(tmp_path / f"{pixels}.mp4", *H264[:4], "-pix_fmt", pixels)
        check(path)
        frames, _, _ = read(path)
        assert np.abs(frames[0].astype(int) - picture(0)).mean() < 6


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_display_matrix_brings_picture_upright(matrix, mirrored, tmp_path):
    """A selfie camera mirrors: turned instead, left and right, or up and down, are swapped."""
    a, b, c, d = matrix
    if mirrored:
        a, c = -a, -c
    # Stored so that the matrix undoes it: pixel (x, y) of the stored picture is shown at (a x + c
    # y, b x + d y).
    shown = picture(5)
    stored = shown[:: -1 if b + d < 0 else 1, :: -1 if a + c < 0 else 1]
    stored = stored.transpose(1, 0, 2) if b else stored
    raw = np.ascontiguousarray(stored).tobytes() * 3
    height, width = stored.shape[:2]
    path = tmp_path / "x.mp4"
    given = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-i", "-")
    run("ffmpeg", "-v", "error", *given, *H264, path, stdin=raw)
    set_display_matrix(path, (a, b, c, d))
    frames, _, _ = read(path)
    assert [frame.shape for frame in frames] == [(HEIGHT, WIDTH, 3)] * 3
    assert corners(frames[0]) == UPRIGHT and number_of(frames[0]) == 5
    truth = decoded_by_ffmpeg(path, (HEIGHT, WIDTH))
    assert np.abs(frames[0].astype(int) - truth[0]).mean() < 3


def test_display_orientation_in_stream_is_obeyed(tmp_path):
    bits = "h264_metadata=display_orientation=insert:flip=horizontal"
    path = encode(tmp_path / "x.ts", *H264, "-bsf:v", bits)
    frames, _, _ = read(path)
    assert corners(frames[0]) == ["green", "red", "gray", "blue"]


def test_non_square_pixels_are_resampled(tmp_path):
    path = encode(tmp_path / "x.mp4", *H264, "-aspect", "16:9")
    frames, _, _ = read(path)
    assert frames[0].shape == (HEIGHT, round(HEIGHT * 16 / 9), 3)
    check(path, filters="scale=round(iw*sar):ih:flags=bicubic,setsar=1")
    frames, _, _ = read(path, pixels="stored")
    assert frames[0].shape == (HEIGHT, WIDTH, 3)


def test_impossible_pixel_shape_counts_as_square(tmp_path):
    path = encode(tmp_path / "x.mkv", *H264, "-vf", "setsar=1/50")
    assert read(path)[0][0].shape == (HEIGHT, WIDTH, 3)


def test_variable_rate_keeps_its_times(tmp_path):
    slower = ("-vf", "setpts='if(lt(N,12),N,12+(N-12)*4)/25/TB'", "-fps_mode", "vfr")
    for suffix in (".mp4", ".mkv", ".ts"):
        path = encode(tmp_path / f"x{suffix}", *slower, *H264)
        check(path)
        assert read(path)[1][13] == pytest.approx(16 / 25, abs=0.002)


def test_lossless_cut_begins_at_the_cut(tmp_path):
    """The packets from the key frame on are in the file, and an edit list leaves them out."""
    whole = encode(tmp_path / "whole.mp4", *H264, "-g", 10)
    cut = tmp_path / "cut.mp4"
    run("ffmpeg", "-v", "error", "-ss", "0.6", "-i", whole, "-c", "copy", cut)
    check(cut, numbers=list(range(15, 24)))


def test_times_count_from_first_frame(tmp_path):
    path = encode(tmp_path / "x.ts", *H264, "-output_ts_offset", 100)
    check(path)
    assert read(path)[1][0] == 0


def test_left_crop_is_exact(tmp_path):
    path = encode(tmp_path / "x.mp4", *H264, "-bsf:v", "h264_metadata=crop_left=6:crop_right=2")
    frames, _, _ = read(path)
    assert frames[0].shape == (HEIGHT, WIDTH - 8, 3)
    assert np.abs(frames[0].astype(int) - picture(0)[:, 6:-2]).mean() < 6


def test_bare_stream_has_its_own_rate(tmp_path):
    path = encode(tmp_path / "x.h264", *H264, fps="30")
    frames, times, _ = read(path)
    assert [number_of(frame) for frame in frames] == list(range(24))
    assert times == pytest.approx(np.arange(24) / 30)


class TestStreams:
    def test_cover_is_not_the_video(self, tmp_path):
        cover, video = tmp_path / "cover.png", encode(tmp_path / "video.mp4", *H264)
        encode(cover, "-frames:v", 1)
        both = tmp_path / "both.mp4"
        run(
            "ffmpeg", "-v", "error", "-i", cover, "-i", video, "-map", 0, "-map", 1,
            "-c", "copy", "-disposition:v:0", "attached_pic", both,
        )  # fmt: skip
        assert len(read(both)[0]) == 24

    def test_song_with_cover_is_refused(self, tmp_path):
        cover, song = tmp_path / "cover.png", tmp_path / "song.mp3"
        encode(cover, "-frames:v", 1)
        run(
            "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=d=0.5", "-i", cover,
            "-map", 0, "-map", 1, "-c:v", "copy", "-disposition:v", "attached_pic", song,
        )  # fmt: skip
        with pytest.raises(VideoError, match="a cover picture, and no video"):
            Reader(song)

    def test_default_stream_is_chosen(self, tmp_path):
        path = tmp_path / "two.mkv"
        encode(
            path, "-map", 0, "-map", 0, *H264, "-filter:v:0", "negate",
            "-disposition:v:0", 0, "-disposition:v:1", "default",
        )  # fmt: skip
        frames, _, _ = read(path)
        assert [number_of(frame) for frame in frames] == list(range(24))


def test_stream_that_begins_later_is_ignored(tmp_path):
    first = encode(tmp_path / "first.ts", *H264)
    pids = ("-mpegts_pmt_start_pid", "0x1111", "-mpegts_start_pid", "0x222")
    other = encode(tmp_path / "other.ts", *H264, *pids)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + other.read_bytes())
    check(joined)


def test_exif_orientation_is_obeyed(tmp_path):
    """PyAV has no name for the EXIF that comes with each picture."""
    still = encode(tmp_path / "x.jpg", "-q:v", 2, "-pix_fmt", "yuvj420p", num_frames=1).read_bytes()
    entry = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)  # orientation: turn right to show
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    pictures = still[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + still[2:]
    for name in ("x.avi", "x.mkv"):
        path = tmp_path / name
        source = ("-f", "mjpeg", "-i", "-", "-c", "copy")
        run("ffmpeg", "-y", "-v", "error", *source, path, stdin=pictures * 3)
        frames, _, damage = read(path)
        assert [frame.shape for frame in frames] == [(WIDTH, HEIGHT, 3)] * 3 and not damage
        assert (
            np.abs(frames[0].astype(int) - decoded_by_ffmpeg(path, (WIDTH, HEIGHT))[0]).mean() < 1
        )


def test_impossible_header_claims_no_frames(tmp_path):
    """A claim decides how much disk a data set is said to need."""
    path = encode(tmp_path / "x.mkv", *H264)
    data = path.read_bytes()
    place = data.index(b"\x44\x89\x88") + 3  # Matroska's duration, a float64
    for length in (1e13, -5e3, 2e3):
        path.write_bytes(data[:place] + struct.pack(">d", length) + data[place + 8 :])
        assert Reader(path).claimed == (50 if length == 2e3 else 0)


def test_playlist_is_refused_whatever_its_name(tmp_path):
    """The files that it names may change unnoticed."""
    encode(tmp_path / "target.mp4", *H264)
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile target.mp4\n")
    with pytest.raises(VideoError, match="a list of other files, and not a video"):
        Reader(path)


def test_invalid_title_is_tolerated(tmp_path):
    path = encode(tmp_path / "x.mkv", *H264, "-metadata", "title=abcdefgh")
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"abc\xe9\xff\xfegh"))
    assert len(read(path)[0]) == 24


def test_finite_file_over_network_ends(serve, tmp_path):
    """Its container states no duration, but the server its size."""
    encode(tmp_path / "x.gif", "-c:v", "gif")
    encode(tmp_path / "x.ts", *H264)
    for name in ("x.gif", "x.ts"):
        with serve(tmp_path) as url, Source(f"{url}/{name}") as source:
            assert not source.is_camera
            assert sum(1 for _ in iter(source.read, None)) == 24


class TestDamage:
    def test_damaged_packet_is_skipped_and_reported(self, tmp_path):
        whole = encode(tmp_path / "x.mp4", *H264, "-g", 1, "-x264-params", "slices=1")
        packets = run(
            "ffprobe", "-v", "error", "-show_entries", "packet=pos,size", "-of", "csv=p=0", whole
        ).decode()
        size, position = map(int, packets.split()[10].split(",")[:2])
        spoilt = bytearray(whole.read_bytes())
        spoilt[position : position + 4] = b"\xff\xff\xff\xff"  # the length of its first part
        whole.write_bytes(spoilt)
        frames, _, damage = read(whole)
        assert size and [number_of(frame) for frame in frames] == [*range(10), *range(11, 24)]
        assert damage.startswith("damaged: 1 packet lost at 0.40 s")

    def test_truncated_file_is_reported(self, tmp_path):
        for name, arguments in {
            "x.mp4": (*H264, "-movflags", "faststart"),
            "x.mkv": H264,
            "x.avi": ("-c:v", "mpeg4", "-q:v", 2),
        }.items():
            path = encode(tmp_path / name, *arguments, num_frames=200)
            assert read(path)[2] == ""
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            frames, _, damage = read(path)
            numbers = [number_of(frame) for frame in frames]
            whole = numbers[:-1]  # of the last frame only a part may be there
            assert whole == sorted(set(whole)) and 10 < len(whole) < 150, name
            assert damage.startswith("damaged: ") and "\n" not in damage, name

    def test_equal_damage_is_reported_for_every_file(self, tmp_path):
        """FFmpeg's libraries drop a message that equals the last one, even of another file."""
        whole = encode(tmp_path / "x.mkv", *H264).read_bytes()
        said = []
        for name in "abc":
            path = tmp_path / f"{name}.mkv"
            path.write_bytes(whole[: len(whole) * 7 // 10])
            said.append(read(path)[2])
        assert said[0].startswith("damaged: ") and said == said[:1] * 3

    def test_damaged_file_without_frames_names_reason(self, tmp_path):
        path = encode(tmp_path / "x.mp4", *H264, "-movflags", "faststart", num_frames=1)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(
            VideoError, match=r"no frame can be decoded \(codec h264\); FFmpeg says "
        ):
            read(path)

    def test_place_of_damage_is_a_time_of_the_video(self, tmp_path):
        """Whatever the time stamps are: of a file whose stamps begin anew they say nothing."""
        packets = encode(tmp_path / "x.ts", *H264, "-g", 12).read_bytes()
        joined = tmp_path / "joined.ts"
        joined.write_bytes(packets + packets[: len(packets) * 7 // 10 // 188 * 188])
        _, times, damage = read(joined)
        places = re.search(r" at ([\d., ]+) s", damage)
        assert places and all(0.8 < float(s) <= times[-1] + 0.1 for s in places[1].split(", "))

    def test_wrong_frame_count_is_not_damage(self, tmp_path):
        path = encode(tmp_path / "x.avi", "-c:v", "mpeg4", "-q:v", 2)
        lying = bytearray(path.read_bytes())
        for tag, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
            place = lying.index(tag) + offset
            lying[place : place + 4] = (431).to_bytes(4, "little")
        path.write_bytes(lying)
        frames, _, damage = read(path)
        assert (len(frames), damage) == (24, "")

    def test_start_between_key_frames_is_not_damage(self, tmp_path):
        whole = encode(tmp_path / "x.ts", *H264, "-g", 12, num_frames=48)
        packets = run(
            "ffprobe", "-v", "error", "-show_entries", "packet=pos", "-of", "csv=p=0", whole
        ).decode()
        begin = int(packets.split()[5].strip(","))
        joined = tmp_path / "joined.ts"
        head = whole.read_bytes()[: 3 * 188]  # the tables that name the streams
        joined.write_bytes(head + whole.read_bytes()[begin // 188 * 188 :])
        frames, _, damage = read(joined)
        assert number_of(frames[-1]) == 47 and damage == ""


class TestOptions:
    def test_deinterlacing_removes_combs_keeps_frames(self, tmp_path):
        """A bar that moves by two pixels per field."""
        combs = []
        fields = np.zeros((40, 96, 128, 3), np.uint8)
        for k in range(40):
            fields[k, :, 2 * k : 2 * k + 32] = 235
        woven = fields[0::2].copy()
        woven[:, 1::2] = fields[1::2, 1::2]
        path = tmp_path / "x.ts"
        given = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x96", "-r", 25, "-i", "-")
        coded = (*H264, "-flags", "+ildct+ilme", "-x264-params", "tff=1")
        run("ffmpeg", "-v", "error", *given, *coded, path, stdin=woven.tobytes())
        for options in ({}, {"deinterlace": "bwdif"}):
            frames, times, _ = read(path, **options)
            assert len(frames) == 20 and times == pytest.approx(np.arange(20) / 25, abs=0.002)
            combs.append(np.abs(np.diff(frames[10].astype(int), axis=0)).mean())
        assert combs[1] < 0.3 * combs[0]

    def test_deinterlacing_keeps_progressive_frames(self, tmp_path):
        path = encode(tmp_path / "x.mp4", *H264)
        woven, filtered = read(path)[0], read(path, deinterlace="bwdif")[0]
        assert all((a == b).all() for a, b in zip(woven, filtered, strict=True))

    def test_tone_mapping_changes_hdr_only(self, tmp_path):
        tags = "h264_metadata=transfer_characteristics={}:colour_primaries=9:matrix_coefficients=9"
        for transfer, changes in ((16, True), (1, False)):
            path = encode(tmp_path / f"{transfer}.mp4", *H264, "-bsf:v", tags.format(transfer))
            plain, mapped = read(path)[0][3], read(path, tone_map=True)[0][3]
            assert (np.abs(plain.astype(int) - mapped).mean() > 3) == changes


def test_files_do_not_affect_each_other(tmp_path):
    """Frames that were left unfilled showed what the memory held before."""
    paths = [
        encode(tmp_path / name, *KINDS[name])
        for name in ("h264.mp4", "h264 interlaced.mts", "mpeg2 interlaced.mpg", "av1.mp4")
    ]
    seen = {}
    for order in itertools.permutations(paths, 2):
        for path in order:
            content = b"".join(frame.tobytes() for frame in read(path)[0])
            assert seen.setdefault(path, content) == content


def test_interlaced_stream_equals_its_file(serve, tmp_path):
    name = "h264 interlaced.mts"
    path = encode(tmp_path / "x.mts", *KINDS[name])
    with serve(tmp_path) as url, Source(f"{url}/x.mts") as source:
        seen = [item[0] for item in iter(source.read, None)]
    assert all((a == b).all() for a, b in zip(seen, read(path)[0], strict=True))


def test_unconvertible_frame_is_named(tmp_path, monkeypatch):
    """The conversion refuses a matrix that it does not know, unless it is told another one."""
    tags = ("-bsf:v", "h264_metadata=matrix_coefficients=8")
    path = encode(tmp_path / "x.mp4", *H264, *tags)
    monkeypatch.setattr(picture_module, "MATRICES", set(range(15)))
    with pytest.raises(ConversionError, match=r"frame 0 cannot be converted to RGB: .*supported"):
        read(path)


REAL = {  # file: frames, height and width
    "file-type__fixture-raw.mts": (31, (1080, 1920)),
    "format-corpus__dv-dvchd-ntsc-interlaced.mov": (25, (480, 655)),
    "format-corpus__mpeg-imx-525-60.mov": (25, (512, 655)),
    "format-corpus__xdcam-hd-1080i60.mov": (25, (1080, 1920)),
    "media__dolbyVision-hdr.MOV": (4, (1280, 720)),
    "media__hlg10-color-test.mp4": (9, (1080, 1920)),
    "media__sample_av1.mkv": (30, (1280, 720)),
    "media__sample_av1.mp4": (30, (720, 1080)),
    "media__sample_rotate_and_reflect.mp4": (30, (1080, 720)),
    "media__sample_with_invalid_nalu.mp4": (29, (720, 1080)),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_equal_ffmpeg(name, shared):
    path = shared / "decoding" / name
    count, shape = REAL[name]
    frames, times, damage = read(path)
    assert len(frames) == count and {frame.shape[:2] for frame in frames} == {shape}
    truth = decoded_by_ffmpeg(path, shape, f"scale={shape[1]}:{shape[0]}:flags=bicubic")
    for seen, expected in zip(frames, truth, strict=True):
        assert np.abs(seen.astype(int) - expected).mean((0, 1)).max() <= 1
    assert np.abs(times - times_by_ffprobe(path)).max() < 0.002
    assert bool(damage) == ("invalid_nalu" in name)

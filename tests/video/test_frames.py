"""Decoding: frames in order, upright, in RGB, with times; and reasons where there are none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures.videos import write_frames

from vid3d import schema
from vid3d.video import container, frames, records, resize, sources
from vid3d.video.clock import FrameClock
from vid3d.video.container import VideoError

# What each of the real odd files gives: a number of frames, or a reason.
ODD = {
    "AudioVideoInterleave.avi": "no frame can be decoded",
    "Mpeg4.mp4": "not a video",
    "av1_video.mkv": 125,
    "corrupted.mp4": 49,
    "docs__static_medias_user_guide_circle.gif": 30,
    "gif.gif": "no frame can be decoded",
    "h264_10bits.mp4": 30,
    "media_-video-with-dash-.mp4": 5,
    "media_doc_medias_result.webm": "empty file",
    "media_no_duration.webm": 74,
    "media_transparent.webm": 150,
    "realshort.mp4": 36,
    "unordered.mov": 4,
    "var_fps_video.mp4": 300,
    "video_0.mov": 3,
    "video_90.mov": 3,
    "webm.webm": 1,
}


def numbers(path: Path) -> list[int]:
    """The numbers of the frames that the `video` fixture wrote."""
    return [round(float(frame.mean()) / 10) - 1 for frame, _ in frames.read_frames(path)]


def test_every_frame_comes_once_in_order(video, tmp_path):
    for suffix in (".avi", ".mp4", ".mkv", ".mov"):
        path = video(tmp_path / f"x{suffix}", 20, fps=12.5)
        assert numbers(path) == list(range(20))
        times = [seconds for _, seconds in frames.read_frames(path)]
        assert times == pytest.approx(np.arange(20) / 12.5)


def test_colours_are_rgb(tmp_path):
    red_blue = np.zeros((1, 64, 64, 3), np.uint8)
    red_blue[:, :, :32, 0] = 255
    red_blue[:, :, 32:, 2] = 255
    write_frames(tmp_path / "x.avi", red_blue, codec="MJPG")
    frame_HWC, _ = next(frames.read_frames(tmp_path / "x.avi"))
    assert frame_HWC[32, 10].tolist() == pytest.approx([255, 0, 0], abs=20)
    assert frame_HWC[32, 50].tolist() == pytest.approx([0, 0, 255], abs=20)


def test_one_and_four_channels_become_rgb():
    """As OpenCV with GStreamer gives those of some cameras."""
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for frame in (grey, grey[:, :, None]):
        assert (sources.to_rgb(frame) == grey[:, :, None]).all()
    assert sources.to_rgb(np.full((1, 1, 4), (1, 2, 3, 255), np.uint8)).tolist() == [[[3, 2, 1]]]


def test_times_ascend_from_zero():
    clock = FrameClock(10.0)
    stamps = [5.0, 5.1, 5.1, 4.0, float("nan"), 6.0]
    times = [clock.tick(stamp) for stamp in stamps]
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 1.0])


def test_stored_frames_limits_read_video(video, settings, tmp_path):
    path = video(tmp_path / "x.avi", 20, fps=12.5)
    with settings.unlocked():
        settings.data.stored_frames = 7
    decoded = frames.read_video(path, settings.data)
    assert decoded.frames_THWC.shape == (7, 32, 32, 3)
    assert decoded.frames_THWC.dtype == np.uint8
    assert decoded.fps == pytest.approx(12.5)
    assert decoded.size == (48, 64)


class TestFit:
    def test_squash_keeps_frame_short_side_keeps_shape(self):
        rows, columns = np.mgrid[0:240, 0:320]
        wide = np.stack([columns * 255 // 319, rows * 255 // 239, 0 * rows], -1).astype(np.uint8)
        squashed = resize.fit(wide, size=(60, 60), resize="squash", color="rgb")
        cut = resize.fit(wide, size=(60, 60), resize="short_side", color="rgb")
        assert squashed[30, 0, 0] < 6 and squashed[30, -1, 0] > 249
        assert cut[30, 0, 0] == pytest.approx(255 / 8, abs=4)
        assert cut[30, -1, 0] == pytest.approx(255 * 7 / 8, abs=4)
        for fitted in (squashed, cut):
            assert fitted[0, 30, 1] < 6 and fitted[-1, 30, 1] > 249

    @pytest.mark.parametrize(
        "shape", [(240, 320), (239, 317), (1080, 1920), (33, 47), (8, 8), (1, 1)]
    )
    @pytest.mark.parametrize("kind", ["squash", "short_side"])
    def test_any_frame_gets_the_stored_size(self, shape, kind):
        frame_HWC = np.full((*shape, 3), 77, np.uint8)
        for color, channels in (("rgb", 3), ("gray", 1)):
            fitted = resize.fit(frame_HWC, size=(24, 36), resize=kind, color=color)
            assert fitted.shape == (24, 36, channels)
            assert (abs(fitted.astype(int) - 77) <= 1).all()

    def test_shrinking_averages_pixels(self):
        stripes = np.zeros((240, 320, 3), np.uint8)
        stripes[:, ::2] = 255
        for size in (32, 50, 64, 112):
            fitted = resize.fit(stripes, size=(size, size), resize="squash", color="rgb")
            assert fitted.std() < 45 and fitted.mean() == pytest.approx(127, abs=3)

    @pytest.mark.parametrize("kind", schema.RESIZES)
    def test_frame_of_stored_size_is_unchanged(self, kind):
        frame_HWC = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
        assert (resize.fit(frame_HWC, size=(32, 32), resize=kind, color="rgb") == frame_HWC).all()


class TestBadVideos:
    @pytest.mark.parametrize("name", sorted(ODD))
    def test_real_odd_files_give_frames_or_reason(self, shared, name):
        path = shared / "odd_videos" / name
        if isinstance(ODD[name], int):
            assert sum(1 for _ in frames.read_frames(path)) == ODD[name]
        else:
            with pytest.raises(VideoError, match=ODD[name]):
                list(frames.read_frames(path))

    def test_undecodable_codec_suggests_reencoding(self):
        assert "codec AV01): re-encode it to H.264, ffmpeg -i" in container.no_frame("AV01")
        assert container.no_frame("") == "no frame can be decoded"

    def test_reasons_of_unreadable_files_are_short(self, tmp_path):
        (tmp_path / "empty.mp4").touch()
        (tmp_path / "text.mp4").write_text("this is not a video\n" * 100)
        (tmp_path / "noise.avi").write_bytes(np.random.default_rng(0).bytes(50_000))
        os.mkfifo(tmp_path / "pipe.mp4")
        reasons = {
            "gone.mp4": "no such file",
            "empty.mp4": "empty file",
            "text.mp4": "not a video",
            "noise.avi": "not a video",
            "pipe.mp4": "not a file",
            ".": "not a file",
        }
        for name, reason in reasons.items():
            with pytest.raises(VideoError, match=reason) as caught:
                list(frames.read_frames(tmp_path / name))
            assert Path(caught.value.path) == tmp_path / name

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_cut_file_gives_earlier_frames_or_reason(self, video, tmp_path, share):
        whole = video(tmp_path / "x.avi", 20).read_bytes()
        cut = tmp_path / "cut.avi"
        cut.write_bytes(whole[: int(len(whole) * share)])
        try:
            found = numbers(cut)
        except VideoError as error:
            assert str(error)
        else:
            assert found == list(range(len(found))) and len(found) < 20

    def test_header_without_frames_is_an_error(self, video, tmp_path):
        whole = video(tmp_path / "x.avi", 20).read_bytes()
        (tmp_path / "head.avi").write_bytes(whole[: whole.index(b"movi") + 4])
        with pytest.raises(VideoError):
            list(frames.read_frames(tmp_path / "head.avi"))

    def test_sound_alone_is_refused(self, ffmpeg, tmp_path):
        ffmpeg("-f", "lavfi", "-i", "sine=d=0.5", tmp_path / "sound.mp4")
        with pytest.raises(VideoError):
            list(frames.read_frames(tmp_path / "sound.mp4"))

    @pytest.mark.parametrize(
        "name", ["-dash.avi", "日本 語.avi", "ü'\"&;$(x).avi", "%03d.avi", "a?b*c.avi"]
    )
    def test_awkward_names_are_read(self, video, tmp_path, name, monkeypatch):
        shutil.copy(video(tmp_path / "x.avi", 5), tmp_path / name)
        monkeypatch.chdir(tmp_path)
        assert numbers(Path(name)) == list(range(5))

    def test_odd_and_tiny_sizes_are_read(self, ffmpeg, tmp_path):
        for size in ("1x1", "3x5", "17x31", "641x359"):
            path = tmp_path / f"{size}.mkv"
            ffmpeg("-f", "lavfi", "-i", f"testsrc=s={size}:d=0.2:r=25", "-c:v", "ffv1", path)
            width, height = map(int, size.split("x"))
            assert [f.shape for f, _ in frames.read_frames(path)] == [(height, width, 3)] * 5

    def test_decoders_print_nothing(self, video, tmp_path):
        whole = video(tmp_path / "x.mp4", 20).read_bytes()
        (tmp_path / "x.mp4").write_bytes(whole[:-200] + bytes(100))
        (tmp_path / "y.avi").write_bytes(video(tmp_path / "z.avi", 20).read_bytes()[:3000])
        code = (
            "import sys\nfrom vid3d.video import frames, container\n"
            "for path in sys.argv[1:]:\n"
            "    try:\n        list(frames.read_frames(path))\n"
            "    except container.VideoError:\n        pass\n"
        )
        files = [str(tmp_path / name) for name in ("x.mp4", "y.avi")]
        done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, check=True)
        assert done.stdout == done.stderr == b""


class TestSource:
    def test_file_is_read_with_its_own_times(self, video, tmp_path):
        path = video(tmp_path / "x.avi", 6, fps=12.5)
        with sources.Source(str(path)) as source:
            assert not source.is_camera
            assert source.fps == pytest.approx(12.5)
            read = [source.read() for _ in range(7)]
        assert read[6] is None
        assert [seconds for _, seconds in read[:6]] == pytest.approx(np.arange(6) / 12.5)
        assert read[0][0].shape == (48, 64, 3)

    def test_missing_sources_are_named(self, tmp_path):
        for name, reason in (("97", "no such camera"), (str(tmp_path / "x.mp4"), "no such file")):
            with pytest.raises(VideoError, match=reason) as caught:
                sources.Source(name)
            assert caught.value.path == name

    def test_file_url_is_a_file(self, video, tmp_path):
        path = video(tmp_path / "a b.avi", 6)
        for url in (path.as_uri(), f"file://localhost{path.as_uri().removeprefix('file://')}"):
            with sources.Source(url) as source:
                assert not source.is_camera and source.path == str(path)
                assert sum(1 for _ in iter(source.read, None)) == 6
        with pytest.raises(VideoError, match="no such file"):
            sources.Source((tmp_path / "none.mp4").as_uri())

    def test_video_on_server_ends(self, video, serve, tmp_path):
        video(tmp_path / "x.avi", 5)
        with serve(tmp_path) as url:
            with sources.Source(f"{url}/x.avi") as source:
                assert not source.is_camera
                read = [source.read() for _ in range(6)]
            with pytest.raises(VideoError, match="stream cannot be opened"):
                sources.Source(f"{url}/y.avi")
        times = [seconds for _, seconds in read[:5]]
        assert times[0] == 0.0 and sorted(set(times)) == times
        assert read[5] is None


def test_jpeg_keeps_picture_and_channels():
    rows, columns = np.mgrid[0:40, 0:60]
    rgb = np.stack([rows * 6, columns * 4, 255 - rows * 6], -1).astype(np.uint8)
    for frame_HWC in (rgb, rgb[:, :, :1]):
        back = records.decode_jpeg(records.encode_jpeg(frame_HWC), frame_HWC.shape[2])
        assert back.shape == frame_HWC.shape
        assert abs(back.astype(int) - frame_HWC).mean() < 4


PICTURES = (".png", ".jpg", ".bmp", ".webp", ".tiff")


@pytest.mark.parametrize("suffix", PICTURES)
def test_still_picture_is_not_a_video_of_one_frame(suffix, tmp_path):
    """By what is in the file: whatever its name, and however few frames are asked for."""
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for name in (f"x{suffix}", "x.mp4", f"x%03d{suffix}", "x.mjpeg"):
        path = tmp_path / name
        path.write_bytes(cv2.imencode(suffix, picture)[1].tobytes())
        with pytest.raises(VideoError, match="a still picture, and not a video: make a video"):
            next(frames.read_frames(path))


def test_several_pictures_in_a_row_are_a_video(tmp_path):
    shades = [cv2.imencode(".png", np.full((48, 64, 3), k, np.uint8))[1] for k in (10, 20)]
    (tmp_path / "x.png").write_bytes(b"".join(shade.tobytes() for shade in shades))
    seen = [frame.mean() for frame, _ in frames.read_frames(tmp_path / "x.png")]
    assert seen == [10.0, 20.0]


@pytest.mark.parametrize("num_frames", [1, 2])
@pytest.mark.parametrize("suffix", [".gif", ".apng"])
def test_an_apng_of_one_picture_is_still_and_a_gif_is_not(suffix, num_frames, ffmpeg, tmp_path):
    path = tmp_path / f"x{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48", "-frames:v", num_frames, path)
    if num_frames == 1 and suffix == ".apng":
        with pytest.raises(VideoError, match="a still picture"):
            list(frames.read_frames(path))
    else:
        assert len(list(frames.read_frames(path))) == num_frames

"""What FFmpeg's command shows of a file: the truth that decoders.py holds decoders to."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from decoder_zoo import EXACT, RATE, Sample, read_number


@dataclass
class Truth:
    """What FFmpeg's command shows of a file.

    Attributes:
        frames: uint8 RGB [H, W, 3] each.
        times: seconds from the first frame.
        numbers: (number, way up) of the frames, or None.
        shape: of a pixel, width : height.
    """

    frames: list[np.ndarray]
    times: np.ndarray
    numbers: list[tuple[int, int] | None]
    shape: Fraction


def pictures(arguments: list[str]) -> list[np.ndarray]:
    """Frames of an ffmpeg command that ends before its output format."""
    command = ["ffmpeg", "-nostdin", "-v", "quiet", *arguments]
    command += ["-pix_fmt", "rgb24", "-f", "image2pipe", "-c:v", "ppm", "-"]
    data = subprocess.run(command, capture_output=True).stdout
    frames, at = [], 0
    while at < len(data):
        _, size, _, _ = data[at : at + 40].split(b"\n", 3)
        width, height = map(int, size.split())
        begin = at + len(b"P6\n" + size + b"\n255\n")
        at = begin + width * height * 3
        frames.append(np.frombuffer(data[begin:at], np.uint8).reshape(height, width, 3))
    return frames


def probe(path: Path, *arguments: str) -> dict:
    """What ffprobe says."""
    command = ["ffprobe", "-v", "quiet", "-of", "json", *arguments, str(path)]
    return json.loads(subprocess.run(command, capture_output=True).stdout or "{}")


def truth(sample: Sample, path: Path) -> Truth:
    """FFmpeg's frames of the default video stream, covers left out, with its times."""
    streams = probe(path, "-show_streams", "-select_streams", "V").get("streams", [])
    streams.sort(key=lambda stream: not stream["disposition"]["default"])
    if not streams:
        return Truth([], np.zeros(0), [], Fraction(1))
    index = str(streams[0]["index"])
    filters = ["-vf", sample.truth] if sample.truth else []
    frames = pictures(
        [
            "-flags",
            "unaligned",
            *["-noautorotate"] * bool(sample.truth),
            "-i",
            str(path),
            "-map",
            f"0:{index}",
            *filters,
            "-sws_flags",
            EXACT,
            "-fps_mode",
            "passthrough",
        ]
    )
    shown = probe(
        path, "-select_streams", index, "-show_entries", "frame=best_effort_timestamp_time"
    ).get("frames", [])
    times = np.array([float(f.get("best_effort_timestamp_time", "nan")) for f in shown])
    if np.isnan(times).any():  # a stream without a clock
        times = np.arange(len(times)) / RATE
    shape = streams[0].get("sample_aspect_ratio", "1:1").replace(":", "/")
    shape = Fraction(1) if shape.startswith("0") else Fraction(shape)
    return Truth(frames, times - times[:1], [read_number(frame) for frame in frames], shape)


def ascending(numbers: list[int | None]) -> list[int | None]:
    """None for what is not above all before: a damaged frame, which decoders make up freely."""
    last, kept = -1, []
    for number in numbers:
        sound = number is not None and number > last
        last = number if sound else last
        kept.append(number if sound else None)
    return kept


def scaled(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """The frame in another size, by FFmpeg."""
    size = f"{frame.shape[1]}x{frame.shape[0]}"
    command = (
        f"ffmpeg -v error -f rawvideo -pix_fmt rgb24 -s {size} -i - -vf scale={width}:{height}"
    )
    command += " -f rawvideo -pix_fmt rgb24 -"
    data = subprocess.run(command.split(), input=frame.tobytes(), capture_output=True, check=True)
    return np.frombuffer(data.stdout, np.uint8).reshape(height, width, 3)


def doubts(sample: Sample, right: Truth) -> list[str]:
    """Where FFmpeg does not show what went into the file, so that the truth is none."""
    seen, found = [number and number[0] for number in right.numbers], []
    if sample.numbers is not None and seen != list(sample.numbers):
        found.append(
            f"{sample.name}: FFmpeg shows {seen[:3]}..., {len(seen)} frames, "
            f"not {len(sample.numbers)}"
        )
    if len(right.times) != len(right.frames):
        found.append(f"{sample.name}: {len(right.times)} times of {len(right.frames)} frames")
    return found

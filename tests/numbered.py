"""Videos whose frames carry their number, and what FFmpeg's own command says of a file."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

HEIGHT, WIDTH, BITS = 96, 128, 8
QUARTERS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "gray": (128,) * 3}


def picture(number: int) -> np.ndarray:
    """The number as eight black or white blocks between coloured corners, uint8 [96, 128, 3]."""
    red, green, blue, gray = QUARTERS.values()
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    half, third = WIDTH // 2, HEIGHT // 3
    frame[:third, :half], frame[:third, half:] = red, green
    frame[-third:, :half], frame[-third:, half:] = blue, gray
    for bit in range(BITS):
        block = slice(bit * WIDTH // BITS, (bit + 1) * WIDTH // BITS)
        frame[third:-third, block] = 235 if number >> bit & 1 else 16
    return frame


def number_of(frame_HWC: np.ndarray) -> int:
    """The number that an upright frame carries, whatever its size."""
    middle = frame_HWC[frame_HWC.shape[0] * 2 // 5 : frame_HWC.shape[0] * 3 // 5].mean((0, 2))
    blocks = np.array_split(middle, BITS)
    return sum(1 << bit for bit, block in enumerate(blocks) if np.median(block) > 125)


def corners(frame_HWC: np.ndarray) -> list[str]:
    """The names of the colours in the corners: above left, above right, below left, below right."""
    height, width = frame_HWC.shape[:2]
    seen = [frame_HWC[int(height * y), int(width * x)] for y in (0.1, 0.9) for x in (0.25, 0.75)]
    return [
        min(QUARTERS, key=lambda name: np.abs(pixel.astype(int) - QUARTERS[name]).sum())
        for pixel in seen
    ]


def encode(path: Path, *arguments: object, num_frames: int = 24, fps: str = "25") -> Path:
    """A file that ffmpeg makes of numbered frames."""
    raw = b"".join(picture(number).tobytes() for number in range(num_frames))
    given = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", fps, "-i", "-")
    run("ffmpeg", "-y", "-v", "error", *given, *arguments, path, stdin=raw)
    return path


def run(*command: object, stdin: bytes = b"") -> bytes:
    """What a command prints; skips the test where ffmpeg lacks the encoder."""
    done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True)
    if b"Unknown encoder" in done.stderr:
        pytest.skip(done.stderr.decode().strip())
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def decoded_by_ffmpeg(path: Path, shape: tuple[int, int], filters: str = "null") -> np.ndarray:
    """The frames of FFmpeg's command, uint8 RGB [T, H, W, 3]."""
    raw = run(
        "ffmpeg", "-v", "quiet", "-i", path, "-vf", filters, "-fps_mode", "passthrough",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
    )  # fmt: skip
    return np.frombuffer(raw, np.uint8).reshape(-1, *shape, 3)


def times_by_ffprobe(path: Path) -> np.ndarray:
    """Seconds from the first frame, float64 [T]; NaN where ffprobe has none, as at an AVI's end."""
    entries = ("-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0")
    text = run("ffprobe", "-v", "quiet", "-select_streams", "v:0", *entries, path).decode()
    stamps = [line.strip(",") for line in text.split()]
    times_T = np.array([float("nan") if stamp == "N/A" else float(stamp) for stamp in stamps])
    return times_T - times_T[0]


def set_display_matrix(path: Path, matrix: tuple[int, ...]) -> None:
    """Writes a, b, c and d of the display matrix (1 for 65536) into the track header of an MP4."""
    a, b, c, d = (65536 * number for number in matrix)
    whole = bytearray(path.read_bytes())
    place = whole.index(b"tkhd") + 4 + 40
    whole[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(whole)

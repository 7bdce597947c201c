"""Small video files of many kinds whose frames carry their number.

    python experiments/decoder_zoo.py FOLDER

Every frame is a smooth, saturated, moving picture under a strip of two rows of eight blocks. The
upper row is the frame's number in binary between a white and a black block, the lower row its
complement, so that `read_number` finds both the number and which way up a picture is, after lossy
compression, in grey, and with any colour matrix. Needs FFmpeg's command (`ffmpeg`).
"""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

BITS = 6
COUNT = 50
RATE = 25
EXACT = "accurate_rnd+full_chroma_int+full_chroma_inp"
ONE = 1 << 16
# Display matrices (a, b, c, d) of QuickTime's track header, and what they do to the stored picture.
MATRICES = {
    "rotated 90": (0, 1, -1, 0),
    "rotated 180": (-1, 0, 0, -1),
    "rotated 270": (0, -1, 1, 0),
    "mirrored left-right": (-1, 0, 0, 1),
    "mirrored top-bottom": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}


@dataclass
class Sample:
    """A file to make.

    Attributes:
        name: of the file.
        what: what is special about it.
        arguments: of ffmpeg, between input and output.
        size: width and height.
        count: frames that go in.
        numbers: what a right decoder shows; None where only FFmpeg can tell; () where there is
            nothing to show.
        interlaced: "", "tff" or "bff".
        after: changes the file that was made, in place.
        truth: a filter that FFmpeg's command needs in order to be right.
    """

    name: str
    what: str
    arguments: str
    size: tuple[int, int] = (176, 144)
    count: int = COUNT
    numbers: tuple[int, ...] | None = field(default=tuple(range(COUNT)))
    interlaced: str = ""
    after: Callable[[Path], None] | None = None
    truth: str = ""

    def __post_init__(self):
        if self.count != COUNT and self.numbers == tuple(range(COUNT)):
            self.numbers = tuple(range(self.count))


def moment(time: float, width: int, height: int) -> np.ndarray:
    """The picture at a time in frames, without the strip: uint8 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / width, y / height
    waves = (u + time / 25, v - time / 40 + 0.2, u + v + time / 30 + 0.5)
    picture = np.stack([112 + 92 * np.sin(2 * np.pi * wave) for wave in waves], -1)
    side = height // 5
    left, top = int(time * 3) % max(width - side, 1), height // 2
    picture[top : top + side, left : left + side] += (
        45  # brightness alone has edges: colour is coded coarsely
    )
    return picture.astype(np.uint8)


def picture(number: int, width: int, height: int, interlaced: str = "") -> np.ndarray:
    """Frame `number` with its strip: uint8 [H, W, 3].

    The lines of an interlaced frame are of two moments.
    """
    frame = moment(number, width, height)
    if interlaced:
        later = 1 if interlaced == "tff" else 0
        frame[later::2] = moment(number + 0.5, width, height)[later::2]
    bits = [1, *((number >> k) & 1 for k in reversed(range(BITS))), 0]
    edges = np.linspace(0, width, len(bits) + 1).astype(int)
    for k, bit in enumerate(bits):
        frame[: height // 8, edges[k] : edges[k + 1]] = 16 + 220 * bit
        frame[height // 8 : height // 4, edges[k] : edges[k + 1]] = 16 + 220 * (1 - bit)
    return frame


def turned(frame: np.ndarray, way: int) -> np.ndarray:
    """The frame turned `way % 4` quarters against the clock, before that mirrored if `way` > 3."""
    return np.rot90(frame[:, ::-1] if way > 3 else frame, way % 4)


def read_number(frame: np.ndarray) -> tuple[int, int] | None:
    """The frame's number and the `way` to turn it for that; None where no strip is found."""
    for way in range(8):
        gray = turned(frame, way).mean(-1)
        height, width = gray.shape
        edges = np.linspace(0, width, BITS + 3)
        middles = [
            slice(int(a + (b - a) * 0.3), int(a + (b - a) * 0.7) + 1)
            for a, b in itertools.pairwise(edges)
        ]
        upper = np.array([gray[height // 32 : 3 * height // 32 + 1, m].mean() for m in middles])
        lower = np.array([gray[5 * height // 32 : 7 * height // 32 + 1, m].mean() for m in middles])
        bits = upper > lower
        if (abs(upper - lower) > 80).all() and bits[0] and not bits[-1]:
            return int("".join("01"[int(b)] for b in bits[1:-1]), 2), way
    return None


def ffmpeg(*arguments: str | Path) -> None:
    """Runs ffmpeg; raises CalledProcessError with its messages printed."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(f"{' '.join(command)}\n{done.stderr}")
        done.check_returncode()


def source(sample: Sample, folder: Path) -> list[str]:
    """Input arguments of ffmpeg for the sample's frames, written once a size."""
    width, height = sample.size
    raw = folder / f"{width}x{height}{sample.interlaced}-{sample.count}.rgb"
    if not raw.exists():
        frames = [picture(n, width, height, sample.interlaced) for n in range(sample.count)]
        part = raw.with_name(f"{sample.name}.part")  # others may be at it
        part.write_bytes(np.array(frames, np.uint8).tobytes())
        part.replace(raw)
    head = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {RATE} -i"
    return [*head.split(), str(raw)]


def display_matrix(matrix: tuple[int, int, int, int]) -> Callable[[Path], None]:
    """Writes a matrix into the first track header of an MP4 or MOV file."""

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        at = data.find(b"tkhd") + 4 + 40
        a, b, c, d = (value * ONE for value in matrix)
        data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(data)

    return change


def attach(path: Path) -> None:
    """Adds a cover picture as Matroska keeps it."""
    cover = path.with_suffix(".jpg")
    picture = "-f lavfi -i color=red:s=64x64 -frames:v 1 -pix_fmt yuvj420p"
    ffmpeg(*picture.split(), cover)
    copy(f"-i IN -map 0 -c copy -attach {cover} -metadata:s:t mimetype=image/jpeg")(path)
    cover.unlink()


def cut(path: Path) -> None:
    """Keeps the first half of the file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def behead(path: Path) -> None:
    """Drops the first fifth of the file, as a recording that begins anywhere."""
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 5 :])


def damage(header: int) -> Callable[[Path], None]:
    """Overwrites one packet in the middle with noise but for its first `header` bytes."""

    def change(path: Path) -> None:
        show = "ffprobe -v error -select_streams v -show_entries packet=pos,size -of json"
        found = subprocess.run(
            [*show.split(), str(path)], capture_output=True, text=True, check=True
        )
        packets = json.loads(found.stdout)["packets"]
        middle = packets[len(packets) // 2]
        begin, size = int(middle["pos"]) + header, max(int(middle["size"]) - header - 4, 1)
        data = bytearray(path.read_bytes())
        noise = np.random.default_rng(0).integers(1, 255, size, dtype=np.uint8)
        data[begin : begin + size] = noise.tobytes()
        path.write_bytes(data)

    return change


def trim(seconds: float) -> Callable[[Path], None]:
    """Cuts the beginning off without encoding again.

    MP4 keeps the frames from the key frame on and hides them by an edit list.
    """

    def change(path: Path) -> None:
        whole = path.rename(path.with_name(f"whole-{path.name}"))
        ffmpeg("-ss", str(seconds), "-i", whole, "-c", "copy", path)
        whole.unlink()

    return change


def copy(arguments: str) -> Callable[[Path], None]:
    """Makes the file out of itself by other arguments of ffmpeg, in which `IN` stands for it."""

    def change(path: Path) -> None:
        whole = path.rename(path.with_name(f"whole-{path.name}"))
        words = [str(whole) if word == "IN" else word for word in arguments.split()]
        ffmpeg(*words, path)
        whole.unlink()

    return change


def make(sample: Sample, folder: Path) -> Path:
    """Writes the sample's file, unless it is there, and returns its path."""
    sources = folder / "sources"
    sources.mkdir(exist_ok=True, parents=True)
    path = folder / sample.name
    if path.exists():
        return path
    ffmpeg(*source(sample, sources), "-sws_flags", EXACT, *sample.arguments.split(), path)
    if sample.after:
        sample.after(path)
    return path


def main(folder: str) -> None:
    """Makes all files."""
    from decoder_samples import SAMPLES

    for sample in SAMPLES:
        print(make(sample, Path(folder)), sample.what, sep="\t", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

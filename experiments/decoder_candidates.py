"""Decodes files with one library, as decoders.py asks: python decoder_candidates.py NAME [together]

Reads lines of JSON `[file, output]` and answers each with a line of JSON: what was decoded, or why
nothing was. The frames go to `output` (.npz) unless that is empty. Every file is decoded in a child
of its own that the library is already loaded in, and that is killed after `LIMIT` seconds; with
`together`, all in one process. Needs the library and NumPy alone.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator

import numpy as np

LIMIT = 60

Frames = Iterator[tuple[np.ndarray, float]]


def vid3d(path: str) -> Frames:
    """vid3d's own reader."""
    from vid3d.video.reader import Reader

    yield from Reader(path)


def pyav(path: str) -> Frames:
    """PyAV as its documentation shows it."""
    import av

    with av.open(path) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24"), np.nan if frame.time is None else frame.time


def torchcodec(path: str) -> Frames:
    """TorchCodec with exact seeking, its default."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", seek_mode="exact")
    for n in range(len(decoder)):
        frame = decoder.get_frame_at(n)
        yield frame.data.numpy(), frame.pts_seconds


def opencv(path: str) -> Frames:
    """OpenCV until `read` gives no more."""
    import cv2

    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise ValueError("not opened")
    while True:
        read, frame = capture.read()
        if not read:
            return
        yield frame[..., ::-1], capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


CANDIDATES = {f.__name__: f for f in (vid3d, pyav, torchcodec, opencv)}
MODULES = {
    "vid3d": "vid3d.video.reader",
    "pyav": "av",
    "torchcodec": "torchcodec.decoders",
    "opencv": "cv2",
}


def version(name: str) -> str:
    """The library's version with that of the FFmpeg it decodes with, where it says so; loads it."""
    module = importlib.import_module(MODULES[name])
    if name == "vid3d":
        return module.DECODER
    if name == "pyav":
        return f"{module.__version__}, FFmpeg {module.ffmpeg_version_info}"
    if name == "torchcodec":
        import torch
        from torchcodec import __version__, ffmpeg_major_version

        return f"{__version__}, torch {torch.__version__}, FFmpeg {ffmpeg_major_version}"
    build = module.getBuildInformation()
    avcodec = next(
        line.split("(")[1].rstrip(")") for line in build.splitlines() if "avcodec:" in line
    )
    return f"{module.__version__}, libavcodec {avcodec}"


def decode(name: str, path: str, output: str) -> dict:
    """All frames of a file: their number, their hash, or the error that ended it."""
    frames, times, error = [], [], ""
    try:
        for frame, seconds in CANDIDATES[name](path):
            frames.append(np.ascontiguousarray(frame))
            times.append(float(seconds))
    except Exception as caught:  # whatever a library raises is what is asked for here
        error = f"{type(caught).__name__}: {caught}".split("\n")[0][:200]
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(repr(frame.shape).encode() + frame.tobytes())
    if output:
        with open(output, "wb") as file:
            np.savez(file, times=np.array(times), **{f"f{n}": f for n, f in enumerate(frames)})
    return {"frames": len(frames), "error": error, "hash": digest.hexdigest()}


def alone(name: str, path: str, output: str) -> dict:
    """The same in a child process: a crash or a hang is an answer, too."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            os.write(write, json.dumps(decode(name, path, output)).encode())
        finally:
            os._exit(0)
    os.close(write)
    deadline = time.monotonic() + LIMIT
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(read)
            return {"frames": 0, "error": f"hang: more than {LIMIT} s", "hash": ""}
        time.sleep(0.002)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    if os.WIFSIGNALED(status) or not answer:
        sign = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "no answer"
        return {"frames": 0, "error": f"crash: {sign}", "hash": ""}
    return json.loads(answer)


def main(name: str, together: bool) -> None:
    """Answers until the input ends."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the libraries' own messages
    os.dup2(1, 2)
    try:
        answers.write(json.dumps({"version": version(name)}) + "\n")
    except ImportError as error:
        answers.write(json.dumps({"error": str(error)}) + "\n")
        return
    except (OSError, RuntimeError) as error:  # a shared library that is missing
        answers.write(json.dumps({"error": str(error).split("\n")[0]}) + "\n")
        return
    for line in sys.stdin:
        path, output = json.loads(line)
        answers.write(json.dumps((decode if together else alone)(name, path, output)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], "together" in sys.argv[2:])

"""Long recordings: does memory stay flat, and how fast are they beside decoding alone?

    python experiments/benchmarks/long_recordings.py [--hours=2] [--minutes=2] [--rounds=3] [--json]

With the demo's network (10x32x32 clips side by side; its weights are random, which costs as much).
Memory is that of this process and its decoding processes, while one recording of 96x72 at 25
frames a second is labelled; the highest of each quarter counts. Speed is that of two recordings of
640x480 at 25 frames a second (H.264), which are decoded alone and labelled in turn: video seconds
per second, the medians of the rounds. On a machine that is busy with other work, what counts is the
ratio of processor time: on cores that are all used it is that of the clock. --hours=0 leaves the
memory out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import psutil

from vid3d import compilation, config as configs, models
from vid3d.errors import UserError
from vid3d.inference import files
from vid3d.inference.classifier import Classifier
from vid3d.inference.recordings import label_recordings
from vid3d.inference.video import QueuedVideo
from vid3d.models.normalise import clip_shape
from vid3d.video import decoder_pool

CLASSES = ("a", "b", "c", "d", "e")
WORKERS = 2
TIMEOUT = 600.0  # seconds: a busy machine is no reason to give up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=2.0, help="of the recording for the memory")
    parser.add_argument("--minutes", type=float, default=2.0, help="of those for the speed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    compilation.set_up()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        classifier = demo_classifier()
        if options.minutes:
            paths = [make(Path(name) / f"{k}.mp4", "640x480", 60 * options.minutes) for k in "ab"]
            figures |= speed(classifier, paths, options.rounds)
        if options.hours:
            path = make(Path(name) / "long.mp4", "96x72", 3600 * options.hours)
            figures |= memory(classifier, path)
    figures |= {"cores": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 1)}
    if options.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:66} {value:.3f}" if isinstance(value, float) else f"{key:66} {value}")


def demo_classifier() -> Classifier:
    """The demo's network with random weights."""
    config = configs.load("demo", [("data.decode_timeout", str(TIMEOUT))])
    module = models.build(config.model, len(CLASSES))
    clip = np.zeros((1, *clip_shape(config.data)), np.float32)
    weights = jax.jit(module.init, static_argnames="train")(jax.random.key(0), clip, train=False)
    classifier = Classifier(dict(weights), config, classes=CLASSES, window_seconds=0.8)
    classifier.compile([8])
    return classifier


def make(path: Path, size: str, seconds: float) -> Path:
    """A moving test picture with noise, 25 frames a second, H.264: a minute again and again."""
    source = f"testsrc2=size={size}:rate=25:duration={min(seconds, 60)},noise=alls=12:allf=t"
    codec = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50")
    minute = path.with_name(f"minute-{path.name}")
    ffmpeg = ("ffmpeg", "-v", "error", "-y")
    subprocess.run([*ffmpeg, "-f", "lavfi", "-i", source, *codec, str(minute)], check=True)
    loop = ("-stream_loop", str(max(round(seconds / 60) - 1, 0)), "-i", str(minute))
    subprocess.run([*ffmpeg, *loop, "-c", "copy", str(path)], check=True)
    return path


def speed(classifier: Classifier, paths: list[Path], rounds: int) -> dict[str, object]:
    """Video seconds per second: decoding and fitting alone, and with the network."""
    names, data = [str(path) for path in paths], classifier.config.data
    alone, labelled, seconds = [], [], 0.0
    for _ in range(rounds):
        with timed(alone):
            events = decoder_pool.decode(
                names, files.settings_of(data), workers=WORKERS, timeout=TIMEOUT
            )
            for _ in events:
                pass
        with timed(labelled):
            seconds = sum(video.seconds for video in labelled_videos(classifier, paths))
    figures: dict[str, object] = {}
    for kind, place in (("on the clock", 0), ("of processor time", 1)):
        one, other = (statistics.median(row[place] for row in rows) for rows in (alone, labelled))
        figures |= {
            f"decoding alone, video seconds per second {kind}": seconds / one,
            f"with the network, video seconds per second {kind}": seconds / other,
            f"ratio {kind}": one / other,
        }
    return figures


def labelled_videos(classifier: Classifier, paths: list[Path]) -> Iterator[QueuedVideo]:
    """The recordings with their probabilities; raises a UserError where one fails."""
    for _, video in label_recordings(classifier, paths):
        if isinstance(video, UserError):
            raise video
        yield video


@contextlib.contextmanager
def timed(rows: list[tuple[float, float]]) -> Iterator[None]:
    """Adds the seconds of a block, on the clock and of all processors, its children's included."""
    begun, used = time.perf_counter(), processor_seconds()
    yield
    rows.append((time.perf_counter() - begun, processor_seconds() - used))


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def memory(classifier: Classifier, path: Path) -> dict[str, object]:
    """MiB of all processes: the highest in each quarter of the recording's windows."""
    own, ended, samples = psutil.Process(), threading.Event(), []

    def watch() -> None:
        while not ended.wait(0.2):
            found = own.memory_info().rss
            for child in own.children(recursive=True):
                try:
                    found += child.memory_info().rss
                except psutil.Error:
                    continue
            samples.append(found / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    begun = time.perf_counter()
    (video,) = labelled_videos(classifier, [path])
    seconds = time.perf_counter() - begun
    ended.set()
    thread.join()
    quarters = np.array_split(np.array(samples), 4)
    return {
        "hours": video.seconds / 3600,
        "windows": len(video.probabilities_NK),
        "events": len(video.events(CLASSES)),
        "seconds": seconds,
        "MiB in each quarter": ", ".join(f"{quarter.max():.0f}" for quarter in quarters),
    }


if __name__ == "__main__":
    main()

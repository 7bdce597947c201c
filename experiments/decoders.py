"""Which decoder shows what is in the file? Holds them to FFmpeg's command, on files of many kinds.

    python experiments/decoders.py                                  # writes docs/decoders.md
    python experiments/decoders.py --only=trim --output=-           # some files, to the screen
    python experiments/decoders.py --with=torchcodec=OTHER/bin/python \
        --with=opencv=ANOTHER/bin/python

`--only` takes the files whose name or kind holds the text. `--with` takes a library from another
Python, beside or instead of the one that runs this. Needs FFmpeg's command (`ffmpeg`).
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from decoder_candidates import CANDIDATES
from decoder_samples import SAMPLES
from decoder_truth import Truth, ascending, doubts, scaled, truth
from decoder_zoo import EXACT, Sample, make, read_number, turned

LARGEST_MEAN = 3.0  # levels of 255, of a channel of the worst frame
LARGEST_LATENESS = 0.002  # seconds
# How a picture stands that has to be turned (`turned`) by 1, 2, ... to be right.
WAYS = (
    "",
    "90 off",
    "180 off",
    "270 off",
    "mirrored",
    "mirrored, 90 off",
    "mirrored, 180 off",
    "mirrored, 270 off",
)
RIGHT = "right"


def faults(sample: Sample, right: Truth, answer: dict, output: str) -> list[str]:
    """What is wrong with an answer, the worst first; nothing where it is right."""
    error = answer["error"]
    if error.startswith(("crash", "hang")):
        return [error.split(":")[0]]
    if not right.frames:
        return [f"{answer['frames']} of 0 frames"] if answer["frames"] else []
    if not answer["frames"]:
        return ["refused" if error else "no frames"]
    with np.load(output) as file:
        frames = [file[f"f{n}"] for n in range(answer["frames"])]
        times = file["times"]
    found = []
    numbers = [read_number(frame) for frame in frames]
    seen = [number and number[0] for number in numbers]
    meant = ascending([number and number[0] for number in right.numbers])
    if len(frames) != len(right.frames):
        found.append(f"{len(frames)} of {len(right.frames)} frames")
    elif any(a != b for a, b in zip(seen, meant, strict=True) if None not in (a, b)):
        found.append("other frames")
    if not found:
        pairs = [
            (f, t) for f, t, n in zip(frames, right.frames, meant, strict=True) if n is not None
        ]
    else:
        place = {number: k for k, number in enumerate(meant) if number is not None}
        pairs = [
            (f, right.frames[place[n]]) for f, n in zip(frames, seen, strict=True) if n in place
        ]
    for frame, number, other in zip(frames, numbers, right.numbers, strict=False):
        if number and other and number[1] != other[1]:
            ways = [
                way
                for way in range(1, 8)
                if (read_number(turned(frame, way)) or "??")[1] == other[1]
            ]
            return [WAYS[ways[0]], *found]
    square = right.shape == 1
    if pairs and pairs[0][0].shape != pairs[0][1].shape:
        height, width = pairs[0][0].shape[:2]
        square = (
            square
            or abs(width / height / (pairs[0][1].shape[1] / pairs[0][1].shape[0]) / right.shape - 1)
            < 0.02
        )
        if right.shape == 1 or not square:
            return [*found, f"size {width}x{height}"]
        pairs = [(f, scaled(t, width, height)) for f, t in pairs]
    means = [np.abs(f.astype(int) - t).mean((0, 1)).max() for f, t in pairs]
    if means and max(means) > LARGEST_MEAN:
        bad = sum(mean > LARGEST_MEAN for mean in means)
        where = "" if bad > len(means) // 2 else f" in {bad}"
        found.append(f"picture wrong{where} (mean {max(means):.0f})")
    if len(frames) == len(right.times):
        late = np.abs(times - times[0] - right.times)
        if np.isnan(late).any():
            found.append("no times")
        elif late.max() > LARGEST_LATENESS:
            found.append(f"times off {late.max():.2g} s")
    return found if square else [*found, "not square"]


class Candidate:
    """A process that decodes files with one library."""

    def __init__(self, name: str, python: str, *mode: str):
        """Starts it; `version` or `missing` say what it is."""
        script = Path(__file__).with_name("decoder_candidates.py")
        self.name, self.python = name, python
        command = [python, str(script), name, *mode]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        hello = json.loads(self.process.stdout.readline() or '{"error": "does not start"}')
        self.version, self.missing = hello.get("version", ""), hello.get("error", "")

    def decode(self, path: Path, output: str) -> dict:
        """The answer for a file; a crash where the process is gone."""
        try:
            self.process.stdin.write(json.dumps([str(path), output]) + "\n")
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            return {"frames": 0, "error": "crash", "hash": ""}

    def end(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


def column(name: str, python: str, files: list[tuple[Sample, Path, Truth]], scratch: str):
    """The version of a candidate, and its faults in each file; None where it is not installed."""
    candidate = Candidate(name, python)
    if candidate.missing:
        return f"not installed ({candidate.missing})", None
    answers, verdicts = [], []
    for sample, path, right in files:
        output = f"{scratch}/{name}{id(candidate)}.npz"
        answers.append(candidate.decode(path, output))
        verdicts.append(faults(sample, right, answers[-1], output))
    candidate.end()
    sound = [
        k for k, answer in enumerate(answers) if not answer["error"].startswith(("crash", "hang"))
    ]
    for order in (sound, sound[::-1]):
        together = Candidate(name, python, "together")
        for k in order:
            if together.decode(files[k][1], "")["hash"] != answers[k]["hash"]:
                verdicts[k] = list(dict.fromkeys([*verdicts[k], "not the same twice"]))
        together.end()
    return candidate.version, verdicts


def page(files, columns, command: str, note: str) -> str:
    """The table as Markdown."""
    first = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True).stdout
    lines = ["# Which decoder shows what is in the file?", ""]
    lines += [f"    {command}", note, ""]
    lines += [f"FFmpeg's command: {first.split()[2]}. {datetime.date.today()}.", ""]
    lines += ["| decoder | version | right |", "|---|---|---|"]
    for name, (version, verdicts) in columns.items():
        right = "-" if verdicts is None else f"{sum(not v for v in verdicts)} of {len(files)}"
        lines.append(f"| {name} | {version} | {right} |")
    shown = {name: verdicts for name, (_, verdicts) in columns.items() if verdicts is not None}
    lines += ["", f"| file | kind | {' | '.join(shown)} |", "|---|---" + "|---" * len(shown) + "|"]
    for k, (sample, _, _) in enumerate(files):
        cells = [", ".join(verdicts[k]) or RIGHT for verdicts in shown.values()]
        lines.append(f"| {sample.name} | {sample.what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


NOTE = f"""
Every file is made by FFmpeg, with frames that carry their number. The truth is FFmpeg's own command
(`-fps_mode passthrough`, its rotation on, `-flags unaligned`, `-sws_flags {EXACT}`, to `rgb24`), of
the default video stream without covers, and ffprobe's times; where a stream has none, a constant
rate; for `ycgco`, which FFmpeg's scaler does not know, zimg's picture.

*Right* is: the same frame numbers in the same order; pictures of the same size and way up, of which
the worst frame differs by {LARGEST_MEAN:.0f} levels of 255 in the mean of each channel, at most;
times from the first frame within {1000 * LARGEST_LATENESS:.0f} ms; the same bytes when the file is
decoded in a process of its own and among all others in two orders. Where a file has nothing to
show, right is to show nothing. Frames that are damaged are not looked at, only the others. *Not
square*: pixels that are not square stay so; a picture in its display size is held to the truth
scaled to that. *Off*: the angle by which a picture is turned against the clock too little.
*Refused*: an error at the start. *n of m frames*: the rest is missing, with an error or without.

Each library is used as its documentation begins: PyAV with `frame.to_ndarray(format="rgb24")`,
TorchCodec with `VideoDecoder` and exact seeking, OpenCV with `read()`, vid3d with its `Reader`.
H.264 in single fields (PAFF) is missing, as FFmpeg cannot encode it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--only", default="", help="files whose name or kind holds this text")
    parser.add_argument("--output", default="docs/decoders.md", help="- for the screen")
    parser.add_argument("--files", help="a folder that keeps the files, for another time")
    parser.add_argument("--with", dest="others", action="append", default=[], metavar="NAME=PYTHON")
    options = parser.parse_args()
    chosen = [s for s in SAMPLES if options.only in s.name or options.only in s.what]
    if not chosen:
        raise SystemExit(f"no file's name or kind holds {options.only!r}")
    pythons = {name: [sys.executable] for name in CANDIDATES}
    for other in options.others:
        name, _, python = other.partition("=")
        if name not in pythons or not python:
            raise SystemExit(
                f"--with={other}: expected NAME=PYTHON, NAME one of {', '.join(pythons)}"
            )
        pythons[name].append(python)

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        place = Path(options.files or folder)
        paths = list(pool.map(lambda sample: make(sample, place), chosen))
        files = list(zip(chosen, paths, pool.map(truth, chosen, paths), strict=True))
        for sample, _, right in files:
            for doubt in doubts(sample, right):
                say(doubt)
        say(f"{len(files)} files and their truth", started)
        asked = [(name, python) for name, several in pythons.items() for python in several]
        found = pool.map(lambda one: column(*one, files, folder), asked)
        columns = {}
        for (name, _), (version, verdicts) in zip(asked, found, strict=True):
            if verdicts is None and len(pythons[name]) > 1:
                continue
            title = name if name not in columns else f"{name} {version.split(',')[0]}"
            columns[title] = version, verdicts
            say(f"{title} ({version})", started)
    words = [f"--only={options.only}"] if options.only else []
    words += [f"--with={other.partition('=')[0]}=PYTHON" for other in options.others]
    text = page(files, columns, " ".join(["python experiments/decoders.py", *words]), NOTE)
    if options.output == "-":
        print(text, end="")
    else:
        Path(options.output).write_text(text)


def say(text: str, started: float | None = None) -> None:
    """A line on standard error, with the time since `started`."""
    after = f", {time.monotonic() - started:.0f} s" if started else ""
    print(f"{text}{after}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

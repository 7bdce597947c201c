"""Does the memory of `vid3d predict --rows` grow with the number of files?

    python experiments/benchmarks/many_files.py WORKDIR VIDEO... [--files=N] [--stop-after=SECONDS]
        [--folder=DIR]

Labels N hard links (100,000 by default) of a few videos in one call, and prints the resident memory
of the command and of all its processes at 1,000 rows, 2,000, 5,000 and so on. A few of the files
are broken. `--stop-after` interrupts the call, and goes on with `--resume`. With `--folder`, on the
file system of the videos, the links and the rows stay there, and the same command goes on with them
after a kill.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

BROKEN = 1000  # every so many files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workdir")
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--stop-after", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--folder", type=Path, default=None, metavar="DIR")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder
        if not folder:
            beside = tempfile.TemporaryDirectory(dir=options.videos[0].parent)  # one file system
            folder = Path(stack.enter_context(beside))
        below = folder / "videos"
        link(options.videos, options.files, below)
        target = folder / "rows.csv"
        command = [sys.executable, "-m", "vid3d.cli", "predict", f"--workdir={options.workdir}"]
        command += [str(below), f"--rows={target}", "--resume"]
        print("    rows  seconds  command MiB  with decoders MiB", flush=True)
        start = time.monotonic()
        if options.stop_after:
            watch(command, target, start, stop_after=options.stop_after)
        watch(command, target, start)
        rows = target.read_bytes().count(b"\n") - 1
        assert rows == options.files, f"{rows} rows of {options.files} files"


def link(videos: list[Path], count: int, folder: Path) -> None:
    """Fills a folder with hard links, 1,000 per sub-folder, and a few broken files."""
    for number in range(count):
        video = videos[number % len(videos)]
        path = folder / f"{number // 1000:03d}" / f"{number:06d}{video.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % BROKEN == BROKEN // 2:
            path.write_text("no video")
        elif not path.exists():
            path.hardlink_to(video)


def watch(command: list[str], target: Path, start: float, *, stop_after: float = 0.0) -> None:
    """Runs the command and prints its memory as the rows grow."""
    due = iter(size for exponent in range(3, 9) for size in [k * 10**exponent for k in (1, 2, 5)])
    before = target.read_bytes() if target.exists() else b""
    rows, place, goal = before.count(b"\n"), len(before), next(due)
    while rows > goal:
        goal = next(due)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(0.5)
            if target.exists():
                with target.open("rb") as file:
                    file.seek(place)
                    new = file.read()
                rows, place = rows + new.count(b"\n"), place + len(new)
            if rows > goal:
                report(process.pid, rows - 1, start)
                while rows > goal:
                    goal = next(due)
            if stop_after and time.monotonic() - start > stop_after:
                report(process.pid, rows - 1, start)
                process.send_signal(signal.SIGTERM)
                process.wait()
    print(f"exit code {process.returncode} after {time.monotonic() - start:.0f} s", flush=True)


def report(pid: int, rows: int, start: float) -> None:
    """Prints the memory of a process, and of it with all below."""
    sizes = []
    with contextlib.suppress(psutil.Error):
        own = psutil.Process(pid)
        for process in (own, *own.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                sizes.append(process.memory_info().rss / 2**20)
        seconds = time.monotonic() - start
        print(f"{rows:8} {seconds:8.0f} {sizes[0]:12.0f} {sum(sizes):18.0f}", flush=True)


if __name__ == "__main__":
    main()

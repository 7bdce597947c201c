"""How many requests a second `vid3d serve` answers, and how long they take.

    python experiments/benchmarks/serve.py --workdir=runs/mine VIDEO... [--json]

Starts a server on this machine; 1, 8 and 64 connections then send the videos in turn, each its next
one as soon as it has an answer. Beside it, `vid3d predict` labels as many files, from its start on
and without its start (the difference to a run with a single file). The clients share its cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

CONNECTIONS = (1, 8, 64)
VID3D = [sys.executable, "-m", "vid3d"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--engine", default="jax")
    parser.add_argument("--requests", type=int, default=256, help="per number of connections")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    runtime = [f"--workdir={options.workdir}", f"--engine={options.engine}"]
    bodies = [path.read_bytes() for path in options.videos]
    figures = {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    figures |= measure_server(runtime, bodies, options.requests)
    figures |= measure_command(runtime, options.videos, options.requests)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:40} {value:.4g}")


def measure_server(runtime: list[str], bodies: list[bytes], requests: int) -> dict[str, float]:
    """Requests per second and percentiles of seconds, for each number of connections."""
    command = [*VID3D, "serve", *runtime, "--port=0", f"--max-concurrent={max(CONNECTIONS)}"]
    server = subprocess.Popen([*command, "--max-wait=600"], stdout=subprocess.PIPE, text=True)
    figures = {}
    try:
        address = server.stdout.readline().split()[0].removeprefix("http://")
        send(address, bodies, 8)
        for count in CONNECTIONS:
            shares = [requests // count + (i < requests % count) for i in range(count)]
            began = time.perf_counter()
            with ThreadPoolExecutor(count) as pool:
                took = [
                    pool.submit(send, address, bodies[i % len(bodies) :] + bodies, share)
                    for i, share in enumerate(shares)
                ]
                seconds = np.concatenate([one.result() for one in took])
            rate = requests / (time.perf_counter() - began)
            figures[f"{count}_connections_requests_per_second"] = rate
            for percent in (50, 95, 99):
                value = float(np.percentile(seconds, percent))
                figures[f"{count}_connections_p{percent}_s"] = value
    finally:
        server.terminate()
        server.wait()
    return figures


def send(address: str, bodies: list[bytes], count: int) -> np.ndarray:
    """Sends so many videos over one connection, one after the other: seconds of each, [count]."""
    connection = http.client.HTTPConnection(address, timeout=600)
    seconds = []
    for i in range(count):
        began = time.perf_counter()
        connection.request("POST", "/predict", bodies[i % len(bodies)], {"Content-Type": "video/x"})
        answer = connection.getresponse()
        content = answer.read()
        seconds.append(time.perf_counter() - began)
        assert answer.status == 200, content
    connection.close()
    return np.array(seconds)


def measure_command(runtime: list[str], videos: list[Path], files: int) -> dict[str, float]:
    """Files per second of `vid3d predict`."""
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for i in range(files):
            video = videos[i % len(videos)]
            names.append(Path(folder) / f"{i}{video.suffix}")
            names[-1].symlink_to(video.resolve())
        took = []
        for count in (1, files):
            began = time.perf_counter()
            subprocess.run(
                [*VID3D, "predict", *runtime, "--json", *names[:count]],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            took.append(time.perf_counter() - began)
    return {
        "predict_files_per_second": files / took[1],
        "predict_files_per_second_without_start": (files - 1) / (took[1] - took[0]),
    }


if __name__ == "__main__":
    main()

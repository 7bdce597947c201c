"""How fast the networks predict on a CPU: by JAX, by OpenVINO, and in ONNX Runtime.

    python experiments/benchmarks/zoo.py [--networks=r3d_18,x3d_s] [--batch=1] [--json]

Each side is a process of its own, and the sides take turns. Per network and side: clips per
second by wall clock and per second of processor time (medians of the rounds; other work on the
machine disturbs the second less), seconds to the first answer with JAX's cache empty and OpenVINO's
full (as the first use of a checkpoint has left it), and the largest resident memory. Networks are
"tutorial", "videos" (configs/videos.py), and all of `vid3d summary --all`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from typing import Any

from peers import Peer

from vid3d.errors import UserError
from vid3d.export.runtimes import check_bf16

NETWORKS = "r3d_18,x3d_s,slowfast_r50,videos,tutorial"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=NETWORKS, metavar="NAME,NAME")
    parser.add_argument("--batch", type=int, default=1, help="clips per call, at most 8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="at least so long per turn")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    precisions = ["f32"]
    try:
        check_bf16()
        precisions.append("bf16")
    except UserError:
        pass
    figures: dict[str, Any] = {}
    for name in options.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"  # JAX compiles anew
            figures[name] = measure(name, folder, tuple(precisions), options)
        if not options.json:
            show(name, figures[name])
    figures |= {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    if options.json:
        print(json.dumps(figures))
    else:
        print(f"{figures['cores']} cores, load {figures['load']:.1f} at the end")


def measure(
    name: str, folder: str, precisions: tuple[str, ...], options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """The figures of each side."""
    maker = Peer("zoo_sides", "files")
    maker.call("write", name, folder, precisions)
    maker.close()
    sides = {"jax": Peer("zoo_sides", "jax", name, folder)}
    for precision in precisions:
        sides[f"openvino {precision}"] = Peer("zoo_sides", "openvino", name, folder, precision)
    sides["onnxruntime"] = Peer("zoo_sides", "onnxruntime", name, folder)
    batch = options.batch
    times, found = {}, {side: [] for side in sides}
    for side, peer in sides.items():
        peer.call("predict", batch, 1)  # compiles for this batch
        seconds = peer.call("predict", batch, 1).seconds
        times[side] = max(round(options.seconds / seconds), 1)
    for _ in range(options.rounds):
        for side, peer in sides.items():
            found[side].append(peer.call("predict", batch, times[side]))
    rows = {}
    for side, peer in sides.items():
        clips = batch * times[side]
        first, mib = peer.call("facts").value
        peer.close()
        rows[side] = {
            "clips_per_second": clips / statistics.median(c.seconds for c in found[side]),
            "clips_per_processor_second": clips
            / statistics.median(c.processor_seconds for c in found[side]),
            "seconds_to_first_answer": first,
            "peak_mib": mib,
        }
    return rows


def show(name: str, rows: dict[str, dict[str, float]]) -> None:
    """Prints the figures of a network, with the times of JAX's in brackets."""
    base = rows["jax"]
    for side, row in rows.items():
        wall, used = row["clips_per_second"], row["clips_per_processor_second"]
        print(
            f"{name:14} {side:14} {wall:8.2f} clips/s (x{wall / base['clips_per_second']:.2f})  "
            f"{used:8.2f} per processor second "
            f"(x{used / base['clips_per_processor_second']:.2f})  first answer "
            f"{row['seconds_to_first_answer']:6.2f} s  {row['peak_mib']:6.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()

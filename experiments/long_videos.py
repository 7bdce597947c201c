"""How often is the label of a long recording right? Test clips of a class, six to a recording.

    vid3d cv --config=videos --config.data.root=DIR --workdir=runs/fights
    python experiments/long_videos.py --root=DIR --workdir=runs/fights --output=runs/long

The test clips of each fold are joined in the order of their sources (ffmpeg, 320x240, 30 frames a
second; clips that are left over stay out), and the network that has seen none of these sources
labels the recordings: with `eval.long_videos` as each of its values by `vid3d evaluate`, and by
`vid3d predict`, whose answers have to be those of "mean". The intervals are Wilson's, as if
recordings were independent.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from vid3d.evaluation.metrics import wilson_interval

HOW = ("views", "mean", "longest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--root", required=True, help="the folder with manifest.csv")
    parser.add_argument("--workdir", required=True, help="of vid3d cv")
    parser.add_argument("--output", required=True, help="for the recordings")
    parser.add_argument("--clips", type=int, default=6, help="in a recording")
    options = parser.parse_args()
    root, output = Path(options.root), Path(options.output)
    with (root / "manifest.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["group"], row["path"]))
    right: dict[str, Counter[str]] = {how: Counter() for how in (*HOW, "time line's majority")}
    total: Counter[str] = Counter()
    for fold in sorted({row["fold"] for row in rows}):
        folder = output / f"fold{fold}"
        for label in sorted({row["label"] for row in rows}):
            paths = [root / r["path"] for r in rows if (r["fold"], r["label"]) == (fold, label)]
            for number in range(len(paths) // options.clips):
                part = paths[number * options.clips : (number + 1) * options.clips]
                join(part, folder / label / f"{number}.mp4")
        workdir = f"--workdir={options.workdir}/seed0-fold{fold}"
        answers = {}
        for how in HOW:
            figures = vid3d(
                "evaluate",
                workdir,
                f"--data={folder}",
                f"--config.eval.long_videos={how}",
                "--json",
            )
            suffix = "" if how == "mean" else f"-long_videos={how}"
            (written,) = Path(f"{options.workdir}/seed0-fold{fold}/evaluation").glob(
                f"data-fold{fold}-????????-best{suffix}"
            )
            with (written / "predictions.csv").open() as file:
                answers[how] = {row["path"]: row for row in csv.DictReader(file)}
            if how == "mean":
                notes = json.loads(figures)["notes"]
                print(
                    f"fold {fold}: {next(n for n in notes if 'training length' in n)}", flush=True
                )
        predicted = json.loads(vid3d("predict", workdir, str(folder), "--json"))["predictions"]
        for one in predicted:
            path = str(Path(one["path"]).relative_to(folder))
            label = answers["mean"][path]["true"]
            total[label] += 1
            for how in HOW:
                right[how][label] += answers[how][path]["predicted"] == label
            for name, probability in one["probabilities"].items():
                assert abs(probability - float(answers["mean"][path][name])) < 1e-5, path
            assert one["label"] == answers["mean"][path]["predicted"], path
            seconds: Counter[str] = Counter()
            for segment in one["segments"]:
                seconds[segment["label"]] += segment["end"] - segment["start"]
            right["time line's majority"][label] += seconds.most_common(1)[0][0] == label
    print(f"{'label by':21} right of {total.total()}  share (95% interval)   by class")
    for how, found in right.items():
        low, high = wilson_interval(found.total(), total.total())
        classes = ", ".join(f"{label} {found[label]} of {total[label]}" for label in total)
        share = f"{found.total() / total.total():.3f} ({low:.3f} to {high:.3f})"
        print(f"{how:21} {found.total():>11}  {share:22} {classes}")


def join(paths: list[Path], recording: Path) -> None:
    """Writes clips one after the other into one file."""
    recording.parent.mkdir(parents=True, exist_ok=True)
    fit = ";".join(f"[{k}:v:0]scale=320:240,setsar=1,fps=30[v{k}]" for k in range(len(paths)))
    joined = "".join(f"[v{k}]" for k in range(len(paths))) + f"concat=n={len(paths)}[v]"
    inputs = [part for path in paths for part in ("-i", str(path))]
    codec = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", *inputs, "-filter_complex", f"{fit};{joined}",
         "-map", "[v]", *codec, str(recording)],
        check=True,
    )  # fmt: skip


def vid3d(*arguments: str) -> str:
    """Runs one command; its progress goes to standard error."""
    command = [sys.executable, "-m", "vid3d.cli", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()

"""How good are the events of long recordings? Clips of fights, joined to recordings by source.

    vid3d cv --config=videos --config.data.root=DIR --workdir=runs/fights
    python experiments/time_lines.py --root=DIR --workdir=runs/fights --output=runs/time-lines

The clips of each source are joined in a random order (fixed seed; ffmpeg, 320x240, 30 frames a
second), so the truth is known: which stretches are fights. Each fold is tested with the network
that has seen none of its sources, and the next fold's recordings choose the decoder. The events of
all folds are judged together: as decoded without a choice, and as chosen. The workdir may also be
that of one `vid3d train`, whose fold 0 is tested.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
from itertools import groupby
from pathlib import Path

from long_videos import join, vid3d

FEWEST = 3  # clips of a source that make a recording
MEASURES = (
    "accuracy",
    "second_f1",
    "segment_f1@10",
    "segment_f1@25",
    "segment_f1@50",
    "edit",
    "map",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--root", required=True, help="the folder with manifest.csv")
    parser.add_argument("--workdir", required=True, help="of vid3d cv, or of vid3d train")
    parser.add_argument("--output", required=True, help="for the recordings")
    parser.add_argument("--label", default="fight", help="the class that is an event")
    parser.add_argument("--overlap", type=float, default=0.75, help="of the windows")
    options = parser.parse_args()
    root, output = Path(options.root), Path(options.output).absolute()
    with (root / "manifest.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["group"], row["path"]))
    others = sorted({row["label"] for row in rows} - {options.label})
    settings = (
        f"--config.predict.overlap={options.overlap}",
        f"--config.predict.events.background={','.join(others)}",
    )
    truths = {}
    for fold in sorted({row["fold"] for row in rows}):
        own = [row for row in rows if row["fold"] == fold]
        truths[fold] = write_recordings(root, own, output / f"fold{fold}", options.label)
    folds, tested = list(truths), workdirs(Path(options.workdir))
    on_val = []
    for fold, workdir in tested.items():
        (workdir / "events.json").unlink(missing_ok=True)
        find_events(workdir, truths[fold], settings, "plain")
        after = truths[folds[(folds.index(fold) + 1) % len(folds)]]
        figures = vid3d("evaluate", f"--workdir={workdir}", "--json", *settings,
                        f"--events={after}", "--choose")  # fmt: skip
        on_val.append(json.loads(figures))
        find_events(workdir, truths[fold], settings, "chosen")
    plain, chosen = (judge([truths[fold] for fold in tested], name) for name in ("plain", "chosen"))
    print(f"{plain['num_recordings']} test recordings, {60 * plain['hours']:.1f} minutes, "
          f"{plain['num_sources']} sources; {len(tested)} networks")  # fmt: skip
    print(f"{'measure':14} {'as it is':26} {'as chosen':26} on those that chose")
    for name in MEASURES:
        those = ", ".join(f"{figures[name]:.3f}" for figures in on_val)
        print(f"{name:14} {shown(plain, name):26} {shown(chosen, name):26} {those}")


def workdirs(workdir: Path) -> dict[str, Path]:
    """Fold -> the workdir that tests it."""
    found = sorted(workdir.glob("seed0-fold*"))
    return {path.name.removeprefix("seed0-fold"): path for path in found} or {"0": workdir}


def find_events(workdir: Path, truth: Path, settings: tuple[str, ...], name: str) -> None:
    """Writes the events of the recordings of a truth beside it, as NAME.csv."""
    for old in truth.parent.glob(f"{name}.csv*"):
        old.unlink()
    with truth.open() as file:
        names = sorted({row["path"] for row in csv.DictReader(file)})
    recordings = [str(truth.parent / name) for name in names]
    vid3d("predict", f"--workdir={workdir}", *settings, *recordings,
          f"--events={truth.parent / name}.csv")  # fmt: skip


def judge(truths: list[Path], name: str) -> dict:
    """Judges the events NAME.csv of several truths together."""
    folder = truths[0].parent.parent
    joined = {"truth": folder / "truth.csv", name: folder / f"{name}.csv"}
    for part, path in joined.items():
        tables = [(truth.parent / f"{part}.csv").read_text().splitlines() for truth in truths]
        lines = [tables[0][0]]
        for truth, (_, *own) in zip(truths, tables, strict=True):
            below = f"{truth.parent.name}/" if part == "truth" else ""  # events have whole paths
            lines += [below + line for line in own]
        path.write_text("\n".join(lines) + "\n")
    lists = [truth.parent / f"{name}.csv.videos.csv" for truth in truths]
    header = lists[0].read_text().partition("\n")[0]
    whole = [header, *(line for path in lists for line in path.read_text().splitlines()[1:])]
    joined[name].with_name(f"{name}.csv.videos.csv").write_text("\n".join(whole) + "\n")
    judging = ("evaluate", f"--events={joined['truth']}", f"--predicted={joined[name]}", "--json")
    return json.loads(vid3d(*judging))


def shown(figures: dict, name: str) -> str:
    """A figure with its interval."""
    interval = figures[f"{name}_interval"]
    between = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    return f"{figures[name]:.3f}{between}"


def write_recordings(root: Path, rows: list[dict[str, str]], folder: Path, label: str) -> Path:
    """Joins the clips of each source, and writes the truth of the recordings."""
    lines = []
    for group, own in groupby(rows, key=lambda row: row["group"]):
        clips = list(own)
        if len(clips) < FEWEST:
            continue
        random.Random(group).shuffle(clips)
        recording = folder / f"{group}.mp4"
        if not recording.exists():
            join([root / clip["path"] for clip in clips], recording)
        start, events = 0.0, []
        for clip in clips:
            end = start + seconds(root / clip["path"])
            if clip["label"] == label and events and events[-1][1] == start:
                events[-1][1] = end
            elif clip["label"] == label:
                events.append([start, end])
            start = end
        whole = seconds(recording)
        assert abs(whole - start) < 0.5, (recording, whole, start)
        lines += [(recording.name, a, b, label, group) for a, b in events]
        lines += [] if events else [(recording.name, "", "", "", group)]
    truth = folder / "truth.csv"
    with truth.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "start", "end", "label", "group"), *lines])
    return truth


def seconds(path: Path) -> float:
    """How long the video of a file is, in whole frames at 30 a second."""
    command = ("ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
               "stream=duration", "-of", "csv=p=0", str(path))  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return round(30 * float(done.strip().strip(","))) / 30


if __name__ == "__main__":
    main()

"""How good are the events of long recordings? Clips of fights, joined to recordings by source.

    vid3d train --config=videos --config.data.root=DIR --workdir=runs/fights
    python experiments/time_lines.py --root=DIR --workdir=runs/fights --output=runs/time-lines

The clips of each test source and of each validation source are joined in a random order (fixed
seed; ffmpeg, 320x240, 30 frames a second), so the truth is known: which stretches are fights. No
source has recordings on two sides. The decoder is chosen on the validation recordings; the test
recordings are judged once with the decoder as it is without a choice, and once as chosen.
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
    parser.add_argument(
        "--workdir", required=True, help="of vid3d train: fold 0 tests, 1 validates"
    )
    parser.add_argument("--output", required=True, help="for the recordings")
    parser.add_argument("--label", default="fight", help="the class that is an event")
    parser.add_argument("--overlap", type=float, default=0.75, help="of the windows")
    options = parser.parse_args()
    root, output = Path(options.root), Path(options.output)
    with (root / "manifest.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["group"], row["path"]))
    others = sorted({row["label"] for row in rows} - {options.label})
    settings = (
        f"--config.predict.overlap={options.overlap}",
        f"--config.predict.events.background={','.join(others)}",
    )
    truths = {}
    for side, fold in (("val", "1"), ("test", "0")):
        truths[side] = write_recordings(
            root, [row for row in rows if row["fold"] == fold], output / side, options.label
        )
    evaluate = ("evaluate", f"--workdir={options.workdir}", "--json", *settings)
    (Path(options.workdir) / "events.json").unlink(missing_ok=True)
    plain = json.loads(vid3d(*evaluate, f"--events={truths['test']}"))
    on_val = json.loads(vid3d(*evaluate, f"--events={truths['val']}", "--choose"))
    chosen = json.loads(vid3d(*evaluate, f"--events={truths['test']}"))
    print(f"{plain['num_recordings']} test recordings, {60 * plain['hours']:.1f} minutes, "
          f"{plain['num_sources']} sources; {on_val['num_recordings']} for the choice")  # fmt: skip
    print("chosen:", next(note for note in chosen["notes"] if "decoded as chosen" in note))
    print(f"{'measure':14} {'as it is':26} {'as chosen':26} on the validation recordings")
    for name in MEASURES:
        print(f"{name:14} {shown(plain, name):26} {shown(chosen, name):26} {on_val[name]:.3f}")


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

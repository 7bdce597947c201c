"""The end of `make demo`: a picture of what was learnt, an annotated video, and what is next.

python experiments/demo.py runs/demo
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import vid3d
from vid3d.config import from_json
from vid3d.datasets import index
from vid3d.evaluation.plots import save_figure
from vid3d.inference.predict import predict
from vid3d.inference.report import print_report
from vid3d.video.frames import read_video

NEXT = """
next:
  your own videos     vid3d train --config=configs/videos.py --workdir=runs/mine \\
                          --config.data.root=DIR
                      (DIR has one sub-folder per class; `source .venv/bin/activate` first)
  label a video       vid3d predict --workdir={workdir} {video}
  label while it runs vid3d live --workdir={workdir} --source=0        (a camera; or a file)
  curves              pip install tensorboard; tensorboard --logdir={workdir}/tensorboard
  without time        make demo-baseline: the same network looking at single frames
"""


def main(workdir: Path) -> None:
    config = from_json((workdir / "config.json").read_text())
    root = Path(index.find(config.data, config.seed).root)
    with (workdir / "evaluation" / "test-best" / "predictions.csv").open() as file:
        tested = list(csv.DictReader(file))
    first_of_class = list({row["true"]: row for row in reversed(tested)}.values())
    examples = sorted(first_of_class, key=lambda row: row["true"])
    figures = json.loads((workdir / "evaluation" / "test-best" / "metrics.json").read_text())

    video = root / examples[0]["path"]
    annotated = workdir / "annotated"
    print_report(predict(workdir, [video], output=annotated), output=annotated)
    answer = vid3d.load(str(workdir)).predict(str(video))
    assert answer.label == examples[0]["predicted"], "predict and evaluate disagree"

    picture = workdir / "demo.png"
    title = (
        f"{figures['correct']} of {figures['num_videos']} held-out videos right; "
        "one test video a class"
    )
    save_figure(draw(examples, root, config, title), picture)
    print("\npictures")
    print(f"  {picture}")
    print(f"  {workdir / 'evaluation' / 'test-best' / 'confusion_matrix.png'}")
    print("annotated video")
    print(f"  {workdir / 'annotated' / video.with_suffix('.mp4').name}")
    print(NEXT.format(workdir=workdir, video=video))


def draw(examples: list[dict[str, str]], root: Path, config, title: str) -> Figure:
    """A row a video: its frames in time, on its left what it is and what it was taken for."""
    count = config.data.num_frames
    figure = Figure(figsize=(1.0 * count + 1.6, 1.05 * len(examples) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(examples), count, gridspec_kw={"wspace": 0.03, "hspace": 0.03})
    for row, example in enumerate(examples):
        frames = read_video(root / example["path"], config.data).frames_THWC[:count]
        for column, frame in enumerate(np.asarray(frames)):
            axes[row, column].imshow(frame)
            axes[row, column].set_xticks([])
            axes[row, column].set_yticks([])
        right = example["true"] == example["predicted"]
        axes[row, 0].set_ylabel(
            f"{example['predicted']}\n{float(example[example['predicted']]):.0%}"
            + ("" if right else f"\n(is {example['true']})"),
            rotation=0, ha="right", va="center", fontsize=9,
            color="darkgreen" if right else "firebrick",
        )  # fmt: skip
    return figure


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))

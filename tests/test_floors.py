"""Floors of a data set: the accuracies to beat, with the same kind of interval."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np

from vid3d.evaluation.metrics import group_interval


def test_floors_have_intervals_over_sources(tmp_path, capsys):
    lines = ["path,label,group,fold"]
    for k in range(12):
        writer = cv2.VideoWriter(
            str(tmp_path / f"{k}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (32, 32)
        )
        for t in range(6):
            writer.write(np.full((32, 32, 3), 10 * k + (k % 3) * t, np.uint8))
        writer.release()
        label = "calm" if k < 8 else "wild"
        lines.append(f"{k}.avi,{label},tape{k // 2},{k % 2}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    spec = importlib.util.spec_from_file_location("floors", "experiments/floors.py")
    floors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(floors)
    floors.main(tmp_path)
    majority, ridge = capsys.readouterr().out.splitlines()
    tapes = [f"tape{k // 2}" for k in range(12)]
    low, high = group_interval([k < 8 for k in range(12)], tapes)
    assert majority.startswith(f"majority: 0.667 (95% interval {low:.3f} to {high:.3f})")
    assert "12 videos of 6 sources, 2 folds" in majority and "12 videos of 6 sources" in ridge

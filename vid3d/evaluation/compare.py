"""Reads several runs, and writes runs.csv, curves.png and, for two, differing_videos.csv.

`compare_report` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vid3d import config as configs, storage
from vid3d.evaluation import metrics, plots
from vid3d.evaluation.output import write_csv
from vid3d.evaluation.paired import Paired, pair
from vid3d.evaluation.runs import (
    ComparedRun,
    but_for_the_seed,
    differing_keys,
    find_workdirs,
    read,
    short_names,
    test_missing,
)


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side."""

    runs: Sequence[ComparedRun]
    keys: Sequence[str]  # of the config, in which they differ
    paired: Paired | None  # the paired test, of two runs
    all_tested: bool  # whether all that were to be tested could be
    written: Sequence[Path] = ()  # files


def compare(folders: Sequence[str], *, output: str = "", test: bool = False) -> Comparison:
    """Compares runs; with `output`, writes runs.csv, curves.png and differing_videos.csv.

    Args:
        folders: workdirs, or folders of workdirs, such as that of a sweep.
        output: a folder, made where it is missing.
        test: whether to test the best checkpoints that were not tested yet.

    Raises:
        UserError: a folder that is not a workdir and holds none, or an output that cannot be
            written.
    """
    workdirs = find_workdirs(folders)
    if output:
        storage.check_folder(storage.as_path(output))
    all_tested = test_missing(workdirs) if test else True
    runs = [
        read(workdir, name) for workdir, name in zip(workdirs, short_names(workdirs), strict=True)
    ]
    keys = differing_keys(runs)
    paired = pair(*runs) if len(runs) == 2 else None
    written = write(storage.as_path(output), runs, keys, paired) if output else []
    return Comparison(runs, keys, paired, all_tested, written)


def csv_row(run: ComparedRun, keys: Sequence[str]) -> dict[str, Any]:
    """The row of a run in runs.csv; what is not known is empty."""
    flat = configs.flatten(run.config)
    test = run.test or {}
    kind, (low, high) = interval(run) or (None, (None, None))
    return {
        "run": run.name,
        **{key: value_text(flat[key]) for key in keys},
        "epochs": run.curve[-1]["epoch"] if run.curve else 0,
        "val_accuracy": run.val_accuracy,
        "test_accuracy": test.get("accuracy"),
        "test_low": low,
        "test_high": high,
        "test_interval": kind,
        "test_balanced_accuracy": test.get("balanced_accuracy"),
        "test_macro_f1": test.get("macro_f1"),
        "test_videos": test.get("num_videos"),
        "test_sources": test.get("num_groups"),
        "protocol": test.get("protocol"),
        "parameters": run.parameters,
        "flops": run.flops,
        "clips_per_second": run.clips_per_second,
        "workdir": str(run.workdir),
    }


def interval(run: ComparedRun) -> tuple[str, Sequence[float]] | None:
    """`metrics.best_interval` of the test; None where the run is not tested."""
    return metrics.best_interval(run.test) if run.test else None


def value_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def write(
    folder: Path, runs: Sequence[ComparedRun], keys: Sequence[str], paired: Paired | None
) -> list[Path]:
    """Writes runs.csv and curves.png, and differing_videos.csv where there is a paired test."""
    storage.make_folder(folder)
    records = [csv_row(run, keys) for run in runs]
    write_csv(folder / "runs.csv", list(records[0]), [list(r.values()) for r in records])
    curves = {run.name: run.curve for run in runs}
    alike = {run.name: but_for_the_seed(run) for run in runs}
    plots.save_figure(plots.curves_figure(curves, alike), folder / "curves.png")
    written = ["runs.csv", "curves.png"]
    if paired:
        header = ["path", "true", runs[0].name, runs[1].name]
        write_csv(folder / "differing_videos.csv", header, paired.differing)
        written.append("differing_videos.csv")
    return [folder / name for name in written]

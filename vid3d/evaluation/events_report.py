"""An evaluation of time lines on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from vid3d import terminal
from vid3d.evaluation.report import show_notes_and_files
from vid3d.evaluation.time_lines import FILES
from vid3d.text import counted

NAMES = {
    "accuracy": "accuracy of seconds",
    "second_f1": "F1 of seconds",
    "segment_f1@10": "segment F1, IoU 10%",
    "segment_f1@25": "segment F1, IoU 25%",
    "segment_f1@50": "segment F1, IoU 50%",
    "edit": "edit score",
    "map": "mAP, tIoU 0.3 to 0.7",
}


def show(figures: dict[str, Any], folder: Path | None) -> None:
    """Prints the labels, the measures with their intervals, and the files in a folder."""
    console = terminal.console(soft_wrap=True)
    table = Table("label", "F1 of seconds", "segment F1@50", "AP", "true", "found")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, row in figures["per_label"].items():
        cells = (row["second_f1"], row["segment_f1@50"], row["average_precision"])
        counts = (str(row["true_events"]), str(row["found_events"]))
        table.add_row(Text(label), *map(number, cells), *counts)
    console.print(table)
    for name, words in NAMES.items():
        interval = figures[f"{name}_interval"]
        between = f" (95% interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
        console.print(f"{words:20} {number(figures[name])}{between}", markup=False)
    by = (
        f"events: {figures['predicted']}"
        if "predicted" in figures
        else (f"checkpoint: {figures['checkpoint']} (step {figures['step']})")
    )
    console.print(
        f"{counted(figures['num_recordings'], 'recording')}, {figures['hours']:.2f} h, "
        f"{counted(figures['num_sources'], 'source')}, {by}",
        markup=False,
    )
    files = [folder / name for name in FILES] if folder else []
    show_notes_and_files(figures["notes"], files, console)


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return "-" if value is None else f"{value:.3f}"

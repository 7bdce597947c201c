"""An evaluation on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vid3d import terminal
from vid3d.data.advice import shell_word
from vid3d.datasets.videos import COLUMNS
from vid3d.evaluation import metrics
from vid3d.evaluation.output import FILES
from vid3d.terminal import printable
from vid3d.text import first_few, shorten

MOST_NAMED = 3  # confused pairs
MOST_SHOWN = 5  # mistakes


def show(figures: dict[str, Any], folder: Path) -> None:
    """Prints the classes, the accuracy with interval, count and protocol, and the files."""
    console = terminal.console(soft_wrap=True)
    table = Table("class", "precision", "recall", "F1", "videos")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in figures["per_class"].items():
        cells = (f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
        table.add_row(Text(name), *cells, str(row["count"]))
    console.print(table)
    low, high = figures["interval_groups"] or figures["interval"]
    over = f", {metrics.sources(figures)}"
    if figures["interval_groups"]:
        one, other = figures["interval"]
        over = f" over {metrics.sources(figures)}; as if videos were independent, "
        over += f"{one:.4f} to {other:.4f}"
    top5 = figures["top5_accuracy"]
    console.print(
        f"accuracy {figures['accuracy']:.4f} (95% interval {low:.4f} to {high:.4f}{over})"
        + (f", top-5 {top5:.4f}" if top5 is not None else "")
        + f", loss {figures['loss']:.4f}",
        markup=False,
    )
    counts = [row["count"] for row in figures["per_class"].values()]
    tested = sum(count > 0 for count in counts)
    of = f"{tested}" if tested == len(counts) else f"{tested} of {len(counts)}"
    console.print(
        f"balanced accuracy {figures['balanced_accuracy']:.4f}, macro-F1 {figures['macro_f1']:.4f} "
        f"(means of recall and F1 over {of} classes)",
        markup=False,
    )
    console.print(calibration_line(figures["calibration"]), markup=False)
    if confused := figures["most_confused"]:
        pairs = (
            f"{shorten(pair['true'], 40)} as {shorten(pair['predicted'], 40)} "
            f"({pair['videos']} of {pair['total']})"
            for pair in confused[:MOST_NAMED]
        )
        console.print(f"most confused: {', '.join(pairs)}", markup=False)
    show_groups(figures, console)
    show_mistakes(figures, folder, console)
    console.print(
        f"{figures['num_videos']} of {figures['num_expected']} {figures['split']} videos, "
        f"protocol: {figures['protocol']}, "
        f"checkpoint: {figures['checkpoint']} (step {figures['step']}), views: {figures['views']}",
        markup=False,
    )
    show_notes_and_files(figures["notes"], [folder / name for name in FILES], console)


def calibration_line(calibration: dict[str, Any]) -> str:
    """How true the probabilities are, and what the temperature has done for it."""
    interval = ""
    if found := calibration["interval"]:
        interval = f" (95% interval {found[0]:.4f} to {found[1]:.4f})"
    line = (
        f"calibration error {calibration['expected_calibration_error']:.4f}{interval}, "
        f"Brier score {calibration['brier_score']:.4f}"
    )
    if before := calibration["before"]:
        line += (
            f"; without the temperature ({calibration['temperature']:.3g}) "
            f"{before['expected_calibration_error']:.4f} and {before['brier_score']:.4f}"
        )
    if count := calibration["fitted_on"]:
        too = ", which chose the checkpoint as well" * calibration["chose_checkpoint"]
        line += f" (fitted on {count} validation video{'s' * (count != 1)}{too})"
    return line


def show_notes_and_files(notes: Iterable[str], files: Iterable[Path], console: Console) -> None:
    """Prints what is to be known about the figures, and where they were written."""
    for note in notes:
        console.print(f"note: {note}", markup=False)
    for path in files:
        console.print(str(path), markup=False)


def show_groups(figures: dict[str, Any], console: Console) -> None:
    """Prints the sources whose videos were answered worst."""
    worst = [
        f"{shorten(name, 40)} {row['accuracy']:.3f} ({row['correct']} of {row['count']})"
        for name, row in figures["per_group"].items()
        if row["correct"] < row["count"]
    ]
    if worst:
        console.print(f"least accurate sources: {first_few(worst, MOST_NAMED)}", markup=False)


def show_mistakes(figures: dict[str, Any], folder: Path, console: Console) -> None:
    """Prints the wrong answers that were given with the highest probabilities."""
    count, shown = figures["num_videos"] - figures["correct"], figures["mistakes"][:MOST_SHOWN]
    if not shown:
        return
    console.print(f"wrong: {count}, the most confident first")
    table = Table(
        "  video", "true", "answer", "probability", "of the true", box=None, pad_edge=False
    )
    for column in table.columns[3:]:
        column.justify = "right"
    for row in shown:
        names = (f"  {pasteable(row)}", row["true"], row["predicted"])
        numbers = (f"{row['probability']:.3f}", f"{row['true_probability']:.3f}")
        table.add_row(*(Text(printable(name)) for name in names), *numbers)
    terminal.console(wide=True).print(table)
    if count > len(shown):
        console.print(f"  all in {folder / 'mistakes.csv'}", markup=False)


def pasteable(mistake: dict[str, Any]) -> str:
    """The file of a mistake as a shell takes it from here, and the times of a stretch."""
    if not mistake["file"]:
        return str(mistake["path"])
    inside = Path(mistake["file"])
    if inside.is_relative_to(Path.cwd()):
        inside = inside.relative_to(Path.cwd())
    times = [
        f" {mistake[first]:g}-{mistake[last]:g} {unit}"
        for unit, (first, last) in COLUMNS.items()
        if first in mistake
    ]
    return shell_word(str(inside)) + "".join(times)

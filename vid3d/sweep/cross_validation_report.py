"""A cross-validation on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from vid3d import terminal


def show(figures: dict[str, Any], console: Console | None = None) -> None:
    """Prints the accuracy by fold and seed, that of all videos with its interval, and notes.

    Args:
        figures: see `cross_validation.summarise`.
        console: to print on.
    """
    console = console or terminal.console()
    of = {(row["fold"], row["seed"]): row for row in figures["runs"]}
    seeds = list(dict.fromkeys(row["seed"] for row in figures["runs"]))
    folds = list(dict.fromkeys(row["fold"] for row in figures["runs"]))
    table = Table()
    for title in ("fold", *(f"seed {seed}" for seed in seeds), "videos", "sources"):
        table.add_column(title, justify="right", no_wrap=True)
    for fold in folds:
        rows = [of[fold, seed] for seed in seeds]
        cells = (f"{row['accuracy']:.3f}" for row in rows)
        table.add_row(str(fold), *cells, str(rows[0]["num_videos"]), str(rows[0]["num_sources"]))
    table.add_section()
    per_seed = figures["accuracy_per_seed"]
    cells = (f"{accuracy:.3f}" for accuracy in per_seed.values())
    table.add_row("all", *cells, str(figures["num_videos"]), str(figures["num_sources"]))
    console.print(table)
    for line in lines(figures, folds=len(folds)):
        console.print(line, markup=False, soft_wrap=True)


def lines(figures: dict[str, Any], *, folds: int) -> list[str]:
    """The accuracy over all videos, what to compare it with, and the notes."""
    low, high = figures["interval"]
    per_seed = figures["accuracy_per_seed"].values()
    spread = ""
    if len(per_seed) > 1:
        spread = (
            f"; over {len(per_seed)} seeds {min(per_seed):.3f} to {max(per_seed):.3f}, standard "
            f"deviation {figures['seed_deviation']:.3f}"
        )
    return [
        f"accuracy {figures['accuracy']:.3f} (95% interval {low:.3f} to {high:.3f} over "
        f"{figures['num_sources']} sources){spread}",
        f"{figures['num_videos']} videos, each tested once per seed in {folds} folds, protocol: "
        f"{figures['protocol']}; the most frequent class is {figures['majority']:.3f} of them",
        *(f"note: {note}" for note in figures["notes"]),
    ]

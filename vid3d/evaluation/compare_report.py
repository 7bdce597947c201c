"""All that `vid3d compare` prints: the table, and the sentences below it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vid3d import config as configs, terminal
from vid3d.evaluation import metrics
from vid3d.evaluation.compare import Comparison, csv_row, value_text
from vid3d.evaluation.paired import Paired
from vid3d.evaluation.runs import ComparedRun, data_note, over_seeds
from vid3d.models.summary import quantity

MOST_COLUMNS = 4  # differing keys that the table of runs has room for
LEAST_WIDTH = 10  # of a column that is folded
MARGIN = 3  # of a column, with the line beside it
BALANCED, MACRO_F1 = "balanced\naccuracy", "macro\nF1"
# In this order, on a narrow terminal.
LEAVE_OUT = ("clips/s", "FLOPs\nper clip", "parameters", MACRO_F1, BALANCED)


def show(comparison: Comparison, *, advise: bool = True, console: Console | None = None) -> None:
    """Prints the comparison; with `advise`, says how to test the runs that are not tested."""
    runs, keys, paired = comparison.runs, comparison.keys, comparison.paired
    console = console or terminal.console()
    left_out = list(LEAVE_OUT)
    folded, fixed_columns = columns(runs, keys if len(keys) <= MOST_COLUMNS else ())
    while left_out and least_width(folded, fixed_columns) > console.width:
        del fixed_columns[left_out.pop(0)]
    if least_width(folded, fixed_columns) > console.width:
        folded = {"run": folded["run"]}
    table = Table()
    for title, cells in folded.items():
        add_folded(table, title, cells)
    for title in fixed_columns:
        table.add_column(title, justify="right", no_wrap=True)
    for row in zip(*folded.values(), *fixed_columns.values(), strict=True):
        table.add_row(*map(Text, row))
    console.print(table)
    if len(folded) <= len(keys):
        show_differences(console, runs, keys)
    lines = [
        *notes(runs, keys, advise=advise),
        *(paired_lines(runs[0], runs[1], paired) if paired else ()),
    ]
    if len(left_out) < len(LEAVE_OUT):
        gone = ", ".join(LEAVE_OUT[: len(LEAVE_OUT) - len(left_out)]).replace("\n", " ")
        lines.append(f"no room for {gone}: use a wider terminal, a pipe or --output")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def columns(
    runs: Sequence[ComparedRun], keys: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The cells of the table of runs by column: those that may be folded, and the figures."""
    records = [csv_row(run, keys) for run in runs]
    folded = {title: [r[title] for r in records] for title in ("run", *keys)}
    figures = {
        "validation\naccuracy": [fixed(r["val_accuracy"]) for r in records],
        "test\naccuracy": [fixed(r["test_accuracy"]) or "not tested" for r in records],
        "95% interval": [
            "" if r["test_low"] is None else f"{r['test_low']:.3f} to {r['test_high']:.3f}"
            for r in records
        ],
        BALANCED: [fixed(r["test_balanced_accuracy"]) for r in records],
        MACRO_F1: [fixed(r["test_macro_f1"]) for r in records],
        "videos": [str(r["test_videos"] or "") for r in records],
        "sources": [str(r["test_sources"] or "") for r in records],
        "parameters": ["" if r["parameters"] is None else f"{r['parameters']:,}" for r in records],
        "FLOPs\nper clip": [
            "" if r["flops"] is None else quantity(r["flops"]).strip() for r in records
        ],
        "clips/s": [fixed(r["clips_per_second"], 1) for r in records],
    }
    return folded, figures


def least_width(folded: dict[str, list[str]], figures: dict[str, list[str]]) -> int:
    """Characters that the table of runs takes at least."""
    narrow = [min(LEAST_WIDTH, widest(title, cells)) for title, cells in folded.items()]
    return 1 + sum(
        width + MARGIN
        for width in (*narrow, *(widest(title, cells) for title, cells in figures.items()))
    )


def widest(title: str, cells: Sequence[str]) -> int:
    return max(cell_len(line) for text in (title, *cells) for line in text.split("\n"))


def add_folded(table: Table, title: str, cells: Sequence[str]) -> None:
    """Adds a column whose long lines are folded."""
    least = min(LEAST_WIDTH, widest(title, cells))
    table.add_column(Text(title, overflow="fold"), overflow="fold", min_width=least)


def show_differences(console: Console, runs: Sequence[ComparedRun], keys: Sequence[str]) -> None:
    """Prints the differing keys, one per line, with as many runs side by side as fit."""
    flat = [configs.flatten(run.config) for run in runs]
    left = console.width - 1 - widest("config", keys) - MARGIN
    per_table = max(1, left // (LEAST_WIDTH + MARGIN))
    for first in range(0, len(runs), per_table):
        table = Table()
        table.add_column("config", no_wrap=True)
        some = range(first, min(first + per_table, len(runs)))
        for k in some:
            add_folded(table, runs[k].name, [value_text(flat[k][key]) for key in keys])
        for key in keys:
            table.add_row(Text(key), *(Text(value_text(flat[k][key])) for k in some))
        console.print(table)


def fixed(number: float | None, digits: int = 3) -> str:
    return "" if number is None else f"{number:.{digits}f}"


def notes(runs: Sequence[ComparedRun], keys: Sequence[str], *, advise: bool = True) -> list[str]:
    """What has to be said about the table."""
    lines = data_note(runs)
    if not keys and not lines and len(runs) > 1:
        lines.append("the configs do not differ")
    for name, group in over_seeds(runs).items():
        accuracies = [run.test["accuracy"] for run in group if run.test]
        if len(accuracies) > 1:
            mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
            lines.append(
                f"{name}: test accuracy {mean:.3f}, standard deviation {deviation:.3f} over "
                f"{len(accuracies)} seeds"
            )
    protocols = {run.test["protocol"] for run in runs if run.test}
    if len(protocols) > 1:
        lines.append(
            "note: the test accuracies are of different protocols: " + ", ".join(sorted(protocols))
        )
    elif protocols:
        lines.append(f"protocol: {protocols.pop()}")
    tested = [run for run in runs if run.test]
    if tested:
        lines.append(interval_note(tested))
    if any(run.answers.keys() != tested[0].answers.keys() for run in tested):
        lines.append("note: the runs were not tested on the same videos")
    if len(tested) < len(runs):
        remedy = ": --evaluate does it" if advise else ""
        lines.append(f"{len(runs) - len(tested)} of {len(runs)} runs are not tested{remedy}")
    return lines


def interval_note(tested: Sequence[ComparedRun]) -> str:
    """Says what the intervals of the table take for independent."""
    kinds = {run.name: metrics.best_interval(run.test)[0] for run in tested if run.test}
    wilson = [name for name, kind in kinds.items() if kind == "wilson"]
    if len(wilson) == len(kinds):
        return "95% interval: Wilson's, as if each video had its own source"
    line = "95% interval: over the sources, whose videos are alike"
    return line + (
        f"; Wilson's, as if each video had its own source: {', '.join(wilson)}" * bool(wilson)
    )


def paired_lines(first: ComparedRun, second: ComparedRun, paired: Paired | None) -> list[str]:
    """McNemar's test in words."""
    if paired is None:
        return []
    lines = [
        f"of {len(first.answers)} test videos both have {paired.both} right and {paired.neither} "
        f"wrong; only {first.name} has {paired.only_first} right, only {second.name} "
        f"{paired.only_second}: "
        f"p = {paired.p_value:.3g} (McNemar's exact test, two-sided)"
    ]
    if paired.num_groups is None:
        lines.append(
            "their sources are not known: not all of them are in videos.csv by these names"
        )
    elif paired.num_groups < len(first.answers):
        lines.append(
            f"they come from {paired.num_groups} sources: p = {paired.p_value_groups:.3g} where "
            "the videos of a source are taken together (signs of whole sources flipped)"
        )
    if paired.differing:
        lines.append(
            f"{len(paired.differing)} videos on which they differ (true: {first.name} | "
            f"{second.name}):"
        )
    lines += [f"  {path}  {label}: {a} | {b}" for path, label, a, b in paired.differing]
    return lines

"""SimBA: a table per video with a row per frame, whose last columns are behaviours of 0 and 1."""

from __future__ import annotations

from pathlib import Path

from vid3d.convert.entries import Entry, Found, Options, not_this, read_table, runs

WHAT = "a SimBA table of targets_inserted or machine_results"


def read(file: Path, options: Options) -> Found:
    """A stretch of frames per run of 1, of the video that is called like the table.

    Behaviours are the columns that `--labels` names; without it, the last columns, from the right
    on, that hold nothing but 0 and 1.
    """
    rows = [row for _, row in read_table(file, WHAT, lower=False)]
    names = list(rows[0]) if rows else []
    wanted = options.names
    behaviours = [name for name in names if name in wanted] if wanted else binary_tail(rows, names)
    if not behaviours:
        raise not_this(
            file,
            WHAT,
            "it has none of the columns that --labels names"
            if wanted
            else "its last column does not hold 0 and 1: name the behaviours with --labels=FILE",
        )
    for name in behaviours:
        for span in runs([is_on(row[name]) for row in rows]):
            where = f"{file} line {int(span.start) + 2}"
            yield Entry((file.stem,), name, where, spans=(span,))


def is_on(cell: str) -> bool:
    return cell in ("1", "1.0")


def binary_tail(rows: list[dict[str, str]], names: list[str]) -> list[str]:
    """The last columns with nothing but 0 and 1; those of probabilities are passed over."""
    found: list[str] = []
    for name in reversed(names):
        if name.lower().startswith("probability_"):
            continue
        if any(row.get(name) not in ("0", "1", "0.0", "1.0") for row in rows):
            break
        found.insert(0, name)
    return found

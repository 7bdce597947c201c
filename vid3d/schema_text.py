"""The config schema as text: a table, one key in full, and docs/configs.md."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from rich.table import Table

from vid3d.errors import UserError, suggest
from vid3d.schema import BY_NAME, KEYS, Key

HEADER = """\
# Config keys

Made by `vid3d config --markdown > docs/configs.md` from `vid3d/schema.py`.

A config file overwrites fields of `vid3d.config.default()`; `--config.KEY=VALUE` overrides one
more. A tuple is written `--config.model.features=64,32`. A *duration* is text: `2 epochs`,
`500 steps` or `4000 examples`. *Resume*: the run may be resumed with another value, which does not
change its result. *Evaluate*: `vid3d evaluate` takes another value than that of the training.
"""


def find(name: str) -> list[Key]:
    """The key of this name, or all keys of the group; all for "".

    Raises:
        UserError: there is neither; the nearest is suggested.
    """
    if name in BY_NAME:
        return [BY_NAME[name]]
    found = [key for key in KEYS if not name or key.name.startswith(f"{name}.")]
    if not found:
        groups = {key.group for key in KEYS} - {""}
        raise UserError(f"no config key {name!r}{suggest(name, [*BY_NAME, *groups])}")
    return found


def write(value: object) -> str:
    """A value as it is written after `--config.KEY=`."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "()"
    return str(value) if value != "" else '""'


def allowed(key: Key) -> str:
    """The choices or the range of a key; its type where any value of it is allowed."""
    if isinstance(key.allowed, tuple):
        return ", ".join(key.allowed)
    if key.allowed is None:
        return {bool: "true, false", str: "text"}.get(type(key.default), key.type_name)
    return str(key.allowed)


def table(keys: Iterable[Key]) -> Table:
    """A line per key: name, default, what is allowed, and help."""
    lines = Table(box=None, pad_edge=False)
    for column in ("key", "default", "allowed", "help"):
        lines.add_column(column, overflow="fold")
    for key in keys:
        lines.add_row(key.name, write(key.default), allowed(key), key.help)
    return lines


def lines(keys: Iterable[Key]) -> list[str]:
    """The same for a pipe, a key in each line: a long cell moves those behind it, in its line."""
    rows = [("key", "default", "allowed", "help")]
    rows += [(key.name, write(key.default), allowed(key), key.help) for key in keys]
    return [f"{name:28} {default:12} {values:22} {text}" for name, default, values, text in rows]


def whole_row(key: Key) -> str:
    """All that the schema knows of a key, a line each."""
    return "\n".join(
        [
            f"{key.name}: {key.help}",
            f"  default            {write(key.default)}",
            f"  type               {key.type_name}",
            f"  allowed            {allowed(key)}",
            f"  changes a result   {'yes' if key.changes_result else 'no: a run resumes with any'}",
            f"  evaluate takes it  {'yes' if key.in_evaluation else 'no'}",
            f"  has an effect on   {key.networks.words if key.networks else 'all networks'}",
        ]
    )


def markdown() -> str:
    """docs/configs.md."""
    parts = [HEADER]
    for group, keys in itertools.groupby(KEYS, key=lambda key: key.group):
        parts.append(f"## {group or 'seed'}\n")
        parts.append("| key | default | allowed | meaning | other values |\n|---|---|---|---|---|")
        parts += [markdown_row(key) for key in keys]
        parts.append("")
    return "\n".join(parts).rstrip("\n") + "\n"


def markdown_row(key: Key) -> str:
    """A row of docs/configs.md."""
    notes = [] if key.changes_result else ["resume"]
    notes += ["evaluate"] if key.in_evaluation else []
    meaning = key.help + (f" ({key.networks.words})" if key.networks else "")
    cells = (f"`{key.name}`", f"`{write(key.default)}`", allowed(key), meaning, ", ".join(notes))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

"""The commands of `vid3d`, one per file.

Each has `HELP` (one line), `add_arguments(parser)`, and `run(options, overrides)`, which imports
what it needs, calls one function and returns the exit code. Start with `predict.py`.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Protocol

from vid3d.arguments import Overrides
from vid3d.commands import (
    compare,
    config,
    convert,
    cv,
    doctor,
    evaluate,
    explain,
    export,
    import_weights,
    live,
    predict,
    prepare,
    serve,
    summary,
    sweep,
    train,
)


class Command(Protocol):
    """What a file of this folder has."""

    HELP: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declares the arguments of the command."""

    def run(self, options: Namespace, overrides: Overrides) -> int:
        """Runs it; returns the exit code, see `cli.main`."""


COMMANDS: dict[str, Command] = {
    "train": train,
    "sweep": sweep,
    "cv": cv,
    "evaluate": evaluate,
    "compare": compare,
    "predict": predict,
    "live": live,
    "serve": serve,
    "explain": explain,
    "export": export,
    "import": import_weights,
    "prepare": prepare,
    "doctor": doctor,
    "convert": convert,
    "config": config,
    "summary": summary,
}

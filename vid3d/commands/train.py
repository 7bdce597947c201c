"""Trains a model, or resumes its training."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d import config as configs, process, storage
from vid3d.arguments import Overrides, takes_config, takes_hosts, takes_workdir
from vid3d.program import joined

HELP = "train a model; the same command resumes it"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser)
    takes_workdir(parser, checkpoint=False)
    takes_hosts(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d.training import stop

    stop.note_only()
    stop.end_with_parent()
    config = configs.load(options.config, overrides)
    if not (storage.as_path(options.workdir) / "config.json").exists():
        from vid3d.datasets.index import find_root

        find_root(config.data)  # here already: the next lines take seconds
    from vid3d import compilation
    from vid3d.training.loop import train

    process.end_imports()
    stop.interrupt_at_once()
    compilation.set_up()
    with joined(options):
        return process.FINISHED if train(config, options.workdir) else process.RESUME_ME

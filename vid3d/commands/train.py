"""Trains a model, or resumes its training."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ml_collections import ConfigDict

from vid3d import config as configs, process, storage
from vid3d.arguments import Overrides, takes_config, takes_hosts, takes_workdir
from vid3d.errors import UserError
from vid3d.program import joined

HELP = "train a model; the same command resumes it"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser, like=True)
    takes_workdir(parser, checkpoint=False)
    parser.add_argument(
        "--extend",
        action="store_true",
        help="go on with more train.epochs, or another train.early_stopping, than at the start",
    )
    takes_hosts(parser)


def find_config(options: Namespace, overrides: Overrides) -> ConfigDict:
    """That of --config or of the workdir --like, with the overrides.

    Raises:
        UserError: see `config.load`; or there is no such workdir.
    """
    if not options.like:
        return configs.load(options.config, overrides)
    from vid3d.checkpoint import Workdir

    like = Workdir(options.like)
    if not like.config_file.exists():
        raise UserError(
            f"no workdir {like}: it is the folder that was given to vid3d train --workdir"
        )
    return configs.override(like.config(), overrides)


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d.training import stop

    stop.note_only()
    stop.end_with_parent()
    config = find_config(options, overrides)
    if not (storage.as_path(options.workdir) / "config.json").exists():
        from vid3d.datasets.index import find_root

        find_root(config.data)  # here already: the next lines take seconds
    from vid3d import compilation
    from vid3d.training.loop import train

    process.end_imports()
    stop.interrupt_at_once()
    compilation.set_up()
    with joined(options):
        finished = train(config, options.workdir, extend=options.extend, like=options.like or "")
    return process.FINISHED if finished else process.RESUME_ME

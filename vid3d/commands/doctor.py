"""Checks the videos and the split."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d import config as configs
from vid3d.arguments import Overrides, takes_config
from vid3d.errors import UserError
from vid3d.program import listen

HELP = "check the videos and the split, without training"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser)
    parser.add_argument(
        "--output", default="", metavar="DIR", help="default: a folder in data.cache_dir"
    )


def run(options: Namespace, overrides: Overrides) -> int:
    config = configs.load(options.config, overrides)
    from vid3d.data.advice import doctor_command, train_command
    from vid3d.data.prepare import doctor

    listen()
    checkup = doctor(config, options.output)
    print(f"videos:     {checkup.manifest}")
    print(f"bad videos: {checkup.bad_videos}")
    print(f"report:     {checkup.page}")
    if checkup.lacking:
        raise UserError(checkup.lacking)
    first = "" if checkup.all_readable else ", once the bad ones are replaced or taken out of it"
    print(f"to train on this list of videos{first}:")
    print(train_command(options.config, overrides, config, checkup.manifest))
    if checkup.groups:
        print(f"groups:     {checkup.groups}")
        print("this list separates them; to check again with each in one split:")
        more = [f"--output={options.output}"] * bool(options.output)
        print(doctor_command(options.config, overrides, checkup.groups.pattern, more))
    return 0 if checkup.all_readable else 1

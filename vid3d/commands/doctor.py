"""Checks the videos and the split."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d import config as configs
from vid3d.arguments import Overrides, takes_config
from vid3d.errors import UserError
from vid3d.program import listen, say_loading

HELP = "check the videos and the split, without training"


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(parser)
    parser.add_argument(
        "--output", default="", metavar="DIR", help="default: a folder in data.cache_dir"
    )
    parser.add_argument(
        "--without-bad",
        action="store_true",
        help="leave the videos that cannot be read out of the manifest",
    )


def run(options: Namespace, overrides: Overrides) -> int:
    config = configs.load(options.config, overrides)
    say_loading("doctor")
    from vid3d.data.advice import doctor_command, train_command
    from vid3d.data.prepare import doctor

    listen()
    checkup = doctor(config, options.output, without_bad=options.without_bad)
    print(f"videos:     {checkup.manifest}")
    if checkup.left_out:
        print(f"left out:   {checkup.left_out}, which cannot be read")
    print(f"bad videos: {checkup.bad_videos}")
    print(f"report:     {checkup.page}")
    if checkup.lacking:
        raise UserError(checkup.lacking)
    usable = checkup.all_readable or options.without_bad
    first = "" if usable else ", once the bad ones are replaced (--without-bad leaves them out)"
    print(f"to train on this list of videos{first}:")
    print(train_command(options.config, overrides, config, checkup.manifest))
    if checkup.groups:
        print(f"groups:     {checkup.groups}")
        print("this list separates them; to check again with each in one split:")
        more = [f"--output={options.output}"] * bool(options.output)
        more += ["--without-bad"] * options.without_bad
        print(doctor_command(options.config, overrides, checkup.groups.pattern, more))
    return 0 if usable else 1

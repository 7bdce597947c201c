"""`vid3d COMMAND`: reads the arguments, runs one of `commands`, and chooses the exit code."""

from __future__ import annotations

import signal

from vid3d import process

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, process.interrupted_early)

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence

from vid3d import __version__
from vid3d.arguments import Overrides
from vid3d.commands import COMMANDS
from vid3d.errors import UserError
from vid3d.program import end_at_once, explain

EXAMPLES = """\
examples:
  vid3d train    --config=videos --config.data.root=my_videos --workdir=runs/mine
  vid3d evaluate --workdir=runs/mine
  vid3d predict  --workdir=runs/mine holiday.mp4
  vid3d live     --workdir=runs/mine --source=0
  vid3d sweep    --config=sweep_learning_rate --workdir=runs/rates --parallel=2
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 1 (error), 2 (wrong usage) or 75 (resume me)."""
    if argv is None:
        process.start_program()
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, overrides = parse(arguments)
    accept_any_file_name()
    try:
        quiet_libraries()
        with process.naming_missing_libraries():
            code = COMMANDS[options.command].run(options, overrides)
        sys.stdout.flush()  # a closed pipe shows here, not in Python's clean-up
        if argv is None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done
        return code
    except (UserError, KeyboardInterrupt, OSError) as error:
        code = explain(options.command, error)
        was_interrupted = isinstance(error, KeyboardInterrupt)
        return end_at_once(code, is_program=argv is None) if was_interrupted else code


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """Splits the command line into options and (key, text) overrides of the config."""
    top, commands = build_parser()
    parser = commands.get(arguments[0], top) if arguments else top  # whose usage errors show
    rest, overrides = [], []
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if argument.startswith("--config."):
            key, equals, text = argument.removeprefix("--config.").partition("=")
            if not equals:
                index += 1
                if index == len(arguments):
                    parser.error(f"{argument} needs a value: {argument}=VALUE")
                text = arguments[index]
            overrides.append((key, text))
        else:
            rest.append(argument)
        index += 1
    for argument in rest:
        if argument.startswith("-") and "--" not in rest and os.path.exists(argument):
            parser.error(f"{argument} reads like an option: write ./{argument}")
    options, unknown = top.parse_known_args(rest)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if overrides and "takes_config" not in options:
        parser.error(f"vid3d {options.command} takes no --config.{overrides[0][0]}")
    return options, overrides


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole line, and that of each command."""
    parser = argparse.ArgumentParser(
        prog="vid3d",
        description="Train, evaluate and run 3D-CNN video classifiers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vid3d {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    for name, command in COMMANDS.items():
        text = command.HELP
        command.add_arguments(
            commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        )
    return parser, commands.choices


def accept_any_file_name() -> None:
    """From now on a file name that is not valid text is printed as its bytes, without an error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="surrogateescape")


def quiet_libraries() -> None:
    """Silences the logs of libraries; what goes wrong is raised as well."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from absl import logging as absl

    absl.set_verbosity(absl.FATAL)
    absl.set_stderrthreshold("fatal")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())

"""Arguments that several commands take."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator

from vid3d.errors import UserError
from vid3d.schema import BY_NAME

Overrides = list[tuple[str, str]]  # (key, text) of each --config.KEY=TEXT


def not_empty(text: str) -> str:
    """The text of a path; an empty one would mean the current folder."""
    if not text:
        raise ArgumentTypeError("it is empty: is a variable unset?")
    return text


def seconds(text: str) -> float:
    """A time above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def moment(text: str) -> float:
    """A time in a video."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number


def takes_stretch(parser: ArgumentParser) -> None:
    """Adds the stretch of a video that counts."""
    group = parser.add_argument_group("a stretch of a single video, with the frames of training")
    group.add_argument("--start", type=moment, metavar="SECONDS", help="default: 0")
    group.add_argument("--end", type=moment, metavar="SECONDS")


def stretch_of(options: Namespace) -> tuple[float, float] | None:
    """Start and end of the stretch, in seconds; None is the whole video.

    Raises:
        UserError: there is a start without an end, or the end is not after the start.
    """
    start, end = options.start or 0.0, options.end
    if end is None:
        if options.start is not None:
            raise UserError(f"--start={start:g} needs the --end of the stretch, too")
        return None
    if end <= start:
        raise UserError(f"--end={end:g} is not after --start={start:g}")
    return start, end


def takes_config(parser: ArgumentParser, *, example: str = "", like: bool = False) -> None:
    """Lets a command take --config.KEY=VALUE, and --config itself where no example is given.

    With `like` it may be the workdir of a training run instead, --like.
    """
    parser.set_defaults(takes_config=True)
    if not example:
        one_of = parser.add_mutually_exclusive_group(required=True) if like else parser
        one_of.add_argument(
            "--config",
            required=not like,
            metavar="NAME|FILE[:ARG]",
            help="a preset, such as videos or demo:smoke, a Python file, or a config.json",
        )
        if like:
            one_of.add_argument(
                "--like", type=not_empty, metavar="DIR", help="with the config of this workdir"
            )
    example = example or "--config.seed=1"
    parser.epilog = f"--config.KEY=VALUE overrides a field of the config, such as {example}"


def takes_workdir(
    parser: ArgumentParser, *, checkpoint: bool = True, required: bool = True
) -> None:
    """Adds --workdir, and which of its checkpoints."""
    parser.add_argument(
        "--workdir",
        type=not_empty,
        required=required,
        metavar="DIR",
        help="the folder of the training run, or gs://BUCKET/FOLDER",
    )
    if checkpoint:
        parser.add_argument(
            "--checkpoint",
            default="best",
            metavar="best|latest|STEP",
            help="default: best, or the last one where checkpoint.choose=last",
        )


def takes_settings(parser: ArgumentParser, group: str, names: Iterable[str]) -> None:
    """Lets a command take keys of a group of the config by their short names: --threshold=0.6."""
    for name in names:
        text = BY_NAME[f"{group}.{name}"].help
        parser.add_argument(f"--{name}", metavar="NUMBER", help=text.replace("%", "%%"))


def chosen_settings(
    options: Namespace, group: str, names: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """The (key, text) of each that was given; see `takes_settings`."""
    for name in names:
        if (text := getattr(options, name)) is not None:
            yield f"{group}.{name}", text


def takes_runtime(parser: ArgumentParser) -> None:
    """Adds which engine runs the network, and in which precision."""
    parser.add_argument(
        "--engine",
        default="jax",
        choices=("jax", "openvino", "auto"),
        help="what runs the network; auto: the faster one on this machine (default: jax)",
    )
    parser.add_argument(
        "--precision", default="f32", choices=("f32", "bf16"), help="of OpenVINO (default: f32)"
    )


def takes_engine(parser: ArgumentParser) -> None:
    """Adds where several runs are trained, and how many at a time; see `sweep.launch.Engine`."""
    devices = "N runs at a time, each on its own GPU, TPU chip or share of the cores"
    parser.add_argument("--parallel", type=int, default=0, metavar="N", help=devices)
    ray = parser.add_argument_group(
        "on a Ray cluster", "the one at RAY_ADDRESS, or a new local one"
    )
    ray.add_argument("--launcher", default="local", choices=("local", "ray"))
    ray.add_argument(
        "--resources", default="", metavar="CPU=N,GPU=N", help="of each run; default: CPU=1"
    )
    ray.add_argument(
        "--retries", type=int, default=0, metavar="N", help="of a run that is killed; it resumes"
    )


def takes_hosts(parser: ArgumentParser) -> None:
    """Adds where the other processes of the same command are."""
    hosts = parser.add_argument_group(
        "several hosts", "detected on TPU slices, under Slurm and Open MPI"
    )
    hosts.add_argument("--coordinator", default="", metavar="HOST:PORT", help="process 0's address")
    hosts.add_argument("--num-processes", type=int, default=0, metavar="N")
    hosts.add_argument("--process-id", type=int, default=-1, metavar="I", help="0 to N - 1")
    hosts.add_argument("--coordinator-timeout", type=float, default=120, metavar="SECONDS")

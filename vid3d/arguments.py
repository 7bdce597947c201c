"""The command line's grammar: options of each command, and overrides of the config."""

from __future__ import annotations

import argparse
import os

from vid3d import __version__

EXAMPLES = """\
examples:
  vid3d train    --config=configs/videos.py --config.data.root=my_videos --workdir=runs/mine
  vid3d evaluate --workdir=runs/mine
  vid3d predict  --workdir=runs/mine holiday.mp4
  vid3d live     --workdir=runs/mine --source=0
  vid3d sweep    --config=configs/sweep_learning_rate.py --workdir=runs/rates --parallel=2
"""


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
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


def not_empty(text: str) -> str:
    """The text of a path; an empty one would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: is a variable unset?")
    return text


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

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, allow_abbrev=False)

    def takes_config(sub: argparse.ArgumentParser, *, example: str = "") -> None:
        sub.set_defaults(takes_config=True)
        if not example:
            sub.add_argument(
                "--config", required=True, metavar="FILE[:ARG]", help="a file in configs/"
            )
        example = example or "--config.seed=1"
        sub.epilog = f"--config.KEY=VALUE overrides a field of the config, such as {example}"

    def takes_workdir(sub: argparse.ArgumentParser, *, checkpoint: bool = True) -> None:
        sub.add_argument(
            "--workdir",
            type=not_empty,
            required=True,
            metavar="DIR",
            help="the folder of the training run, or gs://BUCKET/FOLDER",
        )
        if checkpoint:
            sub.add_argument(
                "--checkpoint", default="best", metavar="best|latest|STEP", help="default: best"
            )

    def takes_hosts(sub: argparse.ArgumentParser) -> None:
        hosts = sub.add_argument_group(
            "several hosts", "detected on TPU slices, under Slurm and Open MPI"
        )
        hosts.add_argument(
            "--coordinator", default="", metavar="HOST:PORT", help="process 0's address"
        )
        hosts.add_argument("--num-processes", type=int, default=0, metavar="N")
        hosts.add_argument("--process-id", type=int, default=-1, metavar="I", help="0 to N - 1")
        hosts.add_argument("--coordinator-timeout", type=float, default=120, metavar="SECONDS")

    train = command("train", "train a model; the same command resumes it")
    takes_config(train)
    takes_workdir(train, checkpoint=False)
    takes_hosts(train)

    sweep = command(
        "sweep", "train the runs of sweep(add) in a config; the same command resumes it"
    )
    takes_config(sweep)
    takes_workdir(sweep, checkpoint=False)
    devices = "N runs at a time, each on its own GPU, TPU chip or share of the cores"
    sweep.add_argument("--parallel", type=int, default=0, metavar="N", help=devices)
    sweep.add_argument("--shard", default="", metavar="I/N", help="only every N-th run, from I = 0")
    sweep.add_argument("--seeds", type=int, default=1, metavar="N", help="repeats of each run")
    sweep.add_argument("--dry-run", action="store_true", help="print the list of runs")
    ray = sweep.add_argument_group("on a Ray cluster", "the one at RAY_ADDRESS, or a new local one")
    ray.add_argument("--launcher", default="local", choices=("local", "ray"))
    ray.add_argument(
        "--resources", default="", metavar="CPU=N,GPU=N", help="of each run; default: CPU=1"
    )
    ray.add_argument(
        "--retries", type=int, default=0, metavar="N", help="of a run that is killed; it resumes"
    )

    evaluate = command(
        "evaluate", "test a checkpoint: accuracy, per-class figures, confusion matrix"
    )
    takes_config(evaluate, example="--config.data.root=DIR where the videos have moved")
    takes_workdir(evaluate)
    evaluate.add_argument("--split", choices=("test", "val", "train"), help="default: test")
    evaluate.add_argument("--data", metavar="FOLDER|CSV", help="another set of videos")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    takes_hosts(evaluate)

    compare = command("compare", "compare runs: configs, curves, figures, paired test")
    compare.add_argument(
        "folders", type=not_empty, nargs="+", metavar="DIR", help="a workdir, or that of a sweep"
    )
    compare.add_argument(
        "--evaluate", action="store_true", help="test the best checkpoints that are not tested yet"
    )
    compare.add_argument("--output", default="", metavar="DIR", help="write CSV and PNG here")

    predict = command("predict", "label videos")
    takes_config(predict, example="--config.eval.long_videos=longest; only that and eval.views")
    takes_workdir(predict)
    predict.add_argument("videos", type=not_empty, nargs="+", metavar="VIDEO_OR_FOLDER")
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--csv", action="store_true", help="print a CSV table")
    predict.add_argument("--output", default="", metavar="DIR", help="write annotated videos here")

    live = command("live", "label a camera, a stream or a file while it plays")
    takes_config(live, example="--config.live.threshold=0.6; only live.* can be set")
    takes_workdir(live)
    live.add_argument(
        "--source", required=True, metavar="0|FILE|URL", help="camera number, file, URL"
    )
    live.add_argument("--output", default="", metavar="MP4", help="write this file; no window")
    live.add_argument("--json", action="store_true", help="print one JSON object per label")

    imported = command("import", "make a workdir of published PyTorch weights, without training")
    imported.add_argument("--arch", required=True, metavar="NAME", help="such as r3d_18")
    imported.add_argument(
        "--weights", required=True, metavar="FILE", help=".pth, .pyth or .safetensors"
    )
    imported.add_argument(
        "--classes",
        required=True,
        metavar="kinetics400|FILE",
        help="the class names, one per line, in the order of the logits",
    )
    imported.add_argument(
        "--workdir", type=not_empty, required=True, metavar="DIR", help="a new folder"
    )

    prepare = command("prepare", "decode the videos into the cache (train does so itself)")
    takes_config(prepare)
    prepare.add_argument(
        "--beam",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="decode on Apache Beam, with its pipeline options: --beam='--runner=FlinkRunner ...'",
    )

    doctor = command("doctor", "check the videos and the split, without training")
    takes_config(doctor)
    doctor.add_argument(
        "--output", default="", metavar="DIR", help="default: a folder in data.cache_dir"
    )

    config = command("config", "print the keys of the config, with their defaults")
    config.add_argument("key", nargs="?", default="", metavar="KEY", help="a key or a group, whole")
    config.add_argument("--markdown", action="store_true", help="print docs/configs.md")

    summary = command("summary", "print the layers, parameters and FLOPs of a model, or of all")
    takes_config(summary, example="--config.model.dtype=bfloat16")
    which = summary.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", metavar="FILE[:ARG]", help="a file in configs/: layer by layer")
    which.add_argument(
        "--all",
        nargs="?",
        const="",
        metavar="NAME,NAME",
        help="a line per architecture, or for these",
    )
    summary.add_argument(
        "--speed",
        nargs="?",
        type=int,
        const=4,
        metavar="CLIPS",
        help="with --all: measure training and prediction in batches of so many clips (4)",
    )
    return parser, commands.choices

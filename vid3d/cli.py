"""`vid3d COMMAND`: reads the arguments and calls one function; nothing else."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence

from vid3d import __version__, config as configs
from vid3d.config import UserError

RESUME_ME = 75  # EX_TEMPFAIL of sysexits.h: the same command goes on

EXAMPLES = """\
examples:
  vid3d train    --config=configs/videos.py --config.data.root=my_videos --workdir=runs/mine
  vid3d evaluate --workdir=runs/mine
  vid3d predict  --workdir=runs/mine holiday.mp4
  vid3d live     --workdir=runs/mine --source=0
  vid3d sweep    --config=configs/sweep_learning_rate.py --workdir=runs/rates --parallel=2
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 1 for an error, 2 for wrong usage, 75 for "resume me"."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, overrides = parse(arguments)
    quiet_libraries()
    try:
        return COMMANDS[options.command](options, overrides)
    except UserError as error:
        line = " ".join(str(error).split())
        print(f"vid3d {options.command}: error: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if options.command in ("train", "sweep"):
            print(
                f"vid3d {options.command}: stopped; the same command goes on from here",
                file=sys.stderr,
            )
            return RESUME_ME
        print(f"vid3d {options.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"vid3d {options.command}: error: {where}{error.strerror or error}", file=sys.stderr)
        return 1


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """Splits the command line into options and (key, text) overrides of the config."""
    rest, overrides = [], []
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if argument.startswith("--config."):
            key, equals, text = argument.removeprefix("--config.").partition("=")
            if not equals:
                index += 1
                if index == len(arguments):
                    build_parser().error(f"{argument} needs a value: {argument}=VALUE")
                text = arguments[index]
            overrides.append((key, text))
        else:
            rest.append(argument)
        index += 1
    parser = build_parser()
    for argument in rest:
        if argument.startswith("-") and "--" not in rest and os.path.exists(argument):
            parser.error(f"{argument} reads like an option: write ./{argument}")
    options = parser.parse_args(rest)
    if overrides and "takes_config" not in options:
        parser.error(f"vid3d {options.command} takes no --config.{overrides[0][0]}")
    return options, overrides


def build_parser() -> argparse.ArgumentParser:
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
            "--workdir", required=True, metavar="DIR", help="the folder of the training"
        )
        if checkpoint:
            sub.add_argument(
                "--checkpoint", default="best", metavar="best|latest|STEP", help="default: best"
            )

    def takes_hosts(sub: argparse.ArgumentParser) -> None:
        hosts = sub.add_argument_group(
            "several hosts", "found without these on TPU slices, under Slurm and Open MPI"
        )
        hosts.add_argument(
            "--coordinator", default="", metavar="HOST:PORT", help="process 0's address"
        )
        hosts.add_argument("--num_processes", type=int, default=0, metavar="N")
        hosts.add_argument("--process_id", type=int, default=-1, metavar="I", help="0 to N - 1")
        hosts.add_argument("--coordinator_timeout", type=float, default=120, metavar="SECONDS")

    train = command("train", "train a model; the same workdir again goes on where it stopped")
    takes_config(train)
    takes_workdir(train, checkpoint=False)
    takes_hosts(train)

    sweep = command(
        "sweep", "train the runs of sweep(add) in a config; again goes on with the rest"
    )
    takes_config(sweep)
    takes_workdir(sweep, checkpoint=False)
    devices = "N runs at a time, each on its own GPU, TPU chip or share of the cores"
    sweep.add_argument("--parallel", type=int, default=0, metavar="N", help=devices)
    sweep.add_argument("--shard", default="", metavar="I/N", help="only every N-th run, from I = 0")
    sweep.add_argument("--seeds", type=int, default=1, metavar="N", help="repeats of each run")
    sweep.add_argument("--dry-run", action="store_true", help="print the list of runs and end")

    evaluate = command(
        "evaluate", "test a checkpoint: accuracy, per-class figures, confusion matrix"
    )
    takes_config(evaluate, example="--config.data.root=DIR where the videos have moved")
    takes_workdir(evaluate)
    evaluate.add_argument("--split", default="test", choices=("test", "val", "train"))
    evaluate.add_argument("--data", default="", metavar="FOLDER|CSV", help="another set of videos")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    takes_hosts(evaluate)

    compare = command("compare", "several runs side by side: configs, curves, figures, paired test")
    compare.add_argument("folders", nargs="+", metavar="DIR", help="a workdir, or that of a sweep")
    compare.add_argument(
        "--evaluate", action="store_true", help="test the best checkpoints that were not tested yet"
    )
    compare.add_argument("--output", default="", metavar="DIR", help="write CSV and PNG here")

    predict = command("predict", "label videos")
    takes_workdir(predict)
    predict.add_argument("videos", nargs="+", metavar="VIDEO_OR_FOLDER")
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
    live.add_argument("--json", action="store_true", help="print one JSON object a label")

    prepare = command("prepare", "decode the videos into the cache (train does it by itself)")
    takes_config(prepare)

    doctor = command("doctor", "check the videos and the split, without training")
    takes_config(doctor)
    doctor.add_argument(
        "--output", default="", metavar="DIR", help="default: a folder in data.cache_dir"
    )

    summary = command("summary", "print the layers, parameters and FLOPs of a model")
    takes_config(summary)
    return parser


def quiet_libraries() -> None:
    """Keeps what libraries log about themselves out of the way; errors still come through."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    logging.set_stderrthreshold("error")


def join_hosts(options: argparse.Namespace) -> None:
    from vid3d import parallel

    names = ("num_processes", "process_id", "coordinator_timeout")
    parallel.initialize(options.coordinator, **{name: getattr(options, name) for name in names})


def train(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    # Until the loop takes the signals over there is nothing to save.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = configs.load(options.config, overrides)
    from vid3d import compilation
    from vid3d.training.loop import train

    join_hosts(options)
    compilation.use_cache()
    return train(config, options.workdir)


def sweep(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d.sweep.launch import sweep

    return sweep(
        options.config,
        options.workdir,
        overrides,
        seeds=options.seeds,
        parallel=options.parallel,
        part=options.shard,
        dry_run=options.dry_run,
    )


def evaluate(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d import compilation, parallel
    from vid3d.evaluation import evaluate, report

    join_hosts(options)
    compilation.use_cache()
    figures, folder = evaluate.evaluate(
        options.workdir,
        name=options.checkpoint,
        split=options.split,
        overrides=overrides,
        data=options.data,
    )
    if not parallel.is_main():
        return 0
    if options.json:
        print(json.dumps(figures))
    else:
        report.show(figures, folder)
    return 0


def compare(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d import compilation
    from vid3d.evaluation.compare import compare

    compilation.use_cache()
    compare(options.folders, output=options.output, test=options.evaluate)
    return 0


def predict(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d import compilation
    from vid3d.inference.predict import predict

    compilation.use_cache()
    return predict(
        options.workdir,
        options.videos,
        checkpoint=options.checkpoint,
        as_json=options.json,
        as_csv=options.csv,
        output=options.output,
    )


def live(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d import compilation
    from vid3d.inference.live import live

    compilation.use_cache()
    return live(
        options.workdir,
        options.source,
        checkpoint=options.checkpoint,
        overrides=overrides,
        output=options.output,
        as_json=options.json,
    )


def prepare(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    config = configs.load(options.config, overrides)
    from vid3d.data.prepare import prepare

    prepare(config)
    return 0


def doctor(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    config = configs.load(options.config, overrides)
    from vid3d.data.prepare import doctor

    return 0 if doctor(config, options.output) else 1


def summary(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    config = configs.load(options.config, overrides)
    from rich.console import Console

    from vid3d.models.summary import render, summarise

    Console().print(render(summarise(config)))
    return 0


COMMANDS = {
    "train": train,
    "sweep": sweep,
    "evaluate": evaluate,
    "compare": compare,
    "predict": predict,
    "live": live,
    "prepare": prepare,
    "doctor": doctor,
    "summary": summary,
}

if __name__ == "__main__":
    sys.exit(main())

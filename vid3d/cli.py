"""`vid3d COMMAND`: reads the arguments, calls one function, and chooses the exit code."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until a command has imported what it needs: a KeyboardInterrupt breaks libraries as they load.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType

from vid3d import config as configs, process, storage
from vid3d.arguments import parse
from vid3d.errors import UserError

CLEAN_UP_SECONDS = 5.0  # for a command after SIGTERM


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
            code = COMMANDS[options.command](options, overrides)
        sys.stdout.flush()  # a closed pipe shows here, not in Python's clean-up
        if argv is None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done
        return code
    except (UserError, KeyboardInterrupt, OSError) as error:
        code = explain(options.command, error)
        was_interrupted = isinstance(error, KeyboardInterrupt)
        return end_at_once(code, is_program=argv is None) if was_interrupted else code


def accept_any_file_name() -> None:
    """From now on a file name that is not valid text is printed as its bytes, without an error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="surrogateescape")


def explain(command: str, error: BaseException) -> int:
    """Says in one line what ended a command; returns its exit code."""
    if isinstance(error, BrokenPipeError):
        process.write_nowhere(sys.stdout.fileno())
        return 1
    code = 1
    if isinstance(error, UserError):
        line = "error: " + " ".join(str(error).split())
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        line = f"error: {where}{error.strerror or error}"
    elif command in ("train", "sweep"):
        line, code = "stopped; the same command goes on from here", process.RESUME_ME
    elif isinstance(error, Terminated):
        line, code = "terminated", 143
    else:
        line, code = "interrupted", 130
    print(f"vid3d {command}: {line}", file=sys.stderr)
    return code


def end_at_once(code: int, *, is_program: bool) -> int:
    """Ends the program without Python's clean-up, in which interrupted libraries crash."""
    if is_program:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def quiet_libraries() -> None:
    """Silences the logs of libraries; what goes wrong is raised as well."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from absl import logging as absl

    absl.set_verbosity(absl.FATAL)
    absl.set_stderrthreshold("fatal")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


class Terminated(KeyboardInterrupt):
    """SIGTERM: the command cleans up, as after Ctrl-C."""


def listen() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt again, and SIGTERM `Terminated`: everything is loaded."""

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        # A destructor may swallow the exception, and the clean-up may hang.
        again = threading.Timer(CLEAN_UP_SECONDS, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        raise Terminated

    process.end_imports()
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, terminate),
    ):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, handler)


@contextlib.contextmanager
def joined(options: argparse.Namespace) -> Iterator[None]:
    """Joins the other processes of the run, if any; an error then ends this one at once.

    Python's usual exit would wait for the others, while they wait for this one.
    """
    from vid3d import parallel

    parallel.initialize(
        options.coordinator,
        num_processes=options.num_processes,
        process_id=options.process_id,
        coordinator_timeout=options.coordinator_timeout,
    )
    try:
        yield
    except BaseException as error:
        if not parallel.has_others():
            raise
        error = parallel.explain(error)
        if isinstance(error, (UserError, KeyboardInterrupt, OSError)):
            code = explain(options.command, error)
        else:
            code = 1
            traceback.print_exception(error)
        end_at_once(code, is_program=True)


def train(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
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
        return train(config, options.workdir)


def sweep(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d.sweep.launch import sweep
    from vid3d.sweep.table import State, listing

    listen()
    statuses = sweep(
        options.config,
        options.workdir,
        overrides,
        seeds=options.seeds,
        parallel=options.parallel,
        part=options.shard,
        dry_run=options.dry_run,
        launcher=options.launcher,
        resources=options.resources,
        retries=options.retries,
    )
    if options.dry_run:
        print(listing(statuses))
        return process.FINISHED
    states = {status.state for status in statuses}
    if State.FAILED in states:
        return 1
    return process.FINISHED if states <= {State.FINISHED} else process.RESUME_ME


def evaluate(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    if options.data is not None and options.split:
        raise UserError("--split is for the run's own videos: with --data all of them are tested")
    from vid3d import compilation, parallel
    from vid3d.evaluation import evaluate, report

    listen()
    compilation.set_up()
    with joined(options):
        figures, folder = evaluate.evaluate(
            options.workdir,
            checkpoint=options.checkpoint,
            split=options.split or "test",
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

    listen()
    compilation.set_up()
    return 0 if compare(options.folders, output=options.output, test=options.evaluate) else 1


def predict(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d import compilation
    from vid3d.inference.predict import predict
    from vid3d.inference.report import print_report

    listen()
    compilation.set_up()
    report = predict(
        options.workdir,
        options.videos,
        checkpoint=options.checkpoint,
        output=options.output,
        overrides=overrides,
    )
    print_report(report, as_json=options.json, as_csv=options.csv, output=options.output)
    return 1 if report.errors else 0


def live(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d import compilation
    from vid3d.inference.live import live, to_json

    listen()
    compilation.set_up()
    totals = live(
        options.workdir,
        options.source,
        checkpoint=options.checkpoint,
        overrides=overrides,
        output=options.output,
        on_label=(lambda label: print(to_json(label), flush=True)) if options.json else None,
    )
    if totals.damage:
        print(f"vid3d live: warning: {options.source}: {totals.damage}", file=sys.stderr)
    if options.output and not options.json:
        frames, labels = totals.num_frames, totals.num_labels
        print(f"wrote {options.output}: {frames} frames, {labels} labels")
    return 0


def import_weights(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d.training.transfer import import_weights

    listen()
    for line in import_weights(
        options.arch, options.weights, classes=options.classes, workdir=options.workdir
    ):
        print(line)
    return 0


def prepare(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    config = configs.load(options.config, overrides)
    from vid3d.data.prepare import prepare

    listen()
    prepare(config, beam_options=options.beam)
    return 0


def doctor(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    config = configs.load(options.config, overrides)
    from vid3d.data.prepare import doctor

    listen()
    return 0 if doctor(config, options.output) else 1


def config(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d import schema_text, terminal

    listen()
    if options.markdown:
        if options.key:
            raise UserError("--markdown prints all keys: leave out KEY")
        print(schema_text.markdown(), end="")
        return 0
    keys = schema_text.find(options.key)
    if options.key:
        print("\n\n".join(map(schema_text.whole_row, keys)))
    else:
        terminal.console().print(schema_text.table(keys))
    return 0


def summary(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from vid3d import terminal

    if options.all is not None:
        from vid3d.training.speed import compare

        listen()
        names = [name.strip() for name in options.all.split(",") if name.strip()]
        if options.all and not names:
            raise UserError(f"--all={options.all} names no architecture: --all alone lists all")
        if options.speed is not None and options.speed < 1:
            raise UserError(f"--speed={options.speed}: measure 1 clip at a time or more")
        console = terminal.console()
        table = compare(names, overrides, batch_size=options.speed or 0, width=console.width)
        console.print(table)
        return 0
    if options.speed is not None:
        raise UserError("--speed is for --all: vid3d summary --all=NAME --speed")
    config = configs.load(options.config, overrides)
    from vid3d import schema
    from vid3d.models.summary import render, summarise

    listen()
    terminal.console().print(render(summarise(config)))
    if unused := schema.unused(config.model):
        print(f"{config.model.name} does not look at {', '.join(unused)}")
    return 0


COMMANDS = {
    "train": train,
    "sweep": sweep,
    "evaluate": evaluate,
    "compare": compare,
    "predict": predict,
    "live": live,
    "import": import_weights,
    "prepare": prepare,
    "doctor": doctor,
    "config": config,
    "summary": summary,
}

if __name__ == "__main__":
    sys.exit(main())

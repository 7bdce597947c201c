"""Serves a page and an address that label videos."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from vid3d import program
from vid3d.arguments import (
    Overrides,
    chosen_settings,
    seconds,
    takes_config,
    takes_runtime,
    takes_settings,
    takes_workdir,
)

HELP = "serve a page to drop a video on, and POST /predict"
SETTINGS = ("threshold", "window", "overlap", "smoothing")  # config.predict


def add_arguments(parser: ArgumentParser) -> None:
    takes_config(
        parser, example="--config.eval.long_videos=longest; only that, eval.views and predict.*"
    )
    takes_workdir(parser)
    takes_runtime(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="another than this machine's own needs --token"
    )
    parser.add_argument("--port", type=port, default=8000, metavar="N", help="0: any free one")
    parser.add_argument(
        "--token", default=os.environ.get("VID3D_TOKEN", ""), metavar="TEXT",
        help="that requests have to bear; better set VID3D_TOKEN, which other users do not see",
    )  # fmt: skip
    limits = parser.add_argument_group("limits of a request")
    for name, default, text in (
        ("upload", 64, "MiB of a body"),
        ("pixels", 4096 * 2304, "pixels of a frame"),
        ("concurrent", 8, "requests received and labelled at a time; more are told to try again"),
    ):
        limits.add_argument(
            f"--max-{name}",
            type=count,
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    limits.add_argument(
        "--max-seconds", type=seconds, default=120.0, metavar="N", help="of a video (default: 120)"
    )
    limits.add_argument(
        "--max-wait", type=seconds, default=60.0, metavar="N",
        help="seconds for an upload, and for its answer (default: 60)",
    )  # fmt: skip
    parser.add_argument(
        "--max-delay-ms", type=milliseconds, default=5.0, metavar="N",
        help="that clips wait for those of other requests, to share a batch (default: 5)",
    )  # fmt: skip
    takes_settings(parser, "predict", SETTINGS)


def port(text: str) -> int:
    """0 to 65535."""
    if not (text.isdecimal() and int(text) < 2**16):
        raise ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def count(text: str) -> int:
    """A number above 0."""
    if not (text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def milliseconds(text: str) -> float:
    """A time of 0 or more."""
    return 0.0 if text == "0" else seconds(text)


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d.engine import choose
    from vid3d.inference import predict
    from vid3d.inference.classifier import Classifier
    from vid3d.serve import server
    from vid3d.serve.app import create_app
    from vid3d.serve.bounds import Bounds
    from vid3d.serve.metrics import Metrics
    from vid3d.serve.service import Service

    choose.load_libraries(options.engine)
    program.listen()
    server.check_host(options.host, options.token)
    with server.listen(options.host, options.port) as listening:
        classifier = Classifier.load(
            options.workdir,
            options.checkpoint,
            engine=options.engine,
            precision=options.precision,
        )
        settings = chosen_settings(options, "predict", SETTINGS)
        predict.override(classifier.config, [*overrides, *settings])
        bounds = Bounds(
            options.max_upload * 2**20,
            options.max_seconds,
            options.max_pixels,
            options.max_concurrent,
            options.max_wait,
        )
        metrics = Metrics()
        service = Service(classifier, bounds, metrics, max_delay=options.max_delay_ms / 1000)
        service.compile()
        app = create_app(service, metrics, token=options.token)
        print(f"{server.url_of(listening)} (Ctrl-C ends it)", flush=True)
        server.serve(app, listening)
    # Work that nobody waits for any more would hold up Python's usual end.
    return program.end_at_once(0, is_program=True)

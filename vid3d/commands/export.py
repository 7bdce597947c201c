"""Writes a checkpoint for another runtime, and proves that it answers there as JAX does."""

from __future__ import annotations

import functools
import json
from argparse import ArgumentParser, Namespace
from typing import Any

from vid3d.arguments import Overrides, not_empty, takes_workdir
from vid3d.errors import UserError
from vid3d.program import listen

HELP = "write a checkpoint as ONNX, OpenVINO or StableHLO, and compare it with JAX"


def add_arguments(parser: ArgumentParser) -> None:
    takes_workdir(parser)
    parser.add_argument(
        "--format", required=True, metavar="onnx|openvino|stablehlo", help="of the file"
    )
    parser.add_argument(
        "--output", type=not_empty, required=True, metavar="FILE", help=".onnx, .xml or .npz"
    )
    parser.add_argument(
        "--videos", nargs="+", metavar="VIDEO", help="compare on these; default: on test videos"
    )
    parser.add_argument(
        "--clips", type=int, default=16, metavar="N", help="compare on so many (default: 16)"
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="test the exported network, too, beside JAX"
    )
    parser.add_argument("--data", metavar="FOLDER|CSV", help="other test videos than the run's")
    parser.add_argument("--json", action="store_true", help="print export.json")


def run(options: Namespace, overrides: Overrides) -> int:
    if options.clips < 1:
        raise UserError(f"--clips={options.clips}: compare on 1 clip or more")
    from vid3d import compilation
    from vid3d.export.write import check_output, export
    from vid3d.inference.report import note_unfinished

    listen()
    compilation.set_up()
    check_output(options.format, options.output)
    note_unfinished("export", options.workdir)

    @functools.cache
    def test_set() -> Any:
        from vid3d.evaluation.exported import TestSet

        return TestSet.find(options.workdir, options.checkpoint, options.data)

    def clips() -> Any:
        if not options.videos:
            return test_set().first_clips(options.clips)
        from vid3d.inference.clips import clips_of

        return clips_of(options.workdir, options.checkpoint, options.videos, limit=options.clips)

    facts = export(
        options.workdir,
        options.format,
        options.output,
        clips=clips,
        checkpoint=options.checkpoint,
        evaluate=(lambda network: test_set().compare(network)) if options.evaluate else None,
    )
    if options.json:
        print(json.dumps(facts))
        return 0
    proof = facts["proof"]
    print(
        f"wrote {options.output}: on {proof['num_clips']} clips, probabilities within "
        f"{proof['largest_difference']:.1e} of JAX, {proof['flipped']} other answers"
    )
    if options.evaluate:
        tested = facts["evaluation"]
        low, high = tested["interval"]
        print(
            f"accuracy {tested['accuracy']:.4f} (95% interval {low:.4f} to {high:.4f}), in JAX "
            f"{tested['accuracy_jax']:.4f}, {tested['num_videos']} test videos"
        )
    return 0

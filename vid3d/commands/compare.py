"""Compares training runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides, not_empty
from vid3d.program import listen

HELP = "compare runs: configs, curves, figures, paired test"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folders", type=not_empty, nargs="+", metavar="DIR", help="a workdir, or that of a sweep"
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="test the best checkpoints that are not tested yet"
    )
    parser.add_argument("--output", default="", metavar="DIR", help="write CSV and PNG here")
    parser.add_argument(
        "--report", default="", metavar="FILE.html",
        help="write a page with the videos on which the runs differ",
    )  # fmt: skip


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d import compilation
    from vid3d.evaluation.compare import compare
    from vid3d.evaluation.compare_report import show

    listen()
    compilation.set_up()
    if options.report:
        from vid3d.report import compare_page, write

        write.check_output(options.report)
    comparison = compare(options.folders, output=options.output, test=options.evaluate)
    show(comparison, advise=not options.evaluate)
    print(*comparison.written, sep="\n", end="\n" if comparison.written else "")
    if options.report:
        print(compare_page.write_page(comparison, options.report))
    return 0 if comparison.all_tested else 1

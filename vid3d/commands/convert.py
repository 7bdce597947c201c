"""Turns the lists of other programs and data sets into a manifest."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from vid3d.arguments import Overrides, not_empty
from vid3d.program import listen
from vid3d.terminal import printable
from vid3d.text import counted, first_few

HELP = "turn the lists of annotation programs and public data sets into a manifest"
NAMED = 20  # lines that are wrong
# In words, as importing the formats takes longer than printing a help.
FORMATS = (
    "one of boris, elan, audacity, via, label-studio, activitynet, deepethogram, simba, kinetics, "
    "hmdb51, something, jester, diving48, ucf101, pyslowfast, pytorchvideo, mmaction2, huggingface"
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("format", type=not_empty, metavar="FORMAT", help=FORMATS)
    parser.add_argument("inputs", type=not_empty, nargs="+", metavar="IN", help="files or folders")
    parser.add_argument("--output", type=not_empty, required=True, metavar="FILE.csv")
    parser.add_argument("--videos", default="", metavar="DIR", help="default: the folder of IN")
    parser.add_argument("--labels", default="", metavar="FILE", help="names of numbered classes")
    parser.add_argument(
        "--fold", type=int, default=1, metavar="N", help="hmdb51, ucf101: 1, 2 or 3"
    )


def run(options: Namespace, overrides: Overrides) -> int:
    from vid3d.convert.convert import convert

    listen()
    done = convert(
        options.format,
        options.inputs,
        options.output,
        videos=options.videos,
        labels=options.labels,
        fold=options.fold,
    )
    stretches = sum(line.video.span is not None for line in done.lines)
    files = len({line.video.path for line in done.lines})
    in_files = counted(files, "file")
    one = "stretch" if stretches == 1 else "stretches"
    what = f"{stretches} {one} in {in_files}" if stretches else counted(files, "video")
    classes = len({line.video.label for line in done.lines})
    print(f"{options.output}: {what}, {classes} class{'es' * (classes != 1)}")
    if done.missing:
        named = printable(first_few(done.missing, 3))
        were = "was" if len(done.missing) == 1 else "were"
        count = counted(len(done.missing), "video")
        print(f"{count} missing on disk {were} left out: {named}")
    for note in done.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    for what, lines in (("left out", done.wrong), ("differs", done.differing)):
        for line in lines[:NAMED]:
            print(f"{what}: {printable(line.where)}: {printable(line.why)}", file=sys.stderr)
        if more := len(lines[NAMED:]):
            print(f"{what}: {more} more line{'s' * (more != 1)}", file=sys.stderr)
    return 1 if done.wrong else 0

"""What preparation reports: the table of videos, the ledger of bad ones, the manifest."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vid3d import terminal
from vid3d.data.content import showing_the_same
from vid3d.datasets.videos import ListedVideo, span_cells, span_columns
from vid3d.errors import UserError
from vid3d.terminal import printable
from vid3d.text import counted, first_few
from vid3d.video.clips import clip_frames, duration, is_short

if TYPE_CHECKING:
    from vid3d.data.prepared import Prepared

MOST_NAMED = 3  # bad videos in one line
FEW_VALIDATION = 10  # videos, below which chance chooses the best checkpoint
NAMED_SHORT = 3  # videos
SPLITS = ("train", "val", "test")


def report(prepared: Prepared, data: ConfigDict) -> RenderableType:
    """Counts per class and split, lengths, sizes, rates, short, bad and duplicate videos, notes."""
    index = prepared.index
    good = [video for video in index.videos if video.name in prepared.facts]
    title = Text(printable(f"{index.root}, protocol {index.protocol}"))
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for split in SPLITS:
        table.add_column(split, justify="right")
    counts = Counter((video.label, video.split) for video in good)
    for label in index.classes:
        table.add_row(Text(printable(label)), *(str(counts[label, split]) for split in SPLITS))
    table.add_section()
    table.add_row("all", *(str(sum(v.split == split for v in good)) for split in SPLITS))
    lines = [*describe(prepared, data), *(f"note: {note}" for note in index.notes)]
    return Group(table, *(Text(printable(line)) for line in lines), *warnings(prepared))


def summary(prepared: Prepared) -> RenderableType:
    """One line for frames that were in the cache already, and what is wrong with them."""
    index = prepared.index
    good = {split: sum(v.name in prepared.facts for v in index.split(split)) for split in SPLITS}
    counts = ", ".join(f"{good[split]} {split}" for split in SPLITS)
    line = f"{counts} videos, protocol {index.protocol}, from {prepared.directory}"
    return Group(Text(printable(line)), *warnings(prepared))


def warnings(prepared: Prepared) -> list[Text]:
    """Warnings: duplicates, bad videos, and a validation split that is too small to choose by."""
    lines = [f"DUPLICATES: {line}" for line in duplicates(prepared)]
    if prepared.bad:
        named = [f"{name} ({why})" for name, why in bad_with_lines(prepared).items()]
        such_as = ", such as" if len(named) > MOST_NAMED else ":"
        count = counted(len(named), "video")
        lines.append(f"BAD: {count} cannot be read{such_as} {'; '.join(named[:MOST_NAMED])}")
    validation = sum(video.name in prepared.facts for video in prepared.index.split("val"))
    if 0 < validation < FEW_VALIDATION:
        lines.append(
            f"FEW: the validation split has {counted(validation, 'video')}: its accuracy, and a "
            "checkpoint chosen by that (checkpoint.choose=best), are mostly chance; "
            "data.val_fraction or a manifest.csv gives it more"
        )
    return [Text(printable(line), style="bold red") for line in lines]


def describe(prepared: Prepared, data: ConfigDict) -> list[str]:
    """The report's lines about the readable videos."""
    facts = [prepared.facts[v.name] for v in prepared.index.videos if v.name in prepared.facts]
    if not facts:
        return ["no readable videos"]
    lengths = [f.num_frames for f in facts]
    rates = [f.fps for f in facts]
    sizes = Counter(f"{f.size[1]}x{f.size[0]}" for f in facts).most_common()
    named = ", ".join(f"{size} ({count})" for size, count in sizes[:4])
    short = short_videos(prepared, data)
    names = f", {first_few(short, NAMED_SHORT)}; a clip is {clip_length(data)}" * bool(short)
    damaged = [
        f"{v.name}: {prepared.facts[v.name].damage.removeprefix('damaged: ')}"
        for v in prepared.index.videos
        if v.name in prepared.facts and prepared.facts[v.name].damage
    ]
    total = sum(path.stat().st_size for path in prepared.directory.iterdir())
    stretches = [video for video in prepared.index.videos if video.span]
    files = len({video.path for video in stretches})
    lines = [
        *[f"stretches: {len(stretches)} in {files} files"] * bool(stretches),
        f"frames per video: {min(lengths)} to {max(lengths)}, median "
        f"{statistics.median(lengths):g}",
        f"frames per second: {min(rates):.4g} to {max(rates):.4g}, median "
        f"{statistics.median(rates):.4g}",
        f"sizes: {named}{f' and {len(sizes) - 4} more' if len(sizes) > 4 else ''}",
        *resampled(prepared),
        f"shorter than a clip ({data.short}): {len(short)} of {len(facts)}{names}",
        f"stored: {prepared.directory} ({terminal.format_bytes(total)}, {prepared.store})",
    ]
    sets = [p for p in prepared.directory.parent.glob("frames-*") if p.is_dir()]
    if len(sets) > 1:
        taken = 0
        for folder in sets:
            with contextlib.suppress(OSError):  # another user's, or being removed
                taken += sum(file.stat().st_size for file in folder.iterdir())
        lines.append(
            f"cache: {len(sets)} sets of frames, {terminal.format_bytes(taken)}; frames-* may be "
            "deleted while no command runs: what is needed again is decoded again"
        )
    if damaged:
        are = "is" if len(damaged) == 1 else "are"
        such_as = "" if len(damaged) == 1 else "such as "
        lines.append(f"{counted(len(damaged), 'video')} {are} damaged: {such_as}{damaged[0]}")
    return lines


def resampled(prepared: Prepared) -> list[str]:
    """Says which sizes are not those of the files, if any: pixels were not square."""
    facts = [(video.name, prepared.facts.get(video.name)) for video in prepared.index.videos]
    odd = [name for name, f in facts if f and f.pixel_shape != 1]
    return [
        f"resampled: the pixels of {len(odd)} of {len(facts)} videos are not square, such as those "
        f"of {name}; these sizes are with square ones (data.pixels)"
        for name in odd[:1]
    ]


def short_videos(prepared: Prepared, data: ConfigDict) -> list[str]:
    """The readable videos that are shorter than a clip, with their lengths."""
    facts = [(video.name, prepared.facts.get(video.name)) for video in prepared.index.videos]
    return [
        f"{name} ({f.num_frames} frames, {duration(f.times_N):.3g} s)"
        for name, f in facts
        if f and is_short(f.times_N, data)
    ]


def clip_length(data: ConfigDict) -> str:
    """How much of a video a clip takes: "16 frames", "1.2 s"."""
    if data.fps > 0 and data.sampling != "uniform":
        return f"{(data.num_frames - 1) / data.fps:.3g} s"
    return f"{clip_frames(data) or data.num_frames} frames"


def duplicates(prepared: Prepared) -> list[str]:
    """Sentences about videos that show the same, or in part, first those in different splits."""
    shown = {
        video: prepared.facts[video.name].sha256
        for video in prepared.index.videos
        if video.name in prepared.facts
    }
    groups = [videos for videos in showing_the_same(shown) if len(videos) > 1]
    across = [videos for videos in groups if len({v.split for v in videos}) > 1]
    # Stretches of one file may overlap.
    twice = [g for g in groups if g not in across and len({v.path for v in g}) > 1]
    lines = []
    for kind, chosen in (
        ("the same video is in two splits", across),
        ("the same video has two labels", [g for g in groups if len({v.label for v in g}) > 1]),
        ("the same video is listed twice in a split", twice),
    ):
        if chosen:
            pair = ", ".join(f"{v.name} ({v.split}, {v.label})" for v in chosen[0][:3])
            tested = any({"train", "test"} <= {v.split for v in videos} for videos in chosen)
            untestable = "; vid3d evaluate will refuse this test: take one of the two out" * tested
            times = f", {len(chosen)} times" * (len(chosen) > 1)
            lines.append(f"{kind}{times}: {pair}{untestable}")
    return lines


def bad_with_lines(prepared: Prepared) -> dict[str, str]:
    """Name -> why a video cannot be used, with the line of the manifest that names it."""
    line_of = {video.name: video.line for video in prepared.index.videos}
    return {
        name: f"{reason}; line {line_of[name]} of the manifest" if line_of.get(name) else reason
        for name, reason in prepared.bad.items()
    }


def bad_by_split(prepared: Prepared) -> str:
    """How many videos of each split cannot be read: "3 train, 1 test"; "" for none."""
    counts = Counter(v.split for v in prepared.index.videos if v.name in prepared.bad)
    return ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])


def check_bad(prepared: Prepared, max_bad_fraction: float) -> None:
    """Makes sure that no test video is bad, and no more of the others than allowed.

    Raises:
        UserError: names the ledger.
    """
    reasons = bad_with_lines(prepared)
    for is_test in (True, False):
        videos = [v for v in prepared.index.videos if (v.split == "test") == is_test]
        bad = [v.name for v in videos if v.name in prepared.bad]
        allowed = 0 if is_test else max_bad_fraction * len(videos)
        if len(bad) > allowed:
            split = "test" if is_test else "training and validation"
            more = "" if is_test else f" (data.max_bad_fraction={max_bad_fraction:g})"
            raise UserError(
                f"{len(bad)} of {len(videos)} {split} videos cannot be read{more}, such as "
                f"{bad[0]} ({reasons[bad[0]]}); all are listed in {prepared.ledger}: replace "
                "or remove them"
            )


def write_ledger(
    bad: Mapping[str, str], videos: Iterable[ListedVideo], path: Path, *, root: str = ""
) -> None:
    """Writes the bad ones of some videos and the reasons as CSV.

    Paths are relative to the root of the videos or, where this is given, as in a manifest.
    """
    found = sorted((video for video in videos if video.name in bad), key=lambda video: video.order)
    columns = span_columns(found)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.writer(file)
        rows.writerow(("path", *columns, "reason"))
        rows.writerows(
            (
                path_from(path.parent, root, video.path) if root else video.path,
                *span_cells(video, columns),
                bad[video.name],
            )
            for video in found
        )


def path_from(folder: Path, root: str, path: str) -> str:
    """The path of a video below the root as a manifest in a folder names it."""
    here, full = folder.absolute(), Path(os.path.join(root, path))
    name = str(full.relative_to(here) if full.is_relative_to(here) else full)
    return f"./{name}" if name[0].isspace() else name  # which a reader would strip


def write_manifest(prepared: Prepared, folder: Path, *, with_bad: bool = True) -> Path:
    """Writes the videos with labels, groups and splits as a manifest to edit and train on.

    Paths are relative where the videos are below the manifest's folder, otherwise absolute. A
    manifest that is there and differs, perhaps because it was edited, stays; the new one is
    numbered.

    Args:
        prepared: the videos.
        folder: of the manifest.
        with_bad: whether those that cannot be read are in it.

    Returns:
        The file: manifest.csv, or manifest-2.csv and so on.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    columns = span_columns(prepared.index.videos)
    rows.writerow(("path", *columns, "label", "group", "split"))
    for video in prepared.index.videos:
        if video.name in prepared.bad and not with_bad:
            continue
        name = path_from(folder, prepared.index.root, video.path)
        rows.writerow((name, *span_cells(video, columns), video.label, video.group, video.split))
    written = text.getvalue().encode("utf-8", "surrogateescape")
    path, number = folder / "manifest.csv", 1
    while path.exists() and path.read_bytes() != written:
        number += 1
        path = folder / f"manifest-{number}.csv"
    path.write_bytes(written)
    return path

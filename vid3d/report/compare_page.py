"""`vid3d compare --report`: runs side by side on one page, with the videos on which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from vid3d import config as configs, storage
from vid3d.errors import UserError
from vid3d.evaluation.compare import Comparison, csv_row, interval, value_text
from vid3d.evaluation.compare_report import notes, paired_lines
from vid3d.evaluation.runs import ComparedRun
from vid3d.report import charts, page, strips, write
from vid3d.report.charts import Axes
from vid3d.report.html import e, text_of
from vid3d.text import shorten

MOST_RUNS = 100  # in the table
MOST_LINES = 8  # in a chart, each in a colour of its own
MOST_CLIPS = 60

Video = tuple[str, str]  # name and sha256


@dataclass(frozen=True)
class Difference:
    """A video that the runs do not answer alike.

    Attributes:
        name: of the video.
        truth: its class.
        answers: of each run, in their order.
    """

    name: str
    truth: str
    answers: list[str]


def write_page(comparison: Comparison, output: str) -> Path:
    """Writes the page.

    Raises:
        UserError: the name of the file does not end in .html, or its folder is missing.
    """
    write.check_output(output)
    runs = comparison.runs
    found = differences(runs)
    moving, missing = moving_clips(runs, [one.name for one in found[:MOST_CLIPS]])
    sections = [
        page.section("runs", "Runs", [table(comparison), said(comparison)]),
        page.section("curves", "Training", curves(runs)),
        page.section("videos", "Where they differ", clips(runs, found, moving, missing)),
    ]
    shown = [one for one in sections if one is not None]
    body = e(
        "body",
        e("header", e("p", "vid3d report", class_="kicker"), e("h1", f"{len(runs)} runs compared")),
        e("main", shown),
        e("footer", "This page needs no network."),
    )
    path = storage.as_path(output)
    text = text_of(e("html", page.html_head(f"{len(runs)} runs compared"), body, lang="en"))
    storage.write_whole(path, text)
    return path


def differences(runs: Sequence[ComparedRun]) -> list[Difference]:
    """The test videos that all tested runs have and do not answer alike.

    Those come first that about half of the runs have right.
    """
    tested = [run for run in runs if run.answers]
    if len(tested) < 2:
        return []
    shared = [video for video in tested[0].answers if all(video in run.answers for run in tested)]
    found = []
    for video in shared:
        truth = tested[0].answers[video][0]
        answers = [run.answers[video][1] for run in tested]
        if len(set(answers)) > 1:
            found.append(Difference(video[0], truth, answers))
    return sorted(found, key=lambda one: abs(one.answers.count(one.truth) / len(tested) - 0.5))


def table(comparison: Comparison) -> Element:
    """A row per run: what it was tested with, and where its config is another."""
    keys = comparison.keys
    rows = []
    for run in comparison.runs[:MOST_RUNS]:
        row, flat, span = csv_row(run, keys), configs.flatten(run.config), interval(run)
        accuracy = e("td", e("span", "not tested", class_="faint"))
        if run.test and span:
            low, high = span[1]
            accuracy = e(
                "td",
                e("b", f"{run.test['accuracy']:.3f}"),
                e("span", f" {low:.3f} to {high:.3f}", class_="faint"),
                charts.whisker(run.test["accuracy"], low, high),
            )
        others = [
            "" if row["val_accuracy"] is None else f"{row['val_accuracy']:.3f}",
            *(number(row[key]) for key in ("test_macro_f1", "test_videos", "parameters")),
            *(shorten(value_text(flat[key]), 40) for key in keys),
        ]
        rows.append(
            e("tr", e("th", run.name, scope="row"), accuracy, (e("td", text) for text in others))
        )
    titles = ("run", "test accuracy", "validation", "macro-F1", "videos", "parameters", *keys)
    head = e("tr", (e("th", text, scope="col") for text in titles))
    built = e("table", e("thead", head), e("tbody", rows), class_="classes")
    return e("div", built, class_="scroll")


def number(value: float | int | None) -> str:
    """A figure of the table; "" where it is not known."""
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def said(comparison: Comparison) -> Element:
    """The sentences that the command prints below its table."""
    runs, paired = comparison.runs, comparison.paired
    lines = notes(runs, comparison.keys, advise=False)
    if paired:  # without the list of the videos, which are below
        lines += [line for line in paired_lines(runs[0], runs[1], paired) if not is_listing(line)]
    left_out = len(runs) - MOST_RUNS
    if left_out > 0:
        lines.append(f"{left_out} more runs are not on this page")
    return e("ul", (e("li", shorten(line, 600)) for line in lines), class_="notes")


def is_listing(line: str) -> bool:
    """Whether a line of `paired_lines` belongs to its list of videos."""
    return line.startswith("  ") or "videos on which they differ" in line


def curves(runs: Sequence[ComparedRun]) -> list[Element]:
    """Validation accuracy and loss of the first runs."""
    drawn = []
    for what in ("accuracy", "loss"):
        lines = [
            (f"s{place}", run.name, [(r["epoch"], r[f"val/{what}"]) for r in run.curve
                                     if f"val/{what}" in r])
            for place, run in enumerate(runs[:MOST_LINES])
        ]  # fmt: skip
        lines = [line for line in lines if line[2]]
        if not lines:
            continue
        points = [point for *_, line in lines for point in line]
        high = 1.0 if what == "accuracy" else 1.05 * max(y for _, y in points if np.isfinite(y))
        axes = Axes((0, max(x for x, _ in points)), (0.0, high))
        inside = charts.frame(axes, "epoch", what)
        for kind, name, line in lines:
            inside.append(e("path", e("title", name), d=axes.path(line), class_=f"line {kind}"))
        legend = [(kind, shorten(name, 40)) for kind, name, _ in lines]
        drawn.append(charts.chart(f"Validation {what}", legend, inside))
    about = None
    if len(runs) > MOST_LINES:
        about = e("p", f"The first {MOST_LINES} of {len(runs)} runs.", class_="about")
    return [*([about] if about is not None else []), e("div", drawn, class_="charts")] * bool(drawn)


def moving_clips(runs: Sequence[ComparedRun], names: list[str]) -> tuple[dict[str, str], str]:
    """Moving pictures by name, from the first run whose videos are there; else why not."""
    missing = ""
    for run in (run for run in runs if run.answers and names):
        try:
            _, found = write.find_clips(run.workdir, "best", "test", (), None)
        except (UserError, OSError) as error:
            missing = " ".join(str(error).split())
            continue
        place_of = {video.name: place for place, video in enumerate(found.videos)}
        places = [place_of[name] for name in names if name in place_of]
        made = strips.make(found, places, most_bytes=write.STRIP_BYTES)
        return {found.videos[place].name: uri for place, uri in made.items()}, ""
    return {}, missing


def clips(
    runs: Sequence[ComparedRun], found: list[Difference], moving: dict[str, str], missing: str
) -> list[Element]:
    """The videos that the runs answer differently, with what each says."""
    tested = [run.name for run in runs if run.answers]
    if len(tested) < 2:
        return [e("p", "Two tested runs are needed: vid3d compare --evaluate tests those that are "
                       "not.", class_="about")]  # fmt: skip
    count = f"{len(found)} test videos are not answered alike"
    if len(found) > MOST_CLIPS:
        count += f"; {MOST_CLIPS} of them are here, first those on which the runs are most at odds"
    lines = [e("p", f"{count}.", class_="about")]
    if missing:
        lines.append(e("p", f"The clips cannot be shown moving: {missing}", class_="about"))
    cards = []
    for one in found[:MOST_CLIPS]:
        uri = moving.get(one.name)
        picture = (
            e("img", src=uri, alt=one.name, width=128, height=128)
            if uri
            else e("div", "no frames", class_="still")
        )
        said_by = [
            e("li", e("span", name, class_="faint"), e("span", shorten(answer, 40)),
              class_=None if answer == one.truth else "wrong-answer")
            for name, answer in list(zip(tested, one.answers, strict=True))[:MOST_LINES]
        ]  # fmt: skip
        caption = e(
            "figcaption",
            e("span", e("bdi", shorten(one.name, 120)), class_="name", title=one.name),
            e("span", "is ", e("b", one.truth), class_="truth"),
            e("ul", said_by),
        )
        cards.append(e("figure", picture, caption, class_="clip"))
    return [*lines, e("div", cards, class_="grid")]

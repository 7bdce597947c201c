"""The page: one HTML file with all that it needs inside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from ml_collections import ConfigDict

from vid3d.checkpoint import Workdir
from vid3d.data.prepared import Prepared
from vid3d.evaluation import metrics
from vid3d.evaluation.report import calibration_line
from vid3d.report import charts, classes, facts, matrix
from vid3d.report.answers import Answers
from vid3d.report.choose import Chosen
from vid3d.report.html import clean, e, text_of
from vid3d.text import shorten

MOST_NAMED = 3  # classes below a clip
MOST_NOTES = 40
LONGEST_NAME = 120  # of a video


@dataclass(frozen=True)
class Content:
    """All that the page shows.

    Attributes:
        workdir: of the training run.
        answers: of the evaluation.
        config: of the training run.
        chosen: videos.
        strips: data: URIs by video; empty without the frames.
        prepared: the videos as they were decoded; None where they are gone.
        missing: why there are no moving clips, or "".
    """

    workdir: Workdir
    answers: Answers
    config: ConfigDict
    chosen: Chosen
    strips: dict[int, str]
    prepared: Prepared | None
    missing: str


def build(content: Content) -> str:
    """The HTML of the page."""
    figures, chosen = content.answers.figures, content.chosen
    title = f"{content.workdir.path.name}: {figures['split']} videos"
    sections = [
        section("matrix", "What was taken for what", matrix_section(content)),
        clips(content, "wrong", "Wrong, and sure of it", chosen.wrong,
              "The wrong answers with the highest probabilities: what the network has learned "
              "that is not so, or labels that are wrong."),
        clips(content, "unsure", "Least sure", chosen.unsure,
              "The answers with the lowest probabilities."),
        clips(content, "right", "Right, one of each class", chosen.right,
              "Of each class the right answer with the highest probability."),
        section("classes", "Classes", [
            e("p", "95% intervals, the weakest class first.", class_="about"),
            classes.table(content.answers),
        ]),
        section("probabilities", "Probabilities", probabilities(content.answers)),
        section("training", "Training", training(content)),
        section("data", "Videos", facts.data(content.prepared, content.workdir)),
        section("run", "The run", run(content)),
    ]  # fmt: skip
    shown = [one for one in sections if one is not None]
    links = [e("a", one[0].text or "", href=f"#{one.get('id')}") for one in shown]
    body = e(
        "body",
        head(content),
        e("main", e("nav", links), notes(content), shown),
        e(
            "footer",
            f"Made by vid3d {figures['environment']['vid3d']}. This page needs no network.",
        ),
        e("script", as_json(page_data(content)), type="application/json", id="page-data"),
        e("script", resource("page.js")),
    )
    return text_of(e("html", html_head(title), body, lang="en"))


def html_head(title: str) -> Element:
    """What a browser needs to know before the body of a page."""
    return e(
        "head",
        e("meta", charset="utf-8"),
        e("meta", name="viewport", content="width=device-width, initial-scale=1"),
        e("title", title),
        e("style", resource("page.css")),
    )


def resource(name: str) -> str:
    """The text of a file beside this one."""
    return resources.files("vid3d.report").joinpath(name).read_text()


def as_json(value: Any) -> str:
    """JSON that no text in it can end the element of."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def section(name: str, title: str, inside: Element | Iterable[Element] | None) -> Element | None:
    """A part of the page; None where there is nothing in it."""
    children = [inside] if isinstance(inside, Element) else list(inside or ())
    return e("section", e("h2", title), children, id=name) if children else None


def head(content: Content) -> Element:
    """Accuracy, interval, protocol and counts."""
    figures, answers = content.answers.figures, content.answers
    low, high = metrics.best_interval(figures)[1]
    top5 = figures["top5_accuracy"]
    calibration = figures["calibration"]
    named = {
        "right": f"{figures['correct']} of {figures['num_videos']} {figures['split']} videos",
        "protocol": figures["protocol"],
        "videos": facts.last_part(figures["data"]),
        "checkpoint": f"{figures['checkpoint']}, step {figures['step']}",
        "network": content.config.model.name,
        "balanced accuracy": f"{figures['balanced_accuracy']:.3f}",
        "macro-F1": f"{figures['macro_f1']:.3f}",
        "top 5": f"{top5:.3f}" if top5 is not None else None,
        "calibration error": f"{calibration['expected_calibration_error']:.3f}",
        "Brier score": f"{calibration['brier_score']:.3f}",
    }
    of_range = f"of {figures['num_expected']} in the split"
    if figures["num_expected"] != figures["num_videos"]:
        named["tested"] = f"{figures['num_videos']} {of_range}"
    cells = [e("div", e("dt", name), e("dd", value)) for name, value in named.items() if value]
    return e(
        "header",
        e("p", f"vid3d report, {figures['split']} videos", class_="kicker"),
        e("h1", content.workdir.path.name),
        e("p", f"{figures['accuracy']:.1%}", class_="big"),
        e("p", f"accuracy, {low:.1%} to {high:.1%} ({metrics.interval_kind(figures)})"),
        charts.interval_bar(figures["accuracy"], low, high, 1 / len(answers.classes)),
        e("dl", cells, class_="key-facts"),
    )


def notes(content: Content) -> Element | None:
    """What is to be known about the figures, and what the page leaves out."""
    found: list[str] = []
    if content.missing:
        found.append(f"The clips cannot be shown moving: {content.missing}")
    listed = sum(len(videos) for videos in content.chosen.cells.values())
    total = len(content.answers.names)
    if listed < total:
        found.append(f"This page lists {listed} of {total} videos; predictions.csv has all.")
    still = listed - len(content.strips)
    if content.strips and still > 0:
        found.append(
            f"{len(content.strips)} clips move; {still} more are listed by name, to keep this page "
            "small."
        )
    found += content.answers.figures["notes"]
    items = [e("li", shorten(note, 600)) for note in found[:MOST_NOTES]]
    return section("notes", "Notes", [e("ul", items, class_="notes")] if items else None)


def matrix_section(content: Content) -> list[Element]:
    return [
        e("p", "Rows are the true classes, columns the answers. Choose a cell to see its videos.",
          class_="about"),
        e(
            "div",
            matrix.draw(content.answers, content.chosen.cells),
            e("div", id="clips", aria_live="polite"),
            class_="beside",
        ),
    ]  # fmt: skip


def clips(
    content: Content, name: str, title: str, videos: Sequence[int], about: str
) -> Element | None:
    """A section of clips."""
    cards = [card(content, video) for video in videos]
    if not cards:
        return None
    return section(name, title, [e("p", about, class_="about"), e("div", cards, class_="grid")])


def card(content: Content, video: int) -> Element:
    """A clip with its true class, and the classes that are most probable."""
    answers = content.answers
    name = shorten(answers.names[video], LONGEST_NAME)
    truth, answer = (answers.classes[k[video]] for k in (answers.labels_N, answers.predicted_N))
    source = content.strips.get(video)
    picture = (
        e("img", src=source, alt=f"{truth}, answered {answer}", decoding="async", width=128,
          height=128)
        if source
        else e("div", "left out" if content.strips else "no frames", class_="still")
    )  # fmt: skip
    bars = [
        e(
            "li",
            e("span", answers.classes[k]),
            e("span", percent(p)),
            e("span", class_="bar-of", style=f"--share:{p}"),
            class_="wrong-answer" if place == 0 and answer != truth else None,
        )
        for place, (k, p) in enumerate(most_probable(answers, video))
    ]
    caption = e(
        "figcaption",
        e("span", e("bdi", name), class_="name", title=name),
        e("span", "is ", e("b", truth), class_="truth"),
        e("ul", bars),
    )
    return e("figure", picture, caption, class_="clip", data_video=video)


def most_probable(answers: Answers, video: int) -> list[tuple[int, float]]:
    """The classes with the highest probabilities, and the true one."""
    row_K = answers.probabilities_NK[video]
    chosen = np.argsort(-row_K, kind="stable")[:MOST_NAMED].tolist()
    truth = int(answers.labels_N[video])
    if truth not in chosen:
        chosen[-1] = truth
    return [(k, round(float(row_K[k]), 3)) for k in chosen]


def percent(p: float) -> str:
    """A probability for people; nothing is quite certain."""
    if p > 0.995:
        return ">99%"
    return "<1%" if p < 0.005 else f"{p:.0%}"


def probabilities(answers: Answers) -> list[Element]:
    calibration = answers.figures["calibration"]
    drawn = [
        charts.reliability(calibration),
        charts.risk_coverage(answers.confidence_N, answers.right_N),
    ]
    line = calibration_line({"temperature": 1.0, "before": None, "fitted_on": None} | calibration)
    return [
        e("p", line[0].upper() + line[1:] + "."),
        e("div", drawn, class_="charts"),
    ]


def training(content: Content) -> list[Element]:
    rows = content.workdir.rows()
    drawn = charts.learning_curves(rows, content.answers.figures["step"])
    return [e("div", drawn, class_="charts")] if drawn else []


def run(content: Content) -> list[Element]:
    figures = content.answers.figures
    return [
        *facts.commands(content.workdir, figures),
        e("h3", "Config, where it is not the default"),
        facts.config(content.config),
        e("h3", "Versions"),
        facts.versions(content.workdir, figures["environment"]),
    ]


def page_data(content: Content) -> dict[str, Any]:
    """What page.js shows when a cell is chosen."""
    answers, chosen = content.answers, content.chosen
    inline = {*chosen.wrong, *chosen.unsure, *chosen.right}
    totals = metrics.confusion_matrix(answers.labels_N, answers.predicted_N, len(answers.classes))
    listed = sorted({video for videos in chosen.cells.values() for video in videos})
    return {
        "classes": [clean(name) for name in answers.classes],
        "cells": {
            f"{cell[0]},{cell[1]}": {"ids": videos, "total": int(totals[cell])}
            for cell, videos in chosen.cells.items()
        },
        "videos": {
            video: [
                clean(shorten(answers.names[video], LONGEST_NAME)),
                int(answers.labels_N[video]),
                int(answers.predicted_N[video]),
                most_probable(answers, video),
            ]
            for video in listed
        },
        "strips": {v: uri for v, uri in content.strips.items() if v not in inline},
    }

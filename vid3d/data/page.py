"""The report of `vid3d doctor` as one HTML file: facts, and frames as the network sees them."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape

import numpy as np
from ml_collections import ConfigDict

from vid3d.data.prepared import Prepared
from vid3d.data.report import SPLITS, describe, short_videos, warnings
from vid3d.data.store import FrameStore
from vid3d.datasets.videos import ListedVideo
from vid3d.terminal import printable
from vid3d.video.clips import clip_indices, evaluation_sampling
from vid3d.video.records import encode_jpeg
from vid3d.video.resize import centre, fit

# They bound the file: 120 strips of 8 frames of 96x96 take some 3 MB.
MOST_STRIPS, MOST_PER_CLASS = 120, 4
MOST_FRAMES, LARGEST = 8, 96  # of a strip; pixels of a frame
MOST_LISTED = 50  # bad or short videos

STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse }
td, th { padding: .15rem .8rem .15rem 0; text-align: right; font-variant-numeric: tabular-nums }
td:first-child, th:first-child { text-align: left }
li, td, figcaption { overflow-wrap: anywhere }
figure { margin: .4rem 0 }
figcaption { font-size: 13px; opacity: .75 }
img { max-width: 100%; height: auto; image-rendering: pixelated }
.warning { font-weight: bold; color: #c33 }
"""


def render(prepared: Prepared, data: ConfigDict, advice: Iterable[str] = ()) -> str:
    """The page; its length is bounded, however many videos there are.

    Args:
        prepared: the videos.
        data: `config.data`.
        advice: sentences.

    Raises:
        UserError: a stored frame cannot be read.
    """
    title = f"{prepared.index.root}, protocol {prepared.index.protocol}"
    notes = [f"note: {note}" for note in prepared.index.notes]
    body = [
        f"<h1>{text(title)}</h1>",
        *(f'<p class="warning">{text(line.plain)}</p>' for line in warnings(prepared)),
        *(f"<p>{text(line)}</p>" for line in advice),
        class_table(prepared),
        bullets([*describe(prepared, data), *notes]),
        *section("Videos that cannot be read", [f"{k}: {v}" for k, v in prepared.bad.items()]),
        *section("Videos shorter than a clip", short_videos(prepared, data)),
        *contact_sheets(prepared, data),
    ]
    head = f'<meta charset="utf-8"><title>{text(title)}</title><style>{STYLE}</style>'
    return "\n".join(["<!doctype html>", f'<html lang="en"><head>{head}</head><body>', *body, ""])


def text(line: str) -> str:
    """A line for HTML, whatever the names of files in it are."""
    return escape(printable(line))


def bullets(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>"


def section(heading: str, lines: Sequence[str]) -> list[str]:
    """A heading and the first of the lines; nothing where there are none."""
    left = len(lines) - MOST_LISTED
    more = [f"and {left} more"] if left > 0 else []
    return [f"<h2>{heading}</h2>", bullets([*lines[:MOST_LISTED], *more])] if lines else []


def class_table(prepared: Prepared) -> str:
    """Readable videos per class and split."""
    good = [video for video in prepared.index.videos if video.name in prepared.facts]
    counts = Counter((video.label, video.split) for video in good)
    all_of = Counter(video.split for video in good)
    rows = [(name, [counts[name, split] for split in SPLITS]) for name in prepared.index.classes]
    rows.append(("all", [all_of[split] for split in SPLITS]))
    lines = (
        f"<tr><td>{text(name)}</td>{''.join(f'<td>{count}</td>' for count in row)}</tr>"
        for name, row in rows
    )
    head = "".join(f"<th>{name}</th>" for name in ("class", *SPLITS))
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def contact_sheets(prepared: Prepared, data: ConfigDict) -> Iterator[str]:
    """For each class a few videos, each as a strip of the frames of its clip."""
    index, store = prepared.index, FrameStore(prepared)
    per_class = min(max(MOST_STRIPS // len(index.classes), 1), MOST_PER_CLASS)
    shown = index.classes[:MOST_STRIPS]
    if not prepared.facts:
        return
    frames = f"{min(data.num_frames, MOST_FRAMES)} of the {data.num_frames} frames of its clip"
    yield "<h2>What the network sees</h2>"
    yield f"<p>Each row is a video: {frames}, {data.size}x{data.size} pixels each.</p>"
    for label in shown:
        videos = [v for v in index.videos if v.label == label and v.name in prepared.facts]
        yield f"<h3>{text(label)}</h3>"
        for video in videos[:: max(len(videos) // per_class, 1)][:per_class]:
            yield figure(video, strip(prepared, store, video, data))
    if len(shown) < len(index.classes):
        yield f"<p>{len(index.classes) - len(shown)} more classes are not shown.</p>"
    store.close()


def strip(prepared: Prepared, store: FrameStore, video: ListedVideo, data: ConfigDict) -> bytes:
    """The frames of an evaluation clip side by side, as a JPEG."""
    facts, sampling = prepared.facts[video.name], evaluation_sampling(data)
    indices_T = clip_indices(facts.times_N, data, sampling=sampling)
    spread = np.linspace(0, len(indices_T) - 1, min(len(indices_T), MOST_FRAMES)).round()
    side = min(data.size, LARGEST)
    frames = [
        fit(centre(frame, data.size, data.size), size=(side, side), resize="squash", color="rgb")
        for frame in store.load(facts.first_record + indices_T[spread.astype(int)])
    ]
    return encode_jpeg(np.concatenate(frames, axis=1))


def figure(video: ListedVideo, jpeg: bytes) -> str:
    """A strip with the name of its video."""
    picture = base64.b64encode(jpeg).decode()
    caption = text(f"{video.name} ({video.split})")
    return (
        f'<figure><img alt="{caption}" src="data:image/jpeg;base64,{picture}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )

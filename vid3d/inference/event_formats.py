"""Events as text: CSV, JSON, and what BORIS, ELAN and players of subtitles read.

A format is a header, a text per recording, and a footer; so a file is added to as recordings are
done, and is whole after each of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from vid3d.errors import UserError
from vid3d.inference.prediction import Event
from vid3d.inference.rows import csv_line

COLUMNS = ("path", "start", "end", "label", "probability")
KEYS = "abcdefghijklmnopqrstuvwxyz0123456789"  # of the behaviours of a BORIS project
# Of BORIS's "aggregated events" of version 8, state events alone.
BORIS_COLUMNS = (
    "Observation id", "Observation date", "Description", "Observation type", "Source",
    "Time offset (s)", "Media duration (s)", "FPS (frame/s)", "Subject", "Behavior",
    "Behavioral category", "Behavior type", "Start (s)", "Stop (s)", "Duration (s)",
    "Media file name", "Image index start", "Image index stop", "Comment start", "Comment stop",
)  # fmt: skip


class Labelled(NamedTuple):
    """A recording with its events.

    Attributes:
        path: as it was given or found.
        events: by start.
        seconds: of the recording.
        fps: frames per second, on average.
    """

    path: str
    events: Sequence[Event]
    seconds: float
    fps: float


@dataclass(frozen=True)
class Format:
    """How events are written.

    Attributes:
        text: of a recording.
        header: of the file, given the classes.
        between: two recordings that have a text.
        footer: of the file.
        suffix: the ending of a file; of one file per recording in a folder where `per_recording`.
        per_recording: whether each recording has a file of its own.
    """

    text: Callable[[Labelled], str]
    header: Callable[[Sequence[str]], str] = lambda classes: ""
    between: str = ""
    footer: str = ""
    suffix: str = ""
    per_recording: bool = False


def choose(path: Path, name: str = "") -> Format:
    """The format of a name, or of a file's ending.

    Raises:
        UserError: no format has this ending, and none is named.
    """
    if name:
        return FORMATS[name]
    ending = path.suffix.lower()
    for form in FORMATS.values():
        if form.suffix == ending and not form.per_recording:
            return form
    raise UserError(
        f"--events={path}: end the name in .csv, .json, .jsonl or .boris, or add --events-format="
        f"{'|'.join(FORMATS)}"
    )


def rows(recording: Labelled) -> Iterable[dict[str, Any]]:
    """The columns of each event: seconds to the millisecond."""
    for event in recording.events:
        yield {
            "path": recording.path,
            "start": round(event.start, 3),
            "end": round(event.end, 3),
            "label": event.label,
            "probability": round(event.probability, 6),
        }


def csv_text(recording: Labelled) -> str:
    return "".join(csv_line(row.values()) for row in rows(recording))


def jsonl_text(recording: Labelled) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows(recording))


def json_text(recording: Labelled) -> str:
    return ",\n".join(json.dumps(row) for row in rows(recording))


def boris_table(recording: Labelled) -> str:
    """A row per state event, with the columns of BORIS's export of aggregated events."""
    date = written_at(recording.path)
    text = ""
    for row in rows(recording):
        start, end = row["start"], row["end"]
        comment = f"probability {row['probability']:.3f}"
        cells = (
            recording.path, date, "", "Media file(s)", f"player #1:{recording.path}", "0",
            f"{recording.seconds:.3f}", f"{recording.fps:.3f}", "No focal subject", row["label"],
            "", "STATE", f"{start:.3f}", f"{end:.3f}", f"{end - start:.3f}", recording.path,
            str(round(start * recording.fps)), str(round(end * recording.fps)), comment, "",
        )  # fmt: skip
        text += tab_line(cells)
    return text


def boris_header(classes: Sequence[str]) -> str:
    """A BORIS project up to its observations: each class is a state event."""
    behaviours = {
        str(k): {
            "type": "State event", "key": KEYS[k] if k < len(KEYS) else "", "code": name,
            "description": "", "category": "", "modifiers": "", "excluded": "", "coding map": "",
        }
        for k, name in enumerate(classes)
    }  # fmt: skip
    project = {
        "time_format": "hh:mm:ss",
        "project_date": f"{datetime.now():%Y-%m-%dT%H:%M:%S}",
        "project_name": "vid3d",
        "project_description": "events that vid3d predict has found",
        "project_format_version": "7.0",
        "subjects_conf": {},
        "behaviors_conf": behaviours,
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    return json.dumps(project, indent=1).removesuffix("\n}") + ',\n "observations": {\n'


def boris_observation(recording: Labelled) -> str:
    """An observation of a BORIS project, named after the file: a start and a stop per event."""
    path = os.path.abspath(recording.path)
    marks = []
    for row in rows(recording):
        comment = f"probability {row['probability']:.3f}"
        marks.append([row["start"], "", row["label"], "", comment])
        marks.append([row["end"], "", row["label"], "", ""])
    found = {
        "file": {"1": [path], **{str(k): [] for k in range(2, 9)}},
        "type": "MEDIA",
        "date": written_at(recording.path),
        "description": "",
        "time offset": 0.0,
        "events": sorted(marks, key=lambda mark: mark[0]),
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "close_behaviors_between_videos": False,
        "media_info": {
            "length": {path: round(recording.seconds, 3)},
            "fps": {path: round(recording.fps, 3)},
            "hasVideo": {path: True},
            "hasAudio": {path: False},
            "offset": {"1": 0.0},
        },
    }
    return f"  {json.dumps(recording.path)}: {json.dumps(found)}"


def written_at(path: str) -> str:
    """When a file was written, which stands in for the date of an observation."""
    try:
        written = datetime.fromtimestamp(os.stat(path).st_mtime)
    except OSError:
        written = datetime.now()
    return f"{written:%Y-%m-%dT%H:%M:%S}"


def elan_text(recording: Labelled) -> str:
    """A row per event, as ELAN exports and imports them: tier, begin, end, duration, annotation.

    Each label is a tier, as annotations of one tier cannot overlap.
    """
    return "".join(
        tab_line(
            (
                row["label"],
                f"{row['start']:.3f}",
                f"{row['end']:.3f}",
                f"{row['end'] - row['start']:.3f}",
                f"{row['label']} {row['probability']:.3f}",
            )
        )
        for row in rows(recording)
    )


def srt_text(recording: Labelled) -> str:
    """Subtitles."""
    return "".join(
        f"{number}\n{srt_time(row['start'])} --> {srt_time(row['end'])}\n"
        f"{one_line(row['label'])} {row['probability']:.2f}\n\n"
        for number, row in enumerate(rows(recording), 1)
    )


def srt_time(seconds: float) -> str:
    """Such as 01:02:03,400."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"


def tab_line(cells: Iterable[str]) -> str:
    """A row of a tab-delimited table, which has no way to quote."""
    return "\t".join(one_line(cell) for cell in cells) + "\n"


def one_line(text: str) -> str:
    """Text without tabs and line breaks."""
    return " ".join(text.split())


FORMATS: dict[str, Format] = {
    "csv": Format(csv_text, header=lambda classes: csv_line(COLUMNS), suffix=".csv"),
    "json": Format(
        json_text, header=lambda classes: "[\n", between=",\n", footer="\n]\n", suffix=".json"
    ),
    "jsonl": Format(jsonl_text, suffix=".jsonl"),
    "boris": Format(
        boris_observation, header=boris_header, between=",\n", footer="\n }\n}\n", suffix=".boris"
    ),
    "boris-table": Format(
        boris_table, header=lambda classes: tab_line(BORIS_COLUMNS), suffix=".tsv"
    ),
    "elan": Format(elan_text, suffix=".txt", per_recording=True),
    "srt": Format(srt_text, suffix=".srt", per_recording=True),
}

"""Judges a file of events against the truth, without a network: of vid3d, or of another program."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vid3d import config as configs, storage
from vid3d.datasets.stretches import read_lengths
from vid3d.errors import UserError
from vid3d.evaluation import events, time_lines
from vid3d.evaluation.truth import Truth, absolute, read_truth
from vid3d.video.timeline import UNKNOWN


def judge(
    truth_file: str | Path, predicted_file: str | Path, output: str | Path = ""
) -> tuple[dict[str, Any], Path | None]:
    """Judges all recordings of the truth; one without a predicted event has none.

    A recording is as long as `FILE.csv.videos.csv` beside the predictions says, which `predict`
    writes, or the header of its video, or else until its last event.

    Args:
        truth_file: see `read_truth`.
        predicted_file: with the same columns and, optionally, `probability`.
        output: a folder for figures, events and pictures; "" writes none.

    Returns:
        What `metrics.json` holds, and the folder.

    Raises:
        UserError: a file cannot be read or has a wrong line; no recording is in both; an event is
            beyond the end of its recording.
    """
    truth = read_truth(truth_file)
    predicted = read_truth(predicted_file, option="--predicted", with_probabilities=True)
    if predicted.events and not truth.events.keys() & predicted.events.keys():
        raise UserError(
            f"--predicted={predicted_file} names none of the recordings of {truth_file}, such as "
            f"{next(iter(truth.events))}: paths are relative to the folder of their file"
        )
    lengths, notes = find_lengths(truth, predicted)
    judged = [
        events.Recording(
            path=path,
            source=truth.sources[path],
            seconds=seconds,
            truth=truth.of(path, seconds),
            found=[e for e in predicted.of(path, seconds) if e.label != UNKNOWN],
        )
        for path, seconds in lengths.items()
    ]
    labels = sorted({event.label for one in judged for event in (*one.truth, *one.found)})
    others = predicted.events.keys() - truth.events.keys()
    if others:
        notes.append(f"{len(others)} recordings of {predicted_file} are not in the truth")
    figures = {
        "truth": str(truth_file),
        "predicted": str(predicted_file),
        **events.summarise(judged, labels),
        "notes": notes,
    }
    if not output:
        return figures, None
    folder = storage.require_local(output, "--output")
    storage.make_folder(folder)
    time_lines.write(folder, figures, judged, labels)
    return figures, folder


def find_lengths(truth: Truth, predicted: Truth) -> tuple[dict[str, float], list[str]]:
    """Path -> seconds of every recording of the truth, and notes."""
    lengths = listed_lengths(predicted.file)
    unknown = [path for path in truth.events if path not in lengths and Path(path).exists()]
    looked = read_lengths(Path("/"), unknown, configs.default().data) if unknown else {}
    lengths |= {path: found.seconds for path, found in looked.items() if found.seconds}
    guessed = [path for path in truth.events if path not in lengths]
    for path in guessed:
        ends = [e.end for side in (truth, predicted) for e in side.events.get(path, ())]
        lengths[path] = max(ends, default=0.0)
    found = {path: lengths[path] for path in truth.events}
    if not guessed:
        return found, []
    return found, [
        f"{len(guessed)} recordings, such as {guessed[0]}, are not there: they are taken to end "
        "with their last event"
    ]


def listed_lengths(predicted: Path) -> dict[str, float]:
    """Path -> seconds by the list of recordings beside a file of events."""
    listed = predicted.with_name(f"{predicted.name}.videos.csv")
    if not listed.exists():
        return {}
    rows: Iterable[dict[str, str]] = storage.read_csv(listed, ("path", "seconds"))
    return {absolute(row["path"]): float(row["seconds"]) for row in rows if row["seconds"]}

"""How the events of a workdir's network are decoded, chosen on recordings: its `events.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d import storage
from vid3d.checkpoint import Address, Workdir
from vid3d.config import apply, flatten
from vid3d.errors import UserError
from vid3d.inference.classifier import Classifier
from vid3d.text import first_few

KEYS = ("step", "settings", "measure", "score", "recordings")


def values(config: ConfigDict) -> dict[str, Any]:
    """All that events depend on besides the probabilities of windows, and the windows, by key."""
    return {key: value for key, value in flatten(config).items() if key.startswith("predict.")}


def save(
    workdir: Address,
    classifier: Classifier,
    *,
    measure: str,
    score: float,
    recordings: Sequence[tuple[str, str]],
    step_seconds: float = 0.0,
    absent: Sequence[str] = (),
) -> Path:
    """Writes the decoder that a classifier's config has.

    Args:
        workdir: of the network.
        classifier: with the chosen values in its config.
        measure: that they were chosen by.
        score: that they reached.
        recordings: path and sha256 of each that they were chosen on.
        step_seconds: from one window to the next there; 0 if unknown.
        absent: classes that count as events, of which these recordings have none.
    """
    content = {
        "step": classifier.step,
        "settings": values(classifier.config),
        "measure": measure,
        "score": score,
        "recordings": [{"path": path, "sha256": sha256} for path, sha256 in recordings],
        "step_seconds": step_seconds,
        "absent": list(absent),
    }
    path = Workdir(workdir).events_file
    storage.write_whole(path, json.dumps(content, indent=2) + "\n")
    return path


def read(workdir: Address) -> dict[str, Any] | None:
    """What `save` wrote; None where nothing was chosen.

    Raises:
        UserError: the file is damaged.
    """
    path = Workdir(workdir).events_file
    if not path.exists():
        return None
    try:
        content = json.loads(storage.read_text(path))
        if not isinstance(content, dict) or not all(key in content for key in KEYS):
            raise ValueError
    except ValueError:
        raise UserError(
            f"{path} is damaged: choose again with vid3d evaluate --choose, or remove it"
        ) from None
    return content


def counts_for(classifier: Classifier, workdir: Address) -> bool:
    """Whether something was chosen for this checkpoint; raises a UserError as `read` does."""
    content = read(workdir)
    return content is not None and content["step"] == classifier.step


def step_seconds(classifier: Classifier, workdir: Address) -> float:
    """Seconds between the windows that the decoder was chosen on; 0 where none was, or unknown."""
    content = read(workdir)
    if content is None or content["step"] != classifier.step:
        return 0.0
    return float(content.get("step_seconds", 0.0))  # older files lack it


def how_to_silence(labels: Sequence[str]) -> str:
    """What to do about classes that may stand for no event."""
    named = ",".join(labels)
    return (
        "where a class stands for no event, such as pauses, name it, as in "
        f"--config.predict.events.background={named}"
    )


def apply_to(classifier: Classifier, workdir: Address) -> list[str]:
    """Sets a classifier's config to what was chosen; returns sentences that say so.

    Raises:
        UserError: the file is damaged, or has a key that this version lacks.
    """
    content = read(workdir)
    if content is None:
        return []
    where = Workdir(workdir).events_file
    if content["step"] != classifier.step:
        return [
            f"{where} was chosen for the checkpoint of step {content['step']}, and does not count "
            f"for that of step {classifier.step}"
        ]
    for key, value in content["settings"].items():
        apply(classifier.config, key, tuple(value) if isinstance(value, list) else value)
    count = len(content["recordings"])
    absent = content.get("absent", [])  # older files lack it
    return [
        f"events are decoded as chosen on {count} recording{'s' * (count != 1)} "
        f"({content['measure']} {content['score']:.3f}): {in_words(content['settings'])} ({where})"
    ] + [
        f"no event of {first_few(absent)} was there when this was chosen: "
        f"{how_to_silence(absent)}, and choose again"
    ] * bool(absent)


def in_words(settings: Mapping[str, Any]) -> str:
    """Such as "smoothing=0.5, shortest=1.2", the values that are not 0 or empty."""
    said = [
        f"{key.rpartition('.')[2]}={value if not isinstance(value, (list, tuple)) else list(value)}"
        for key, value in settings.items()
        if value and key != "predict.events.nms"
    ]
    return ", ".join(said)

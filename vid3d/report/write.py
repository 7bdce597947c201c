"""`vid3d report`: from a workdir to a page that can be mailed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vid3d import checkpoint as checkpoints, storage
from vid3d.checkpoint import Address, Workdir
from vid3d.config import from_json
from vid3d.data import prepare
from vid3d.data.pipeline import Clips
from vid3d.data.prepared import Prepared
from vid3d.errors import UserError
from vid3d.evaluation import evaluate
from vid3d.evaluation.restored import without_weights
from vid3d.report import answers as read_answers, page, strips
from vid3d.report.answers import Answers
from vid3d.report.choose import choose
from vid3d.schema import RESULT_FREE

NAME = "report.html"
STRIP_BYTES = 4_500_000  # of all clips, so that a page has at most 8 MB


def report(
    workdir: Address,
    *,
    checkpoint: str = "best",
    split: str = "test",
    overrides: Sequence[tuple[str, str]] = (),
    output: str = "",
) -> Path:
    """Writes the page of an evaluation, which is made first where there is none.

    Args:
        workdir: of the training run.
        checkpoint: "best", "latest" or a step.
        split: "test", "val" or "train".
        overrides: (key, text) pairs, such as ("data.root", "/elsewhere").
        output: the file; by default report.html in the folder of the evaluation.

    Returns:
        The file.

    Raises:
        UserError: see `evaluate.evaluate`; or the output cannot be written.
    """
    workdir = Workdir(workdir)
    check_output(output)
    folder = find(workdir, checkpoint, split, overrides)
    if folder is None:
        _, folder = evaluate.evaluate(
            workdir, checkpoint=checkpoint, split=split, overrides=overrides
        )
    return write(workdir, folder, checkpoint=checkpoint, split=split, overrides=overrides,
                 output=output)  # fmt: skip


def check_output(output: str) -> None:
    """Raises a UserError for an output that cannot be a page, before anything is computed."""
    if not output:
        return
    path = storage.as_path(output)
    if path.suffix not in (".html", ".htm"):
        raise UserError(f"--output={output}: the name of a page ends in .html")
    if not path.parent.is_dir():
        raise UserError(f"--output={output}: there is no folder {path.parent}")


def find(
    workdir: Workdir, checkpoint: str, split: str, overrides: Sequence[tuple[str, str]]
) -> Path | None:
    """The folder of the evaluation of this checkpoint; None where there is none or an older one."""
    step = checkpoints.resolve(workdir, checkpoint)
    if any(key not in RESULT_FREE for key, _ in overrides):
        return None
    folder = workdir.evaluation_folder(f"{split}-{checkpoint}")
    try:
        figures = read_answers.read(folder, workdir).figures
    except UserError:
        return None
    is_current = figures["step"] == step and "temperature" in figures.get("calibration", {})
    return folder if is_current else None


def write(
    workdir: Workdir,
    folder: Path,
    *,
    checkpoint: str,
    split: str,
    overrides: Sequence[tuple[str, str]] = (),
    data: str | None = None,
    output: str = "",
) -> Path:
    """Writes the page of the evaluation in a folder; see `report`.

    Args:
        workdir: of the training run.
        folder: of the evaluation.
        checkpoint: that was evaluated, as are split, overrides and data: see `evaluate.evaluate`.
        split: see checkpoint.
        overrides: see checkpoint.
        data: see checkpoint.
        output: see `report`.
    """
    answers = read_answers.read(folder, workdir)
    chosen = choose(answers)
    prepared, moving, missing = None, {}, ""
    try:
        prepared, clips = find_clips(workdir, checkpoint, split, overrides, data)
        moving = strips_of(answers, clips, chosen.moving)
        if not moving:
            missing = "the videos are not those that were evaluated"
    except (UserError, OSError) as error:
        missing = " ".join(str(error).split())
    config = from_json(json.dumps(workdir.meta(answers.figures["step"])["config"]))
    text = page.build(page.Content(workdir, answers, config, chosen, moving, prepared, missing))
    path = storage.as_path(output) if output else folder / NAME
    storage.write_whole(path, text)
    return path


def find_clips(
    workdir: Workdir,
    checkpoint: str,
    split: str,
    overrides: Sequence[tuple[str, str]],
    data: str | None,
) -> tuple[Prepared, Clips]:
    """The prepared videos of an evaluation, and the clips of its split.

    Raises:
        UserError: they are gone, or not those of the training run.
    """
    restored = without_weights(workdir, checkpoint, overrides, data)
    index = evaluate.find_videos(restored)
    prepared = prepare.prepare(restored.config, index=index, quiet=True)
    clips = evaluate.find_clips(restored, prepared, split if data is None else "test")
    return prepared, clips


def strips_of(answers: Answers, clips: Clips, videos: Sequence[int]) -> dict[int, str]:
    """Moving pictures of videos of an evaluation, by their position in it."""
    place_of = {video.name: place for place, video in enumerate(clips.videos)}
    known = [video for video in videos if answers.names[video] in place_of]
    places = {place_of[answers.names[video]]: video for video in known}
    made = strips.make(clips, list(places), most_bytes=STRIP_BYTES)
    return {places[place]: uri for place, uri in made.items()}

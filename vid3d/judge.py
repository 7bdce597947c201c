"""Recordings, labelled as `predict --events` does, against their truth; chooses the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d import storage
from vid3d.checkpoint import Address, Workdir
from vid3d.config import apply, validate
from vid3d.data.content import Seen
from vid3d.errors import UserError
from vid3d.evaluation import events, familiar, own_truth, sets, time_lines
from vid3d.evaluation.time_lines import Windows
from vid3d.evaluation.truth import Truth, absolute, read_truth
from vid3d.inference import chosen, predict
from vid3d.inference.recordings import label_recordings
from vid3d.terminal import VideoProgress, make_console
from vid3d.text import first_few
from vid3d.video.timeline import Settings


def evaluate_events(
    workdir: Address,
    truth_file: str | Path,
    videos: Sequence[str | Path] = (),
    *,
    checkpoint: str = "best",
    overrides: Sequence[tuple[str, str]] = (),
    choose: bool = False,
) -> tuple[dict[str, Any], Path]:
    """Judges the time lines of recordings; writes figures, events and pictures into the workdir.

    Args:
        workdir: of the training run.
        truth_file: see `read_truth`; or "val" or "test", the training run's own recordings.
        videos: files and folders; by default those that the truth names.
        checkpoint: "best", "latest" or a step.
        overrides: (key, text) pairs, of the keys that `predict` takes; for own recordings also
            those of `config.data` that say where they are.
        choose: first chooses how events are decoded, by these recordings, and keeps that in the
            workdir for `predict --events`, `live --events` and later evaluations.

    Returns:
        What `metrics.json` holds, and the folder it was written to.

    Raises:
        UserError: no such checkpoint, a recording that cannot be read, that the truth does not name
            or that was in the training; a line of the truth is wrong.
    """
    own: Truth | None = None
    if truth_file in own_truth.SPLITS:
        places = [(key, text) for key, text in overrides if key.startswith("data.")]
        overrides = [(k, t) for k, t in overrides if (k, t) not in places or k in predict.OVERRIDES]
        own = own_truth.truth_of(workdir, str(truth_file), checkpoint, places)
    named = [] if videos else list((own or read_truth(truth_file)).events)
    labelling = predict.prepare(
        Workdir(workdir).path,
        [*videos, *named],
        checkpoint=checkpoint,
        overrides=overrides,
        events=True,
        anew=choose,
    )
    classifier, found = labelling.classifier, labelling.found
    settings = Settings.of(classifier.config.predict)
    truth = (
        own.without(settings.background)
        if own
        else read_truth(truth_file, classifier.classes, ignore=settings.background)
    )
    if found.empty:
        raise UserError(next(iter(found.empty.values())))
    truth.check_videos(found.videos)
    truth = familiar.with_sources(truth, classifier.config.data.group_pattern)
    recordings = label(labelling)
    check_unseen(workdir, classifier.step, recordings)
    absent = absent_labels(truth, classifier.classes, settings)
    notes = heard(found.notes, classifier.config, truth, absent)
    notes += familiar.source_notes(Workdir(workdir), truth, recordings)
    if not choose:
        notes += familiar.validation_notes(Workdir(workdir).meta(classifier.step), recordings)
    if choose:
        settings, reached = time_lines.choose(recordings, truth, classifier.classes, settings)
        keep(labelling, settings)
        listed = [(one.path, one.sha256) for one in recordings]
        chosen.save(
            workdir, classifier, measure=time_lines.MEASURE, score=reached, recordings=listed,
            step_seconds=time_lines.median_step(recordings), absent=absent,
        )  # fmt: skip
        notes += chosen.apply_to(classifier, workdir)
    notes += chosen_by(workdir, classifier.step, recordings)
    name = f"events-{truth_file}" if own else set_name(truth)
    folder = Workdir(workdir).evaluation_folder(f"{name}-{checkpoint}")
    return judge(labelling, recordings, truth, checkpoint, notes, folder), folder


def set_name(truth: Truth) -> str:
    """The name of the folder for a truth, but for the checkpoint."""
    return sets.set_name(str(truth.file)).replace("data-", "events-", 1)


def label(labelling: predict.Labelling) -> list[Windows]:
    """The windows of all recordings.

    Raises:
        UserError: one cannot be read.
    """
    recordings = []
    paths = list(labelling.found.videos)
    with VideoProgress(
        len(paths), make_console(), doing="labelling", line_seconds=predict.LINE_SECONDS
    ) as progress:
        for path, video in label_recordings(labelling.classifier, paths):
            if isinstance(video, UserError):
                raise video
            bounds, probabilities_NK = video.windows()
            recordings.append(Windows(path, video.seconds, bounds, probabilities_NK, video.sha256))
            progress.advance(bad=False)
    return recordings


def check_unseen(workdir: Address, step: int, recordings: Sequence[Windows]) -> None:
    """Raises a UserError where a recording, or a stretch of it, was in the training."""
    trained = Seen(Workdir(workdir).meta(step)["training_videos"].values())
    seen = [one.path for one in recordings if one.sha256 in trained]
    if seen:
        raise UserError(
            f"{len(seen)} of {len(recordings)} recordings were in the training of this checkpoint, "
            f"such as {seen[0]}: a number on them means nothing"
        )


def absent_labels(truth: Truth, classes: Sequence[str], settings: Settings) -> list[str]:
    """The classes that are decoded as events, and that no line of the truth names."""
    named = {event.label for own in truth.events.values() for event in own}
    return [name for name in time_lines.judged_labels(classes, settings) if name not in named]


def heard(
    notes: Sequence[str], config: ConfigDict, truth: Truth, absent: Sequence[str]
) -> list[str]:
    """Notes on recordings and, in place of the one on pauses, the classes without a true event."""
    if not absent:
        return list(notes)
    silence = predict.silence_note(config)
    return [
        *(note for note in notes if note not in silence),
        f"{truth.file} has no event of {first_few(absent)}, so that each one found is wrong: "
        f"{chosen.how_to_silence(absent)}",
    ]


def chosen_by(workdir: Address, step: int, recordings: Sequence[Windows]) -> list[str]:
    """Says how many of the recordings chose the decoder."""
    content = chosen.read(workdir)
    if not content or content["step"] != step:
        return []
    before = {one["sha256"] for one in content["recordings"]}
    count = sum(one.sha256 in before for one in recordings)
    if not count:
        return []
    return [f"{count} of these recordings chose the decoder: figures on others will be lower"]


def keep(labelling: predict.Labelling, settings: Settings) -> None:
    """Sets the config of a classifier to settings of the decoder."""
    config = labelling.classifier.config
    for name, value in asdict(settings).items():
        shared = name in ("smoothing", "threshold")
        apply(config, f"predict.{name}" if shared else f"predict.events.{name}", value)
    validate(config)


def not_judged(truth: Truth, recordings: Sequence[Windows]) -> list[str]:
    """Says how many recordings of the truth are left out."""
    left = set(truth.events) - {absolute(one.path) for one in recordings}
    return [f"{len(left)} recordings of {truth.file} are not judged"] if left else []


def judge(
    labelling: predict.Labelling,
    recordings: Sequence[Windows],
    truth: Truth,
    checkpoint: str,
    notes: Sequence[str],
    folder: Path,
) -> dict[str, Any]:
    """Computes the figures and writes the files."""
    classifier = labelling.classifier
    config = classifier.config
    settings = replace(Settings.of(config.predict), unknown=False)
    judged = time_lines.decoded(recordings, truth, classifier.classes, settings)
    labels = time_lines.judged_labels(classifier.classes, settings)
    figures = {
        "truth": str(truth.file),
        "checkpoint": checkpoint,
        "step": classifier.step,
        "decoder": chosen.values(config),
        **events.summarise(judged, labels),
        "notes": [*notes, *not_judged(truth, recordings)],
    }
    storage.make_folder(folder)
    with storage.folder_lock(folder.parent):
        time_lines.write(folder, figures, judged, labels)
    return figures

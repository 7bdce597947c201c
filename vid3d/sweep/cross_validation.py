"""Cross-validation: every fold is tested once per seed, by a run that has seen none of it."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d import config as configs, schema, storage
from vid3d.checkpoint import Workdir
from vid3d.datasets import index as data_index, manifest
from vid3d.datasets.videos import row_name
from vid3d.errors import UserError
from vid3d.evaluation import metrics, runs
from vid3d.evaluation.evaluate import evaluate
from vid3d.sweep import launch, plan
from vid3d.sweep.table import State, Status
from vid3d.text import shorten

FOLDS = 5  # where neither the caller nor a manifest says how many
OWN_KEYS = ("data.folds", "data.test_fold", "data.val_fold")  # which it sets itself


@dataclass(frozen=True)
class FoldRun:
    """A run: what is left out of its training, and where it is."""

    seed: int
    fold: int
    workdir: Workdir


@dataclass(frozen=True)
class CrossValidation:
    """What has come of the runs.

    Attributes:
        statuses: of the runs.
        figures: what cv.json holds; None until all runs are finished.
        written: files.
    """

    statuses: list[Status]
    figures: dict[str, Any] | None = None
    written: Sequence[Path] = ()


def cross_validate(
    spec: str,
    workdir: str | Path,
    overrides: Iterable[tuple[str, str]] = (),
    *,
    folds: int = 0,
    seeds: int = 1,
    engine: launch.Engine = launch.LOCAL,
) -> CrossValidation:
    """Trains and tests each fold with each seed in `workdir/seedS-foldF`, as far as that is left.

    Once all are tested, it writes cv.json, and predictions.csv with every answer, into `workdir`.

    Args:
        spec: see `config.load`.
        workdir: the folder of the runs.
        overrides: (key, text) pairs for all runs.
        folds: drawn with whole sources and about the same share of each class; 0 takes the folds of
            the manifest, or draws 5.
        seeds: repeats, with the seeds `config.seed`, `config.seed + 1`, ...; the folds stay.
        engine: where the runs are trained, and how many at a time.

    Raises:
        UserError: before the first run starts: videos that do not fill the folds, a folder that
            belongs to something else, too few devices.
    """
    folder = storage.as_path(workdir)
    planned = plan_runs(spec, overrides, folds=folds, seeds=seeds)
    statuses = launch.look(planned, folder)
    launch.train_all(statuses, engine)
    if any(status.state is not State.FINISHED for status in statuses):
        return CrossValidation(statuses)
    for status in statuses:
        if not runs.is_tested(Workdir(status.workdir)):
            test(status)
    tested = [
        FoldRun(s.run.config.seed, s.run.config.data.test_fold, Workdir(s.workdir))
        for s in statuses
    ]
    answers = [answer for run in tested for answer in read_answers(run)]
    check_answers(answers)
    figures = summarise(tested, answers)
    return CrossValidation(statuses, figures, write(folder, figures, answers))


def plan_runs(
    spec: str, overrides: Iterable[tuple[str, str]], *, folds: int, seeds: int
) -> list[plan.PlannedRun]:
    """One run per seed and fold, checked against the videos.

    Raises:
        UserError: too few seeds or folds, or videos that do not fill them.
    """
    overrides = list(overrides)
    for key, text in overrides:
        if key in OWN_KEYS:
            raise UserError(f"each fold is tested once: leave out --config.{key}={text}")
    if seeds < 1:
        raise UserError(f"--seeds={seeds} has to be at least 1")
    if folds and folds < 2:
        raise UserError(f"--folds={folds} has to be at least 2")
    base = configs.load(spec, overrides)
    given = [] if folds else given_folds(base)
    count = 0 if given else folds or FOLDS
    numbers = given or list(range(count))
    if len(numbers) < 2:
        raise UserError(f"the manifest has one fold: draw others with --folds={FOLDS}")
    found = []
    for seed in range(base.seed, base.seed + seeds):
        for place, fold in enumerate(numbers):
            after = given[(place + 1) % len(given)] if len(given) > 2 else -1
            chosen = {
                "data.folds": count,
                "data.test_fold": fold,
                "data.val_fold": after,
                "seed": seed,
            }
            config = plan.configure(base, chosen)
            if seed == base.seed:
                data_index.find(config.data, seed)
            found.append(plan.PlannedRun(f"seed{seed}-fold{fold}", chosen, config))
    return found


def given_folds(config: ConfigDict) -> list[int]:
    """The folds of the manifest, ascending; none where the videos have no folds, or others draw."""
    if config.data.protocol in ("random", "grouped"):
        return []
    listing = data_index.list_videos(config.data, config.seed, tuple(config.data.classes))
    if not any(video.fold for video in listing.videos):
        return []
    return sorted(set(manifest.fold_numbers(listing.videos).values()))


def test(status: Status) -> None:
    """Tests a run, with the videos where they are now.

    Raises:
        UserError: they are not those of the run's test fold any more.
    """
    values = configs.flatten(status.run.config)
    overrides = [
        (key, plan.text(values[key])) for key in schema.EVALUATION if key in schema.RESULT_FREE
    ]
    figures, _ = evaluate(status.workdir, overrides=overrides)
    if figures["overrides"]:
        raise UserError(f"{status.workdir}: {' '.join(figures['notes'])}; take a new --workdir")


def read_answers(run: FoldRun) -> list[dict[str, Any]]:
    """The rows of a run's predictions.csv, with its seed and fold and each video's source."""
    path = run.workdir.evaluation_folder("test-best") / "predictions.csv"
    listed = {row_name(row): row for row in run.workdir.videos()}
    rows = csv.DictReader(io.StringIO(storage.read_text(path), newline=""))
    return [
        {
            "seed": run.seed,
            "fold": run.fold,
            "path": row["path"],
            "sha256": listed[row_name(row)]["sha256"],
            "group": listed[row_name(row)]["group"] or row_name(row),
        }
        | {key: value for key, value in row.items() if key != "path"}
        for row in rows
    ]


def check_answers(answers: Sequence[dict[str, Any]]) -> None:
    """Checks that each seed tests each video once, and all of them the same ones.

    Raises:
        UserError: the videos have changed between the runs.
    """
    folds_of: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for answer in answers:
        folds_of[row_name(answer)][answer["seed"]].append(answer["fold"])
    seeds = {answer["seed"] for answer in answers}
    for name, tested in folds_of.items():
        if set(tested) != seeds or any(len(folds) > 1 for folds in tested.values()):
            raise UserError(
                f"{shorten(name)} was not tested exactly once per seed: the videos have changed "
                "between the runs; take a new --workdir"
            )


def summarise(tested: Sequence[FoldRun], answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What cv.json holds; the accuracy is the share of right answers over all videos and seeds.

    Its interval is over the sources, see `metrics.group_interval`: of a video, the share of the
    seeds that are right counts.
    """
    right: dict[tuple[str, str], list[bool]] = defaultdict(list)
    by_seed: dict[int, list[bool]] = defaultdict(list)
    group_of, label_of = {}, {}
    for answer in answers:
        video = row_name(answer), answer["sha256"]  # the embedded data set differs between seeds
        is_right = answer["true"] == answer["predicted"]
        right[video].append(is_right)
        by_seed[answer["seed"]].append(is_right)
        group_of[video], label_of[video] = answer["group"], answer["true"]
    shares = [statistics.fmean(found) for found in right.values()]
    per_seed = {seed: statistics.fmean(found) for seed, found in by_seed.items()}
    labels = Counter(label_of.values())
    rows = [fold_row(run) for run in tested]
    tests = [runs.read_test(run.workdir) or {} for run in tested]
    return {
        "accuracy": statistics.fmean(shares),
        "interval": list(metrics.group_interval(shares, [group_of[video] for video in right])),
        "num_videos": len(right),
        "num_sources": len(set(group_of.values())),
        "accuracy_per_seed": {str(seed): accuracy for seed, accuracy in per_seed.items()},
        "seed_deviation": statistics.stdev(per_seed.values()) if len(per_seed) > 1 else None,
        "majority": labels.most_common(1)[0][1] / len(right),
        "per_class": {
            label: {
                "accuracy": statistics.fmean(
                    share for share, video in zip(shares, right, strict=True)
                    if label_of[video] == label
                ),
                "count": count,
            }
            for label, count in sorted(labels.items())
        },
        "protocol": tests[0]["protocol"].partition(", test fold")[0],
        "runs": rows,
        "notes": sorted({note for test in tests for note in test["notes"]}),
    }  # fmt: skip


def fold_row(run: FoldRun) -> dict[str, Any]:
    """The figures of one run."""
    test = runs.read_test(run.workdir)
    assert test is not None  # it was tested
    validated = [row["val/accuracy"] for row in run.workdir.rows() if "val/accuracy" in row]
    return {
        "seed": run.seed,
        "fold": run.fold,
        "accuracy": test["accuracy"],
        "val_accuracy": max(validated, default=None),
        "num_videos": test["num_videos"],
        "num_sources": test["num_groups"],
        "step": test["step"],
        "workdir": str(run.workdir),
    }


def write(folder: Path, figures: dict[str, Any], answers: Sequence[dict[str, Any]]) -> list[Path]:
    """Writes cv.json and predictions.csv, each whole or not at all; returns their paths."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(answers[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(answers)
    content = {
        "predictions.csv": text.getvalue(),
        "cv.json": json.dumps(figures, indent=2) + "\n",
    }
    for name, whole in content.items():
        storage.write_whole(folder / name, whole)
    return [folder / name for name in content]

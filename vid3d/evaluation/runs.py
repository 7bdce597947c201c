"""What the workdirs of several runs say: configs, curves, costs and answers on test videos."""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d import checkpoint, config as configs, schema, storage
from vid3d.checkpoint import Address, Workdir
from vid3d.checkpoint.rows import chosen_row
from vid3d.datasets.videos import ALL_COLUMNS, row_name
from vid3d.errors import UserError
from vid3d.evaluation import evaluate
from vid3d.models.summary import summarise
from vid3d.text import first_few

ANSWERS = ("path", "true", "predicted")  # of predictions.csv


@dataclass(frozen=True)
class ComparedRun:
    """One workdir.

    Attributes:
        name: distinct among the runs that are compared.
        workdir: its folder.
        config: the whole config.
        curve: the rows of metrics.jsonl.
        saved: the validation accuracies that the checkpoints have, from the oldest on.
        parameters: trainable numbers; None before the first checkpoint.
        flops: of one clip, two a multiply-add; None likewise.
        clips_per_second: of the training, the median of its evaluations' intervals; None where it
            has none.
        test: evaluation/test-best/metrics.json, or None where the best checkpoint was not tested.
        answers: (name, sha256) of each test video -> (true class, predicted class).
        groups: name of each video -> its source group, or its name where that is unknown.
        videos: (sha256, label) of each video, sorted; empty for the embedded data set, which the
            config describes, and before the first step.
    """

    name: str
    workdir: Workdir
    config: ConfigDict
    curve: list[dict[str, Any]]
    saved: list[float]
    parameters: int | None
    flops: int | None
    clips_per_second: float | None
    test: dict[str, Any] | None
    answers: dict[tuple[str, str], tuple[str, str]]
    groups: dict[str, str]
    videos: tuple[tuple[str, str], ...]

    @property
    def val_accuracy(self) -> float | None:
        """The validation accuracy of the chosen checkpoint; None without an evaluation."""
        choose = self.config.checkpoint.choose
        if choose == "last" and self.saved:
            return self.saved[-1]
        row = chosen_row(self.curve, choose)
        return max([*([row["val/accuracy"]] if row else []), *self.saved], default=None)


def find_workdirs(folders: Sequence[str]) -> list[Workdir]:
    """The workdirs among these folders and directly below them, each once.

    Raises:
        UserError: there is none in one of the folders.
    """
    found: dict[Path, Workdir] = {}
    for folder in map(storage.as_path, folders):
        if not folder.is_dir():
            raise UserError(f"no folder {folder}")
        inside = [Workdir(folder)]
        if not inside[0].config_file.is_file():
            inside = [Workdir(path) for path in sorted(folder.iterdir(), key=natural)]
        workdirs = [workdir for workdir in inside if workdir.config_file.is_file()]
        if not workdirs:
            raise UserError(
                f"{folder} is not a workdir, and not a folder of workdirs: config.json is missing"
            )
        found |= {canonical(workdir.path): workdir for workdir in workdirs}
        started = [w.path.name for w in inside if w not in workdirs and w.log_file.is_file()]
        if started:
            print(
                f"warning: runs of {folder} without a config.json are left out: "
                f"{first_few(started)}",
                file=sys.stderr,
            )
    return list(found.values())


def natural(path: Path) -> list[str | float]:
    """A key that sorts names by the numbers in them: 5 before 10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", path.name)
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]


def canonical(path: Path) -> Path:
    """The one path that stands for a folder, however it was written."""
    return path if storage.is_remote(path) else path.resolve()


def short_names(workdirs: Sequence[Workdir]) -> list[str]:
    """The folders' names, with as many parents as it takes to tell them apart."""
    parts = [canonical(workdir.path).parts for workdir in workdirs]
    for depth in range(1, max(map(len, parts)) + 1):
        short = ["/".join(p[-depth:]) for p in parts]
        if len(set(short)) == len(short):
            return short
    raise AssertionError("find_workdirs gives each folder once")


def read(workdir: Address, name: str) -> ComparedRun:
    """Everything that a workdir says about its run."""
    workdir = Workdir(workdir)
    config = workdir.config()
    counted, saved = None, []
    metas, errors = checkpoint.read_metas(workdir)
    for error in errors:
        print(f"warning: {error}: it is left out", file=sys.stderr)
    if metas:
        counted = summarise(config, num_classes=len(metas[max(metas)]["classes"]))
        saved = [meta["metrics"]["accuracy"] for meta in metas.values() if meta["metrics"]]
    rates = [row["clips_per_second"] for row in workdir.timings() if "clips_per_second" in row]
    test = read_test(workdir)
    listed = workdir.videos()
    embedded = config.data.source == "synthetic"
    return ComparedRun(
        name=name,
        workdir=workdir,
        config=config,
        curve=workdir.rows(),
        saved=saved,
        parameters=counted.parameters if counted else None,
        flops=counted.flops if counted else None,
        clips_per_second=statistics.median(rates) if rates else None,
        test=test,
        answers=read_answers(workdir, test) if test else {},
        groups={row_name(row): row["group"] or row_name(row) for row in listed},
        videos=tuple(sorted((row["sha256"], row["label"]) for row in listed if not embedded)),
    )


def read_test(workdir: Workdir) -> dict[str, Any] | None:
    """The figures of the test of the best checkpoint as it was trained, without overrides.

    None where there are none, or a later checkpoint is the best.
    """
    path = workdir.evaluation_folder("test-best") / "metrics.json"
    if not path.exists():
        return None
    try:
        figures = json.loads(path.read_text())
        figures["step"], figures["correct"], figures["num_videos"], figures["overrides"]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged: evaluate again ({error})") from None
    if figures["overrides"]:
        return None
    if workdir.checkpoints() and figures["step"] != checkpoint.best(workdir):
        return None
    return figures


def read_answers(
    workdir: Workdir, figures: dict[str, Any]
) -> dict[tuple[str, str], tuple[str, str]]:
    """predictions.csv: (name, sha256) -> (true class, predicted class).

    Raises:
        UserError: it is not there, or not that of these figures.
    """
    path = workdir.evaluation_folder("test-best") / "predictions.csv"
    if not path.exists():
        raise UserError(f"{path} is missing: evaluate again")
    sha256 = {row_name(row): row["sha256"] for row in workdir.videos()}
    found = storage.read_csv(path, ANSWERS, optional=ALL_COLUMNS)
    correct = sum(row["true"] == row["predicted"] for row in found)
    if (len(found), correct) != (figures["num_videos"], figures["correct"]):
        raise UserError(f"{path} is not that of metrics.json beside it: evaluate again")
    names = [row_name(row) for row in found]
    return {
        (name, sha256.get(name, "")): (row["true"], row["predicted"])
        for name, row in zip(names, found, strict=True)
    }


def is_tested(workdir: Workdir) -> bool:
    """Whether there are whole figures of the best checkpoint."""
    try:
        figures = read_test(workdir)
        return figures is not None and bool(read_answers(workdir, figures))
    except UserError:  # damaged
        return False


def test_missing(workdirs: Sequence[Workdir]) -> bool:
    """Tests the best checkpoints that were not tested yet.

    Names each that cannot be tested, and returns whether all could.
    """
    whole = True
    for workdir in workdirs:
        try:
            if checkpoint.best(workdir) is not None and not is_tested(workdir):
                figures, _ = evaluate.evaluate(workdir)
                if figures["overrides"]:
                    raise UserError(" ".join(figures["notes"]))
        except (UserError, OSError) as error:
            print(f"{workdir} cannot be tested: {' '.join(str(error).split())}", file=sys.stderr)
            whole = False
    return whole


def differing_keys(runs: Sequence[ComparedRun]) -> list[str]:
    """The keys that can change a result and do not have the same value in all configs.

    data.root is one of them where the runs do not have the same videos.
    """
    flat = [configs.flatten(run.config) for run in runs]
    free = set(schema.RESULT_FREE) - ({"data.root"} if len(data_sets(runs)) > 1 else set())
    return [key for key in flat[0] if key not in free and any(f[key] != flat[0][key] for f in flat)]


def data_sets(runs: Sequence[ComparedRun]) -> list[list[ComparedRun]]:
    """The runs grouped by their videos, in whatever folder and split.

    Without the runs whose videos are not known.
    """
    found: dict[tuple[tuple[str, str], ...], list[ComparedRun]] = {}
    for run in runs:
        if run.videos:
            found.setdefault(run.videos, []).append(run)
    return list(found.values())


def data_note(runs: Sequence[ComparedRun]) -> list[str]:
    """Says which runs have which videos, where they are not the same."""
    sets = data_sets(runs)
    if len(sets) < 2:
        return []
    words = (
        f"{len(group[0].videos)} in {group[0].config.data.root} "
        f"({first_few(run.name for run in group)})"
        for group in sets
    )
    return [f"note: the runs do not have the same videos: {'; '.join(words)}"]


def but_for_the_seed(run: ComparedRun) -> str:
    """Equal for runs on the same videos whose configs differ in nothing but the seed."""
    flat = configs.flatten(run.config)
    kept = {key: value for key, value in flat.items() if key not in schema.RESULT_FREE}
    return repr((kept | {"seed": None}, run.videos))


def over_seeds(runs: Sequence[ComparedRun]) -> dict[str, list[ComparedRun]]:
    """Groups of runs that differ in nothing but the seed, one run per seed, by the first name."""
    groups: dict[str, dict[int, ComparedRun]] = {}
    for run in runs:
        groups.setdefault(but_for_the_seed(run), {}).setdefault(run.config.seed, run)
    several = [list(group.values()) for group in groups.values() if len(group) > 1]
    return {group[0].name: group for group in several}

"""Successive halving: a run that is behind the others at a rung is stopped there.

It is the stopping variant of ASHA (Li et al. 2020, "A System for Massively Parallel Hyperparameter
Tuning", MLSys), as Optuna and Ray Tune have it: no run waits for another. A run goes on from a rung
if it is among the best 1/factor of the runs that have reached it so far, and at least one is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d import storage
from vid3d.errors import UserError

NAME = "pruned.json"  # in the workdir of a run that was stopped


@dataclass(frozen=True)
class Halving:
    """Where runs are compared: after `first` epochs, `factor` times as many, and so on."""

    first: float = 1
    factor: int = 3

    def __post_init__(self) -> None:
        if self.first <= 0 or self.factor < 2 or self.factor != int(self.factor):
            raise ValueError(
                f"halving(first={self.first}, factor={self.factor}): first is a number of epochs "
                "above 0, and factor a whole number from 2"
            )

    def rungs(self, epochs: int) -> list[float]:
        """The epochs before the last at which a run is compared."""
        found = [float(self.first)]
        while found[-1] < epochs:
            found.append(found[-1] * self.factor)
        return found[:-1]

    def check(self, config: ConfigDict) -> None:
        """Raises a UserError where a run would not be validated by the first rung."""
        every = re.fullmatch(r"\s*([\d.]+)\s*epochs?\s*", config.eval.every)
        if every and float(every[1]) > self.first:
            raise UserError(
                f"halving(first={self.first:g}) needs a validation by then: eval.every is "
                f"{config.eval.every!r}"
            )


@dataclass(frozen=True)
class Verdict:
    """Why a run was stopped.

    Attributes:
        epoch: of the rung.
        accuracy: the best validation accuracy of the run up to there.
        cutoff: what it would have taken.
        kept: how many runs had that, of those at the rung.
        runs: that had reached the rung, this one among them.
    """

    epoch: float
    accuracy: float
    cutoff: float
    kept: int
    runs: int

    def __str__(self) -> str:
        return (
            f"{self.accuracy:.3f} after {self.epoch:g} epochs; the best {self.kept} of "
            f"{self.runs} runs there had {self.cutoff:.3f}"
        )

    def write(self, workdir: Path) -> None:
        """Marks the run as stopped."""
        storage.write_whole(workdir / NAME, json.dumps(asdict(self), indent=2) + "\n")


def read(workdir: Path) -> Verdict | None:
    """Why the run was stopped; None where it was not."""
    try:
        return Verdict(**json.loads(storage.read_text(workdir / NAME)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise UserError(f"{workdir / NAME} is damaged: delete it, and the run goes on") from None


def forget(workdir: Path) -> None:
    """Removes the mark of a run that goes on."""
    if (workdir / NAME).exists():
        (workdir / NAME).unlink()


def best_by(rows: Sequence[dict[str, Any]], epoch: float) -> float | None:
    """The best validation accuracy up to the first evaluation at or after an epoch.

    Args:
        rows: of metrics.jsonl.
        epoch: of a rung.

    Returns:
        None where the run is not there yet, or has no validation videos.
    """
    best = None
    for row in rows:
        if "val/accuracy" in row and (best is None or row["val/accuracy"] > best):
            best = row["val/accuracy"]
        if row["epoch"] >= epoch:
            return best
    return None


def judge(own: float, others: Sequence[float], *, epoch: float, factor: int) -> Verdict | None:
    """Whether a run with the accuracy `own` at a rung stops; None if it goes on."""
    ranked = sorted([own, *others], reverse=True)
    kept = max(len(ranked) // factor, 1)
    cutoff = ranked[kept - 1]
    return None if own >= cutoff else Verdict(epoch, own, cutoff, kept, len(ranked))

"""Loss and accuracy summed since the last evaluation, and the count for early stopping.

Each checkpoint holds them. The progress line is in `recorder`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from vid3d import checkpoint
from vid3d.errors import UserError


class BadNumberError(UserError):
    """A loss or a gradient that is not finite."""


@dataclass
class TrainingProgress:
    """Sums over the clips since the last evaluation, and how the evaluations have gone.

    best: (validation accuracy, -loss) of the best evaluation; since_best: evaluations since then.
    """

    loss: float = 0.0
    correct: float = 0.0
    count: float = 0.0
    best: tuple[float, float] | None = None
    since_best: int = 0

    def add(self, sums: dict[str, Any]) -> None:
        """Adds the sums of one step."""
        self.loss += float(sums["loss"])
        self.correct += float(sums["correct"])
        self.count += float(sums["count"])

    def averages(self) -> dict[str, float]:
        """Training loss and accuracy since the last evaluation."""
        count = max(self.count, 1.0)
        return {"loss": self.loss / count, "accuracy": self.correct / count}

    def evaluated(self, scores: dict[str, float] | None) -> bool:
        """Starts new sums and notes an evaluation, if any; returns whether none was better."""
        self.loss = self.correct = self.count = 0.0
        if scores is None:
            return False
        score = checkpoint.better(scores)
        improved = self.best is None or score > tuple(self.best)
        self.best = score if improved else self.best
        self.since_best = 0 if improved else self.since_best + 1
        return improved

    def exhausted(self, patience: int) -> bool:
        """Whether the last `patience` evaluations did not improve; never with patience 0."""
        return bool(patience) and self.since_best >= patience


def check_sums(step: int, sums: dict[str, Any], *, params: Any, videos: list[str]) -> None:
    """Raises a BadNumberError that names the step, what is not finite and the batch's videos."""
    culprits = [] if math.isfinite(sums["loss"]) else ["the loss"]
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for what in ("gradient", "params"):
        finite_L = np.asarray(sums[f"finite_{what}_L"])
        bad = [name for name, finite in zip(names, finite_L, strict=True) if not finite]
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            kind = "the gradient of " if what == "gradient" else "the new value of "
            culprits.append(f"{kind}{bad[0]}{more}")
    if not culprits:
        return
    raise BadNumberError(
        f"step {step}: {', '.join(culprits)} is not finite; the videos were "
        f"{', '.join(videos)}. No checkpoint has it: a lower optim.learning_rate or an "
        "optim.clip_norm, with a new workdir, usually helps"
    )

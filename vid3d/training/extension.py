"""More epochs than a training run was started with, and what they do to its learning rate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ml_collections import ConfigDict

from vid3d.checkpoint import Workdir, provenance
from vid3d.training import optim
from vid3d.training.setup import Setup


@dataclass(frozen=True)
class Extension:
    """A training run that goes on with more epochs.

    Attributes:
        schedule: `optim.schedule`.
        from_epochs, to_epochs: of the whole training run, before and now.
        step: that it goes on from.
        from_rate, to_rate: the learning rate of the next update, before and now.
    """

    schedule: str
    from_epochs: int
    to_epochs: int
    step: int
    from_rate: float
    to_rate: float

    def __str__(self) -> str:
        line = f"extended from {self.from_epochs} to {self.to_epochs} epochs: "
        if self.schedule == "constant":
            return line + f"the learning rate stays {self.to_rate:.3g}"
        return line + (
            f"the {self.schedule} schedule is stretched over all {self.to_epochs}, and the "
            f"learning rate at step {self.step}, where training goes on, was {self.from_rate:.3g} "
            f"and is now {self.to_rate:.3g}; a run of {self.to_epochs} epochs from the start would "
            "end otherwise"
        )

    def facts(self) -> dict[str, Any]:
        """For provenance.json."""
        return asdict(self)


def find(setup: Setup, before: ConfigDict | None, step: int) -> Extension | None:
    """The extension of a training run that has this config.json; None where it has as many epochs.

    Args:
        setup: of the training run now.
        before: what its config.json says; None where it is new.
        step: that it goes on from.
    """
    config = setup.config
    if before is None or not step or before.train.epochs == config.train.epochs:
        return None
    _, _, schedule = optim.pace(before, len(setup.train_clips))
    update = step // config.optim.accumulate
    return Extension(
        schedule=config.optim.schedule,
        from_epochs=before.train.epochs,
        to_epochs=config.train.epochs,
        step=step,
        from_rate=float(schedule(update)),
        to_rate=float(setup.schedule(update)),
    )


def on_the_way(like: Workdir) -> list[str]:
    """Says which extensions a run that is repeated had on its way, and its repetition has not."""
    found = (one.get("extended") for one in provenance.read(like))
    return [
        f"{like} was extended from {one['from_epochs']} to {one['to_epochs']} epochs on its way, "
        "and ends otherwise than a run that has them from the start"
        for one in found
        if one and one["schedule"] != "constant"
    ]

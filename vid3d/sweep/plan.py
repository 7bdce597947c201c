"""From `sweep(add)` in a config file to the list of runs, each with a checked config and a name."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from vid3d import config as configs, models, schema
from vid3d.config_file import run_file
from vid3d.errors import UserError
from vid3d.sweep.halving import Halving
from vid3d.sweep.space import Choice, Distribution, Uniform, draws

LONGEST_NAME = 120  # characters; a folder's name may have 255 bytes


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        name: of its workdir, made of its overrides.
        overrides: dotted key -> value.
        config: the whole config, locked and checked.
        halving: where it is compared with the others of its sweep; None if it is not.
    """

    name: str
    overrides: dict[str, Any]
    config: ConfigDict
    halving: Halving | None = None


class Additions:
    """What `sweep(add)` is given; each call adds runs, or says how they are compared.

    Attributes:
        values: dotted key -> value, of each run.
        compared: where runs are compared, or None.
    """

    def __init__(self) -> None:
        self.values: list[dict[str, Any]] = []
        self.compared: Halving | None = None

    def __call__(self, *values: Any, **named: Any) -> None:
        """Adds one run."""
        if values:
            raise TypeError("add() takes names and values: add(**{'optim.learning_rate': 1e-3})")
        self.values.append(named)

    def random(self, number: int, keys: Mapping[str, Distribution], *, seed: int = 0) -> None:
        """Adds so many runs with values that are drawn; the same ones in every call of a sweep.

        Args:
            number: of runs.
            keys: dotted key -> `uniform`, `log_uniform` or `choice`.
            seed: of the draws.
        """
        for key, distribution in keys.items():
            if not isinstance(distribution, (Uniform, Choice)):
                raise TypeError(
                    f"{key}: write add.uniform(LOW, HIGH), add.log_uniform(LOW, HIGH) or "
                    "add.choice(VALUE, ...)"
                )
        self.values += draws(number, keys, seed=seed)

    def uniform(self, low: float, high: float) -> Distribution:
        """Numbers from low to high; whole ones where both are."""
        return Uniform(low, high)

    def log_uniform(self, low: float, high: float) -> Distribution:
        """The same, with all orders of magnitude as probable."""
        return Uniform(low, high, logarithmic=True)

    def choice(self, *values: Any) -> Distribution:
        """One of these values."""
        if not values:
            raise TypeError("add.choice() needs values")
        return Choice(values)

    def halving(self, *, first: float = 1, factor: int = 3) -> None:
        """Stops runs early, see `halving`: all but the best 1/factor at each rung.

        Args:
            first: epochs to the first rung; the next is at `factor` times as many.
            factor: see above.
        """
        self.compared = Halving(first, factor)


def plan(
    spec: str, overrides: Iterable[tuple[str, str]] = (), *, seeds: int = 1
) -> list[PlannedRun]:
    """Every run of a sweep, checked.

    Args:
        spec: a preset or a file, see `config.load`, that defines `sweep(add)` beside `get_config`.
        overrides: (key, text) pairs of the command line, for all runs.
        seeds: repeats of each run, with the seeds `config.seed`, `config.seed + 1`, ...

    Raises:
        UserError: no sweep, no run, two runs of the same config, an override that does not fit; it
            names the run.
    """
    overrides = list(overrides)
    additions = Additions()
    run_file(spec, "sweep", additions)
    added = additions.values
    where = f"{spec}: sweep()"
    if not added:
        raise UserError(f"{where} adds no run: call add(**{{'optim.learning_rate': 1e-3}}) in it")
    check_counts(where, added, overrides, seeds)
    base = configs.load(spec, overrides)
    runs = []
    for number, values in enumerate(added, start=1):
        for repeat in range(seeds):
            chosen = values | ({"seed": base.seed + repeat} if repeat else {})
            try:
                config = configure(base, chosen)
                if additions.compared:
                    additions.compared.check(config)
                runs.append(PlannedRun(name(chosen), chosen, config, additions.compared))
            except UserError as error:
                raise UserError(f"{where}, run {number} ({describe(chosen)}): {error}") from None
    refuse_twins(where, runs)
    return runs


def check_counts(
    where: str, added: list[dict[str, Any]], overrides: list[tuple[str, str]], seeds: int
) -> None:
    """Raises a UserError where two of sweep(), the command line and --seeds set the same key."""
    varied = {key for values in added for key in values}
    for key, text in overrides:
        if key in varied:
            raise UserError(f"{where} sets {key} itself: leave out --config.{key}={text}")
    if seeds < 1:
        raise UserError(f"--seeds={seeds} has to be at least 1")
    if seeds > 1 and "seed" in varied:
        raise UserError(f"{where} sets seed itself: leave out --seeds={seeds}")


def configure(base: ConfigDict, values: Mapping[str, Any]) -> ConfigDict:
    """A copy of `base` with these values, checked as far as that goes without the data.

    Raises:
        UserError: an unknown key, a value of the wrong type or out of range, an unknown
            architecture, a key that has no effect on it.
    """
    config = configs.from_json(configs.to_json(base))
    for key, value in values.items():
        configs.apply(config, key, value)
    configs.validate_new(config)
    models.build(config.model, num_classes=2)
    if unused := [key for key in schema.unused(config.model) if key in values]:
        raise UserError(f"{config.model.name} does not look at {', '.join(unused)}: leave it out")
    return config


def refuse_twins(where: str, runs: list[PlannedRun]) -> None:
    """Raises a UserError where two runs have the same config, however it was written."""
    first: dict[str, int] = {}
    for number, run in enumerate(runs, start=1):
        text = configs.to_json(run.config)
        if text in first:
            raise UserError(
                f"{where}: runs {first[text]} and {number} are the same: {describe(run.overrides)}"
            )
        first[text] = number


def describe(values: Mapping[str, Any]) -> str:
    """ "optim.learning_rate=0.001, model.features=64,32"; of none, "the config as it is"."""
    return ", ".join(f"{key}={text(value)}" for key, value in values.items()) or (
        "the config as it is"
    )


def text(value: Any) -> str:
    """A value as the command line takes it: 0.001, true, 64,32."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ",".join(text(v) for v in value)
    return repr(value) if isinstance(value, float) else str(value)


def name(values: Mapping[str, Any], *, former: bool = False) -> str:
    """The name of a run's folder, such as "learning_rate=0.001,features=64-32".

    It depends on the run's own overrides alone, so that a sweep that grows finds its finished runs
    again. A key is written without its group where no other key ends like it. What a folder's name
    cannot hold is replaced, and a digest of the values is added; also where other values would have
    the same name. `former` is the name in earlier versions.
    """
    if not values:
        return "base"
    ends = Counter(key.rsplit(".", 1)[-1] for key in configs.flatten(configs.default()))
    parts = []
    for key, value in values.items():
        end = key.rsplit(".", 1)[-1]
        parts.append(f"{end if ends[end] == 1 else key}={text(value).replace(',', '-')}")
    whole = ",".join(parts)
    safe = re.sub(r"[^\w.,=+-]", "_", whole)
    certain = former or not is_ambiguous(values)
    if safe == whole and len(whole) <= LONGEST_NAME and certain:
        return whole
    words = describe(values) if certain else repr(sorted(values.items()))
    digest = hashlib.sha256(words.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{safe[: LONGEST_NAME - 9]},{digest}"


def is_ambiguous(values: Mapping[str, Any]) -> bool:
    """Whether other values look the same: ("a-b", "c") and ("a", "b-c"), or "a,b" and "a-b"."""
    lists = [value for value in values.values() if isinstance(value, (tuple, list))]
    words = [value for value in values.values() if isinstance(value, str)]
    return any(set("-,") & set(text(part)) for value in lists for part in value) or any(
        "," in value for value in words
    )


def shard(runs: list[PlannedRun], part: str) -> list[PlannedRun]:
    """The runs of one shard of several, "i/N" with i from 0 to N - 1: every N-th run; "" is all.

    Raises:
        UserError: the text is not of this form.
    """
    if not part:
        return runs
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"--shard={part} has to be i/N with i from 0 to N - 1, such as 0/4")
    return runs[int(match[1]) :: int(match[2])]

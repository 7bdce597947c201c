"""Random search: the values that the runs of a sweep draw for some keys of the config.

A draw depends on the seed, the number of the draw and the key alone: a search that grows, by runs
or by keys, keeps the values that it had.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vid3d.errors import UserError, suggest
from vid3d.schema import BY_NAME

DIGITS = 4  # of a number that is drawn, so that folders have short names
REPEATS = 1000  # draws in a row that only repeat earlier ones


class Distribution(Protocol):
    """The values that a key may take."""

    def at(self, share: float) -> Any:
        """The value below which this share of the values lies, from 0 to below 1."""


@dataclass(frozen=True)
class Uniform:
    """Numbers from low to high, or their logarithms, of which all are as probable.

    They are whole where both ends are.

    Raises:
        ValueError: low is not below high, or there is no logarithm of it.
    """

    low: float
    high: float
    logarithmic: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"{self.low} is not below {self.high}")
        if self.logarithmic and self.low <= 0:
            raise ValueError(f"log_uniform({self.low}, {self.high}) has to begin above 0")

    def at(self, share: float) -> Any:
        is_whole = isinstance(self.low, int) and isinstance(self.high, int)
        margin = 0.5 if is_whole else 0.0  # so that both ends are as probable as the others
        low, high = self.low - margin, self.high + margin
        if self.logarithmic:
            value = math.exp(math.log(low) + share * math.log(high / low))
        else:
            value = low + share * (high - low)
        value = round(value) if is_whole else float(f"{value:.{DIGITS}g}")
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of several values, of which all are as probable."""

    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        return self.values[int(share * len(self.values))]


def draws(
    number: int, space: Mapping[str, Distribution], *, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """So many different draws: key -> value.

    Raises:
        UserError: no such key, or the space has fewer values than that.
    """
    for key in space:
        if key not in BY_NAME:
            raise UserError(f"no config key {key!r}{suggest(key, BY_NAME)}")
    seen: set[str] = set()
    repeated = 0
    attempt = 0
    while len(seen) < number:
        values = {}
        for key, distribution in space.items():
            value = distribution.at(random.Random(f"{seed}/{attempt}/{key}").random())
            values[key] = float(value) if isinstance(BY_NAME[key].default, float) else value
        attempt += 1
        if repr(values) not in seen:
            seen.add(repr(values))
            repeated = 0
            yield values
        elif (repeated := repeated + 1) > REPEATS:
            raise UserError(
                f"random({number}, ...): its space has {len(seen)} different draws, or few more"
            )

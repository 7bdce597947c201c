"""Checks the values of a config against the schema and against each other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from vid3d.errors import UserError, suggest
from vid3d.schema import BY_NAME, KEYS, Duration, Key, Range


def check(values: dict[str, Any]) -> None:
    """Checks every value that does not need the data to be checked.

    Args:
        values: dotted key -> value.

    Raises:
        UserError: names the key, the value and what is allowed.
    """
    for name in values:
        if name not in BY_NAME:
            raise UserError(f"no config key {name!r}{suggest(name, BY_NAME)}")
    for key in KEYS:
        if key.name not in values:
            raise UserError(f"config.{key.name} is missing: start from vid3d.config.default()")
        check_type(key, values[key.name])
    for key in KEYS:
        check_allowed(key, values[key.name])
    check_pixels(values)
    check_folds(values)
    if values["predict.window"] and values["data.sampling"] != "uniform":
        raise UserError(
            f"config.predict.window={values['predict.window']:g} needs data.sampling='uniform': "
            f"with {values['data.sampling']!r} windows are as long as a clip, which is fixed"
        )
    check_order(values, ("train.profile_steps",))
    if "://" in values["data.cache_dir"]:
        raise UserError(
            f"config.data.cache_dir={values['data.cache_dir']} has to be a folder: prepared videos "
            "are read from a disk of this machine, or from a bucket mounted with gcsfuse"
        )
    try:
        re.compile(values["data.group_pattern"])
    except re.error as error:
        raise UserError(f"config.data.group_pattern is not a regular expression: {error}") from None


def check_allowed(key: Key, value: Any) -> None:
    """Raises a UserError where a value of the right type is not among those that are allowed."""
    if isinstance(key.allowed, Range):
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(number in key.allowed for number in numbers):
            raise UserError(f"config.{key.name}={value} has to be {key.allowed}")
    elif isinstance(key.allowed, Duration):
        if steps(value, steps_per_epoch=1000, batch_size=1) < key.allowed.fewest:
            raise UserError(f"config.{key.name}={value!r} has to be above 0")
    elif key.allowed is not None and value not in key.allowed:
        near = suggest(value, key.allowed)
        raise UserError(f"config.{key.name}={value!r} is not one of {', '.join(key.allowed)}{near}")


def check_order(values: dict[str, Any], keys: Iterable[str]) -> None:
    """Raises a UserError where a (first, last) pair is the wrong way round."""
    for key in keys:
        if values[key] != tuple(sorted(values[key])):
            raise UserError(f"config.{key}={values[key]} ends before it begins: write FIRST,LAST")


def check_folds(values: dict[str, Any]) -> None:
    """Raises a UserError where the keys of drawn folds do not fit each other."""
    count = values["data.folds"]
    if not count:
        return
    if count == 1:
        raise UserError("config.data.folds=1 has to be 2 or more, or 0 for none")
    if values["data.protocol"] not in ("auto", "grouped", "random"):
        raise UserError(
            f"config.data.folds={count} draws the splits: data.protocol="
            f"{values['data.protocol']!r} has to be auto, grouped or random"
        )
    for key in ("data.test_fold", "data.val_fold"):
        if values[key] >= count:
            raise UserError(f"config.{key}={values[key]}: the folds are 0 to {count - 1}")
    if max(values["data.test_fold"], 0) == values["data.val_fold"]:
        raise UserError(
            f"config.data.val_fold={values['data.val_fold']} is the fold to test on as well"
        )


def check_pixels(values: dict[str, Any]) -> None:
    """Checks sizes and channels against each other.

    Raises:
        UserError: names the two keys that do not fit each other.
    """
    size, stored = values["data.size"], values["data.stored_size"]
    if stored and min(stored) < size:
        raise UserError(
            f"config.data.stored_size={stored} is smaller than data.size={size}: "
            "videos are stored at least as large as the network sees them"
        )
    if values["augment.crop"] == "random" and stored in ((), (size, size)):
        raise UserError(
            "config.augment.crop='random' has no room to move in: set data.stored_size larger than "
            f"data.size={size}, or take augment.crop='resized'"
        )
    channels = 1 if values["data.color"] == "gray" else 3
    for key in ("data.mean", "data.std"):
        if len(values[key]) not in (1, channels):
            raise UserError(
                f"config.{key}={values[key]!r} has {len(values[key])} numbers, "
                f"data.color={values['data.color']!r} has {channels} channels"
            )
    if min(values["data.std"]) <= 0:
        raise UserError(f"config.data.std={values['data.std']} has to be above 0")


def check_type(key: Key, value: Any) -> None:
    """Raises a UserError where a value, or an element of a tuple, is not of the key's type.

    So is a tuple of another length, and a number that is not finite.
    """
    like = key.default
    if isinstance(like, tuple):
        check_tuple(key, value)
    elif isinstance(like, float):
        if isinstance(value, bool) or not is_finite(value):
            raise UserError(f"config.{key.name}={value!r}: expected a number")
    elif type(value) is not type(like):
        raise UserError(
            f"config.{key.name}={value!r}: expected {type(like).__name__}, like {like!r}"
        )


def check_tuple(key: Key, value: Any) -> None:
    """Raises a UserError where a value is not a tuple of the key's element type and length."""
    if key.element_type is float:
        right = isinstance(value, tuple) and all(map(is_finite, value))
    else:
        right = isinstance(value, tuple) and all(isinstance(v, key.element_type) for v in value)
    if not right:
        raise UserError(f"config.{key.name}={value!r}: expected a tuple like {key.default!r}")
    if key.lengths and len(value) not in key.lengths:
        lengths = " or ".join(map(str, key.lengths))
        raise UserError(f"config.{key.name}={value!r} has length {len(value)}, expected {lengths}")
    if not key.lengths and key.default and not value:
        raise UserError(f"config.{key.name} is empty, expected values like {key.default!r}")


def is_finite(value: object) -> bool:
    """Whether a value is a number, and neither infinite nor NaN."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def steps(duration: str, *, steps_per_epoch: int, batch_size: int) -> int:
    """Turns "2 epochs", "500 steps" or "4000 examples" into optimizer steps, rounded up.

    Raises:
        UserError: the text is not a number and one of the three units.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(epoch|step|example)s?\s*", duration)
    if not match:
        raise UserError(
            f"{duration!r} is not a duration: write '2 epochs', '500 steps' or '4000 examples'"
        )
    number, unit = float(match[1]), match[2]
    in_steps = {"epoch": steps_per_epoch, "step": 1, "example": 1 / batch_size}[unit]
    return math.ceil(number * in_steps - 1e-9)

"""What may stand in a config: types, ranges, durations; and the one error for what a user can put right."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from typing import Any

SOURCES = ("auto", "synthetic", "folder", "ucf101", "manifest", "tfds")
PROTOCOLS = ("auto", "random", "grouped", "official1", "official2", "official3", "manifest")
SAMPLINGS = ("first", "center", "uniform", "random")
RESIZES = ("squash", "short_side", "squash_bilinear", "short_side_bilinear")


# What a tuple holds where the default does not show it, and how many where that is fixed.
ELEMENT_TYPES = {"data.classes": str, "data.stored_size": int, "train.profile_steps": int}
LENGTHS = {
    "data.stored_size": (0, 2),
    "data.mean": (1, 3),
    "data.std": (1, 3),
    "augment.crop_scale": (2,),
    "augment.crop_ratio": (2,),
    "model.kernel": (3,),
    "model.pool": (3,),
    "train.profile_steps": (0, 2),
}


class UserError(Exception):
    """Something the user can put right: one line that says what, where and what to do."""


def check(values: dict[str, Any], reference: dict[str, Any]) -> None:
    """Checks every value that does not need the data to be checked.

    Args:
        values: dotted key -> value, of the config.
        reference: the same of the defaults.

    Raises:
        UserError: names the key, the value and what is allowed.
    """
    for key in values:
        if key not in reference:
            raise UserError(f"no config key {key!r}{suggest(key, reference)}")
    for key, like in reference.items():
        if key not in values:
            raise UserError(f"config.{key} is missing: start from vid3d.config.default()")
        check_type(key, values[key], like)

    def choice(key: str, options: Iterable[str]) -> None:
        if values[key] not in options:
            near = suggest(str(values[key]), options)
            raise UserError(
                f"config.{key}={values[key]!r} is not one of {', '.join(options)}{near}"
            )

    def between(key: str, low: float, high: float = math.inf, *, open_high: bool = False) -> None:
        numbers = values[key] if isinstance(values[key], tuple) else (values[key],)
        for number in numbers:
            if not low <= number <= high or (open_high and number == high):
                bound = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
                end = " (exclusive)" if open_high else ""
                raise UserError(f"config.{key}={values[key]} has to be {bound}{end}")

    choice("data.source", SOURCES)
    choice("data.protocol", PROTOCOLS)
    choice("data.sampling", SAMPLINGS)
    choice("data.resize", RESIZES)
    choice("data.color", ("rgb", "gray"))
    choice("data.short", ("repeat", "loop"))
    choice("data.store", ("raw", "jpeg"))
    choice("augment.flip", ("off", "auto", "on"))
    choice("augment.crop", ("none", "random", "resized"))
    choice("model.dtype", ("float32", "bfloat16"))
    choice("optim.name", ("adam", "adamw", "sgd"))
    choice("optim.schedule", ("constant", "cosine"))
    for key in ("data.val_fraction", "data.test_fraction", "optim.label_smoothing"):
        between(key, 0, 1, open_high=True)
    for key in ("model.feature_dropout", "model.dropout", "live.smoothing"):
        between(key, 0, 1, open_high=True)
    for key in (
        "data.max_bad_fraction",
        "live.threshold",
        "augment.brightness",
        "augment.contrast",
    ):
        between(key, 0, 1)
    for key in ("data.num_frames", "data.frame_step", "data.size", "eval.views", "model.kernel"):
        between(key, 1)
    for key in ("model.pool", "model.features", "optim.accumulate", "train.batch_size"):
        between(key, 1)
    for key in ("train.epochs", "data.synthetic.groups", "data.synthetic.videos_per_group"):
        between(key, 1)
    for key in ("data.stored_frames", "data.fps", "data.workers", "data.memory_budget_mb"):
        between(key, 0)
    for key in ("eval.batch_size", "train.early_stopping", "train.profile_steps", "live.every"):
        between(key, 0)
    for key in ("model.hidden", "optim.learning_rate", "optim.weight_decay", "optim.clip_norm"):
        between(key, 0)
    between("seed", 0, 2**31 - 1)
    between("data.decode_timeout", 0.1)
    between("augment.crop_scale", 0.01, 1)
    between("augment.crop_ratio", 0.1, 10)
    if values["data.stored_size"] and min(values["data.stored_size"]) < values["data.size"]:
        raise UserError(
            f"config.data.stored_size={values['data.stored_size']} is smaller than data.size="
            f"{values['data.size']}: videos are stored at least as large as the network sees them"
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
    for key in ("checkpoint.every", "eval.every"):
        if steps(values[key], steps_per_epoch=1000, batch_size=1) < 1:
            raise UserError(f"config.{key}={values[key]!r} has to be above 0")
    steps(values["optim.warmup"], steps_per_epoch=1000, batch_size=1)
    try:
        re.compile(values["data.group_pattern"])
    except re.error as error:
        raise UserError(f"config.data.group_pattern is no regular expression: {error}") from None


def check_type(key: str, value: Any, like: Any) -> None:
    """Checks a value against the type (and for tuples the element type and length) of the default."""
    if isinstance(like, tuple):
        element = ELEMENT_TYPES.get(key) or type(like[0])
        allowed = (int, float) if element is float else element
        if not isinstance(value, tuple) or not all(isinstance(v, allowed) for v in value):
            raise UserError(f"config.{key}={value!r}: expected a tuple like {like!r}")
        if key in LENGTHS and len(value) not in LENGTHS[key]:
            lengths = " or ".join(str(n) for n in LENGTHS[key])
            raise UserError(f"config.{key}={value!r} has length {len(value)}, expected {lengths}")
        if key not in LENGTHS and like and not value:
            raise UserError(f"config.{key} is empty, expected values like {like!r}")
    elif isinstance(like, float):
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
        ):
            raise UserError(f"config.{key}={value!r}: expected a number")
    elif type(value) is not type(like):
        raise UserError(f"config.{key}={value!r}: expected {type(like).__name__}, like {like!r}")


def steps(duration: str, *, steps_per_epoch: int, batch_size: int) -> int:
    """Turns "2 epochs", "500 steps" or "4000 examples" into optimizer steps, rounded up.

    Raises:
        UserError: the text is not a number and one of the three units.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(epoch|step|example)s?\s*", duration)
    if not match:
        raise UserError(
            f"{duration!r} is no duration: write '2 epochs', '500 steps' or '4000 examples'"
        )
    number, unit = float(match[1]), match[2]
    in_steps = {"epoch": steps_per_epoch, "step": 1, "example": 1 / batch_size}[unit]
    return math.ceil(number * in_steps - 1e-9)


def suggest(name: str, options: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of the options, or an empty string."""
    near = difflib.get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""

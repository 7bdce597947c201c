"""What may stand in a config: types, ranges, durations; and the one error for what a user can put right."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from vid3d.errors import UserError, suggest

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


CHOICES = {
    "data.source": SOURCES,
    "data.protocol": PROTOCOLS,
    "data.sampling": SAMPLINGS,
    "data.resize": RESIZES,
    "data.pixels": ("square", "stored"),
    "data.deinterlace": ("off", "bwdif"),
    "data.color": ("rgb", "gray"),
    "data.short": ("repeat", "loop"),
    "data.store": ("raw", "jpeg"),
    "augment.flip": ("off", "auto", "on"),
    "augment.crop": ("none", "random", "resized"),
    "model.dtype": ("float32", "bfloat16"),
    "optim.name": ("adam", "adamw", "sgd"),
    "optim.schedule": ("constant", "cosine"),
    "optim.class_weights": ("none", "balanced"),
    "eval.long_videos": ("mean", "longest", "views"),
}


class Range(NamedTuple):
    """Numbers from low to high; every element of a tuple has to lie in it."""

    low: float
    high: float = math.inf
    below: bool = False  # high itself is not allowed

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high and not (self.below and number == self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {self.low:g}"
        return f"from {self.low:g} to {self.high:g}" + (" (exclusive)" if self.below else "")


POSITIVE, NOT_NEGATIVE, FOLD = Range(1), Range(0), Range(-1)
SHARE, SHARE_BELOW_ONE = Range(0, 1), Range(0, 1, below=True)
RANGES = {
    "seed": Range(0, 2**31 - 1),
    "data.val_fraction": SHARE_BELOW_ONE,
    "data.test_fraction": SHARE_BELOW_ONE,
    "data.test_fold": FOLD,
    "data.val_fold": FOLD,
    "data.num_frames": POSITIVE,
    "data.frame_step": POSITIVE,
    "data.fps": NOT_NEGATIVE,
    "data.size": POSITIVE,
    "data.stored_frames": NOT_NEGATIVE,
    "data.max_bad_fraction": SHARE,
    "data.decode_timeout": Range(0.1),
    "data.workers": NOT_NEGATIVE,
    "data.memory_budget_mb": NOT_NEGATIVE,
    "data.synthetic.groups": POSITIVE,
    "data.synthetic.videos_per_group": POSITIVE,
    "augment.crop_scale": Range(0.01, 1),
    "augment.crop_ratio": Range(0.1, 10),
    "augment.brightness": SHARE,
    "augment.contrast": SHARE,
    "augment.mixup": NOT_NEGATIVE,
    "augment.cutmix": NOT_NEGATIVE,
    "model.features": POSITIVE,
    "model.kernel": POSITIVE,
    "model.pool": POSITIVE,
    "model.hidden": NOT_NEGATIVE,
    "model.feature_dropout": SHARE_BELOW_ONE,
    "model.dropout": SHARE_BELOW_ONE,
    "model.stochastic_depth": SHARE_BELOW_ONE,
    "model.norm_momentum": SHARE_BELOW_ONE,
    "optim.learning_rate": NOT_NEGATIVE,
    "optim.weight_decay": NOT_NEGATIVE,
    "optim.clip_norm": NOT_NEGATIVE,
    "optim.momentum": SHARE_BELOW_ONE,
    "optim.accumulate": POSITIVE,
    "optim.label_smoothing": SHARE_BELOW_ONE,
    "optim.ema": SHARE_BELOW_ONE,
    "optim.backbone_rate": SHARE,
    "train.batch_size": POSITIVE,
    "train.epochs": POSITIVE,
    "train.early_stopping": NOT_NEGATIVE,
    "train.profile_steps": NOT_NEGATIVE,
    "eval.views": Range(1, 1000),
    "eval.batch_size": NOT_NEGATIVE,
    "live.every": NOT_NEGATIVE,
    "live.smoothing": SHARE_BELOW_ONE,
    "live.threshold": SHARE,
    "live.window": NOT_NEGATIVE,
}
DURATIONS = {"checkpoint.every": 1, "eval.every": 1, "optim.warmup": 0}  # fewest steps


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
    for key, options in CHOICES.items():
        if values[key] not in options:
            near = suggest(str(values[key]), options)
            raise UserError(
                f"config.{key}={values[key]!r} is not one of {', '.join(options)}{near}"
            )
    for key, allowed in RANGES.items():
        numbers = values[key] if isinstance(values[key], tuple) else (values[key],)
        if not all(number in allowed for number in numbers):
            raise UserError(f"config.{key}={values[key]} has to be {allowed}")
    for key, fewest in DURATIONS.items():
        if steps(values[key], steps_per_epoch=1000, batch_size=1) < fewest:
            raise UserError(f"config.{key}={values[key]!r} has to be above 0")
    check_pixels(values)
    check_order(values, ("train.profile_steps",))
    if "://" in values["data.cache_dir"]:
        raise UserError(
            f"config.data.cache_dir={values['data.cache_dir']} has to be a folder: prepared videos are read from a "
            "disk of this machine, or from a bucket mounted with gcsfuse"
        )
    try:
        re.compile(values["data.group_pattern"])
    except re.error as error:
        raise UserError(f"config.data.group_pattern is no regular expression: {error}") from None


def check_order(values: dict[str, Any], keys: Iterable[str]) -> None:
    """Raises a UserError where a range ends before it begins."""
    for key in keys:
        if values[key] != tuple(sorted(values[key])):
            raise UserError(f"config.{key}={values[key]} ends before it begins: write FIRST,LAST")


def check_pixels(values: dict[str, Any]) -> None:
    """Checks sizes and channels against each other.

    Raises:
        UserError: names the two keys that do not fit.
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


def check_type(key: str, value: Any, like: Any) -> None:
    """Checks a value against the type (and for tuples the element type and length) of the default."""
    if isinstance(like, tuple):
        element = ELEMENT_TYPES.get(key) or type(like[0])
        allowed = (int, float) if element is float else element
        right = isinstance(value, tuple) and all(isinstance(v, allowed) for v in value)
        if not right or not all(math.isfinite(v) for v in value if isinstance(v, float)):
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

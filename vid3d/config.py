"""The config: every key with its default, and the way from a file and a command line to one checked config.

A config is an `ml_collections.ConfigDict`. `default()` is the one place with defaults; a file in `configs/` defines
`get_config(arg)`, starts from `default()` and overwrites fields.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d.checks import ELEMENT_TYPES, check, check_order, steps
from vid3d.config_file import run_file
from vid3d.errors import UserError, suggest

__all__ = [
    "UserError",
    "apply",
    "cache_folder",
    "default",
    "differences",
    "flatten",
    "from_json",
    "load",
    "read",
    "steps",
    "suggest",
    "to_json",
    "validate",
    "validate_new",
]


def default() -> ConfigDict:
    """Every key with its default value: the tutorial's network and recipe on a folder of videos."""
    c = ConfigDict()
    c.seed = 0

    c.data = ConfigDict()
    # auto: a root with manifest.csv is a manifest, otherwise a folder; or one of checks.SOURCES
    c.data.source = "auto"
    c.data.root = ""  # the folder of the videos (manifest: or the CSV itself; tfds: its data_dir)
    c.data.builder = ""  # tfds: the builder's name, such as "ucf101"
    c.data.classes = ()  # a subset of the classes, in the order of the labels; () is all, sorted
    # one of checks.PROTOCOLS; auto: the splits that the data brings along, otherwise grouped
    c.data.protocol = "auto"
    c.data.group_pattern = ""  # regular expression on the path; what it captures is the source
    c.data.val_fraction = 0.15  # of the videos that are not test videos
    c.data.test_fraction = 0.2
    c.data.test_fold = -1  # manifest with folds; -1: fold 0 tests, fold 1 validates
    c.data.val_fold = -1
    c.data.validate_on_test = False  # the tutorial's way; the result is printed as leaky
    c.data.num_frames = 10
    c.data.frame_step = 1  # take every n-th frame
    c.data.fps = 0.0  # above 0: sample by time, this many frames a second, instead of by frame_step
    c.data.size = 224  # the network sees size x size
    # or "short_side": keep the shape, cut the centre; with "_bilinear" as published weights were trained
    c.data.resize = "squash"
    c.data.pixels = (
        "square"  # resamples pixels that are not square (DVD, DV), as players do; or "stored"
    )
    c.data.deinterlace = "off"  # fields stay woven; "bwdif" interpolates interlaced frames
    c.data.tone_map = (
        False  # HDR (PQ, HLG) as it is stored, as other pipelines take it; True brings it to BT.709
    )
    c.data.color = "rgb"  # or "gray": one channel
    c.data.sampling = "first"  # one of checks.SAMPLINGS; "random" is evaluated in the centre
    c.data.short = "repeat"  # a video shorter than the clip repeats its last frame; or "loop"
    c.data.mean = (0.0,)  # after the division by 255, one number or one a channel
    c.data.std = (1.0,)
    # (height, width) on disk; () is (size, size); larger leaves room for crops
    c.data.stored_size = ()
    c.data.stored_frames = 0  # keep only the first n frames of a video on disk; 0 keeps all
    c.data.store = "raw"  # or "jpeg": 10 to 20 times smaller, slower to read
    c.data.cache_dir = ""  # prepared data; "" is vid3d/ in the user's cache folder
    c.data.max_bad_fraction = 0.0  # of the training and validation videos that may be unreadable
    c.data.decode_timeout = 60.0  # seconds a video
    c.data.workers = 0  # decoding processes; 0 is one a core
    # a split that fits is held in memory, a larger one streams from disk
    c.data.memory_budget_mb = 2048

    c.data.synthetic = ConfigDict()  # source "synthetic": the embedded data set
    c.data.synthetic.groups = 80  # each with videos of all five classes
    c.data.synthetic.videos_per_group = 2  # a class
    c.data.synthetic.num_frames = 20  # a multiple of 10: whole rounds
    c.data.synthetic.size = 64

    c.augment = ConfigDict()
    # left-right, every second clip: "on", "off", or "auto", unless a class is named after a direction
    c.augment.flip = "off"
    # "random": a place in the stored frame; "resized": also a size and shape
    c.augment.crop = "none"
    c.augment.crop_scale = (0.5, 1.0)  # "resized": the share of the area that is kept
    c.augment.crop_ratio = (0.75, 1.3333)  # "resized": width : height of what is kept
    c.augment.brightness = 0.0  # largest shift, in units of the full range
    c.augment.contrast = 0.0  # largest relative change
    # blends clips and labels with shares drawn from Beta(a, a); 0 does not; with both, each for half of the clips
    c.augment.mixup = 0.0
    c.augment.cutmix = 0.0

    c.model = ConfigDict()
    c.model.name = "conv3d"  # or one of vid3d.models.NAMES: "r3d_18", "x3d_s", "slow_r50", ...
    # where the training starts: a published PyTorch file (.pth, .pyth, .safetensors) or a workdir; "" is at random
    c.model.init_from = ""
    # or "difference": absolute differences of neighbouring frames; "both"; "speed": of edges, and their acceleration;
    # "log_speed": the logarithm of these
    c.model.input = "frames"
    c.model.dropout = 0.5  # before the classes
    # residual networks: chance that the last block is skipped, for a clip; the first ones are skipped more rarely
    c.model.stochastic_depth = 0.0
    # what running batch statistics keep in a step; 0 is the architecture's own: 0.9, of s3d 0.999, which is for long trainings
    c.model.norm_momentum = 0.0
    c.model.dtype = "float32"  # of the computation; parameters are float32; or "bfloat16"
    c.model.remat = False  # compute activations again in the backward pass: less memory, more time
    # conv3d alone; the published architectures have these fixed:
    c.model.features = (128, 64, 32, 32, 32)
    c.model.kernel = (3, 3, 3)
    c.model.pool = (3, 3, 3)
    c.model.norm = "none"  # or "batch", "group"
    # or "average" over time and space, "time_average"; "statistics": mean and deviation of every layer's map
    c.model.head = "flatten"
    c.model.hidden = 1024  # width of the dense layer; 0 leaves it out
    c.model.feature_dropout = 0.25  # before the dense layer

    c.optim = ConfigDict()
    c.optim.name = "adam"  # or "adamw", "sgd"
    c.optim.learning_rate = 1e-3
    c.optim.schedule = "constant"  # or "cosine"
    c.optim.warmup = "0 steps"  # a duration: "500 steps", "2 epochs", "4000 examples"
    c.optim.weight_decay = 0.0
    c.optim.momentum = 0.9  # sgd
    c.optim.clip_norm = 0.0  # largest global norm of the gradient; 0 is no limit
    c.optim.accumulate = 1  # steps whose gradients are averaged into one update
    c.optim.label_smoothing = 0.0
    # or "balanced": the rarer a class, the more it counts in the loss
    c.optim.class_weights = "none"
    # decay of the moving average of the weights that is evaluated and kept, such as 0.999
    c.optim.ema = 0.0
    # times the learning rate, for all layers but the last; 0: only the last layer is trained (a linear probe)
    c.optim.backbone_rate = 1.0

    c.train = ConfigDict()
    c.train.batch_size = 8  # over all devices and hosts
    c.train.epochs = 100
    c.train.balance_classes = False  # draw every class as often in an epoch
    c.train.early_stopping = 0  # evaluations without a better one before the run ends; 0 never
    c.train.profile_steps = ()  # (first, last): writes a JAX profile of these steps

    c.checkpoint = ConfigDict()
    c.checkpoint.every = "1 epoch"

    c.eval = ConfigDict()
    c.eval.every = "1 epoch"
    c.eval.views = 1  # clips a video, evenly spaced, averaged
    # much longer than the training videos: "mean" of windows, "longest" stretch with one label, or "views"
    c.eval.long_videos = "mean"
    c.eval.batch_size = 0  # videos; 0 is train.batch_size

    c.live = ConfigDict()
    c.live.every = 0  # frames between two labels; 0: files every frame_step, cameras at full speed
    c.live.smoothing = 0.0  # share of the previous probabilities that is kept, 0 to 1
    c.live.threshold = 0.0  # below this probability the label is "unknown"
    c.live.window = 0.0  # seconds of a clip with sampling "uniform"; 0: the median training video
    return c.lock()


# Where the data lies, how fast it is read and how often a state is saved do not change a result, so that these may
# differ when a run is resumed.
RESULT_FREE = (
    "data.root",
    "data.cache_dir",
    "data.workers",
    "data.decode_timeout",
    "data.memory_budget_mb",
    "train.profile_steps",
    "eval.batch_size",
    "checkpoint.every",
    "live.every",
    "live.smoothing",
    "live.threshold",
    "live.window",
)


def load(spec: str, overrides: Iterable[tuple[str, str]] = ()) -> ConfigDict:
    """Loads `FILE` or `FILE:ARG`, applies `(key, value)` overrides and checks the result.

    The folder above the file's own is put on the import path, so that presets can import each other
    (`from configs import demo`).

    Args:
        spec: a Python file that defines `get_config()` or `get_config(arg)`, with the argument after a colon;
            or "-": the JSON text of a config, from standard input.
        overrides: dotted keys and their values as text, such as `("model.features", "64,32")`.

    Raises:
        UserError: no such file, an error in it, an unknown key, a value of the wrong type or out of range.
    """
    config = from_json(sys.stdin.read()) if spec == "-" else run_file(spec)
    for key, text in overrides:
        apply(config, key, text)
    validate_new(config)
    return config


def apply(config: ConfigDict, key: str, value: Any) -> None:
    """Sets one dotted key; text is read in the type of the key's default.

    Raises:
        UserError: the key is not in the config (the near one is suggested), or the value has another type.
    """
    known = flatten(config)
    if key not in known:
        groups = {k.rsplit(".", 1)[0] for k in known if "." in k}
        if key in groups:
            raise UserError(f"config.{key} is a group of keys, not a key: set one of its fields")
        raise UserError(f"no config key {key!r}{suggest(key, known)}")
    assign(config, key, parse(key, value, known[key]) if isinstance(value, str) else value)


def assign(config: ConfigDict, key: str, value: Any) -> None:
    """Sets one dotted key that is known; raises a UserError where the value has another type."""
    *path, last = key.split(".")
    group = config
    for name in path:
        group = group[name]
    try:
        like = group[last]
        group[last] = tuple(value) if isinstance(value, list) else value
    except TypeError:
        raise UserError(f"config.{key}={value!r}: expected a value like {like!r}") from None


def parse(key: str, text: str, like: Any) -> Any:
    """Reads the text of a value in the type of `like`.

    Raises:
        UserError: the text has another type.
    """
    kind = type(like)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        if kind is tuple:
            element = ELEMENT_TYPES.get(key) or (type(like[0]) if like else str)
            items = [t.strip().strip("\"'") for t in text.strip().strip("()[]").split(",")]
            return tuple(element(t) for t in items if t)
        return kind(text)
    except (ValueError, KeyError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}.get(
            kind, f"values like {like!r}"
        )
        raise UserError(f"config.{key}={text}: expected {expected}") from None


def validate(config: ConfigDict) -> None:
    """Checks every value that does not need the data to be checked.

    Raises:
        UserError: names the key, the value and what is allowed.
    """
    check(flatten(config), flatten(default()))


def validate_new(config: ConfigDict) -> None:
    """`validate`, and what earlier versions did not check: their workdirs still load."""
    validate(config)
    check_order(flatten(config), ("augment.crop_scale", "augment.crop_ratio"))


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, in the order of the config; lists become tuples."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = tuple(value) if isinstance(value, list) else value
    return flat


def to_json(config: ConfigDict) -> str:
    """The config as JSON text; `from_json` is its inverse."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def from_json(text: str) -> ConfigDict:
    """The inverse of `to_json`; keys that the text lacks (an older version wrote it) get their default.

    Raises:
        UserError: not a JSON object, or a key that this version does not know.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"the config is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError("the config is not a JSON object")
    config = default()
    known = flatten(config)
    for key, value in walk(values):
        if key not in known:
            raise UserError(
                f"no config key {key!r}: was the workdir written by a newer version of vid3d?"
            )
        assign(config, key, value)
    validate(config)
    return config


def read(path: Path) -> ConfigDict:
    """`from_json` of a file, which its errors name."""
    try:
        return from_json(path.read_text())
    except (UserError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None


def walk(values: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested dictionaries."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from walk(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """The keys, with both values, in which a config that would give another result differs from `old`."""
    before, after = flatten(old), flatten(new)
    return [
        f"{key}: {before[key]!r:.100} -> {after[key]!r:.100}"
        for key in before
        if before[key] != after[key] and key not in RESULT_FREE
    ]


def cache_folder(cache_dir: str = "") -> Path:
    """`data.cache_dir` as a path; empty is vid3d/ in the user's cache folder (XDG_CACHE_HOME, or ~/.cache)."""
    if cache_dir:
        return Path(cache_dir).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vid3d"

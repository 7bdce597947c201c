"""The schema of the config: one row per key, in `KEYS`, from which all else is derived.

`vid3d config` prints it, and docs/configs.md is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ml_collections import ConfigDict


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; every element of a tuple has to lie in it."""

    low: float
    high: float = math.inf
    below: bool = False  # high itself is not allowed

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high and not (self.below and number == self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {self.low:g}"
        span = f"from {self.low:g} to {self.high:.10g}"
        return f"{span}, but not {self.high:.10g}" if self.below else span


@dataclass(frozen=True)
class Duration:
    """Text such as "2 epochs", "500 steps" or "4000 examples", of at least so many steps."""

    fewest: int

    def __str__(self) -> str:
        return "a duration" + (" above 0" if self.fewest else "")


class Networks(NamedTuple):
    """The networks that a key has an effect on, in words and as a test of `config.model`."""

    words: str
    include: Callable[[ConfigDict], bool]


@dataclass(frozen=True)
class Key:
    """A row of the schema.

    Attributes:
        name: dotted, such as "data.num_frames".
        default: its type is that of all values; a tuple's elements are of its first element's.
        allowed: choices, a range, or a duration; None is any value of the type.
        help: one line.
        element: type of a tuple's elements, where the default is empty.
        lengths: that a tuple may have; () is any but 0, or any where the default is empty.
        changes_result: False where a run may be resumed with another value.
        in_evaluation: whether `vid3d evaluate` may override what was trained.
        networks: which ones the key has an effect on; None is all.
    """

    name: str
    default: Any
    allowed: tuple[str, ...] | Range | Duration | None
    help: str
    element: type | None = None
    lengths: tuple[int, ...] = ()
    changes_result: bool = True
    in_evaluation: bool = False
    networks: Networks | None = None

    @property
    def group(self) -> str:
        """The name without its last part; "" for `seed`."""
        return self.name.rpartition(".")[0]

    @property
    def element_type(self) -> type:
        """Of a tuple's elements."""
        return self.element or type(self.default[0])

    @property
    def type_name(self) -> str:
        """The type in words: "int", "tuple of 3 int"."""
        if not isinstance(self.default, tuple):
            return type(self.default).__name__
        counts = " or ".join(map(str, self.lengths))
        return " ".join(filter(None, ("tuple of", counts, self.element_type.__name__)))


POSITIVE, NOT_NEGATIVE, FOLD = Range(1), Range(0), Range(-1)
SHARE, SHARE_BELOW_ONE = Range(0, 1), Range(0, 1, below=True)

SOURCES = ("auto", "synthetic", "folder", "ucf101", "manifest", "tfds")
PROTOCOLS = ("auto", "random", "grouped", "official1", "official2", "official3", "manifest")
SAMPLINGS = ("first", "center", "uniform", "random")
RESIZES = ("squash", "short_side", "squash_bilinear", "short_side_bilinear")
ARCHITECTURES = (
    "conv3d", "c3d", "r3d_18", "r3d_34", "mc3_18", "r2plus1d_18", "r2plus1d_34", "s3d",
    "x3d_xs", "x3d_s", "x3d_m", "slow_r50", "slowfast_r50", "slowfast_r50_8x8",
)  # fmt: skip
INPUTS = ("frames", "difference", "both", "speed", "log_speed")
NORMS = ("none", "batch", "group")
HEADS = ("flatten", "average", "time_average", "statistics")

CONV3D = Networks("conv3d", lambda model: model.name == "conv3d")
RESIDUAL = Networks("residual networks", lambda model: model.name not in ("conv3d", "c3d", "s3d"))
BATCH_NORMALISED = Networks(
    "networks with batch normalisation: all but c3d, and conv3d where model.norm is batch",
    lambda model: model.name != "c3d" and (model.name != "conv3d" or model.norm == "batch"),
)

# fmt: off
KEYS = (
    Key("seed", 0, Range(0, 2**31 - 1),
        "of the split, the initial weights, the order of the clips and their augmentation"),

    Key("data.source", "auto", SOURCES,
        "auto: a root with manifest.csv is a manifest, any other a folder"),
    Key("data.root", "", None,
        "the folder of the videos (manifest: or the CSV itself; tfds: its data_dir)",
        changes_result=False, in_evaluation=True),
    Key("data.builder", "", None, 'tfds: the name of the builder, such as "ucf101"'),
    Key("data.classes", (), None,
        "a subset of the classes, in the order of the labels; () is all, sorted", element=str),
    Key("data.protocol", "auto", PROTOCOLS,
        "how the videos are split; auto: as the data says, otherwise grouped"),
    Key("data.group_pattern", "", None,
        "regular expression for the path; it captures the source of a video without a named group"),
    Key("data.background", "", None,
        'the class of unlabelled time in manifests with start and end; "" leaves that time out'),
    Key("data.background_per_video", 0, NOT_NEGATIVE,
        "background stretches of a file; 0: as many as it has labelled ones"),
    Key("data.background_margin", 0.0, NOT_NEGATIVE,
        "seconds around labelled stretches that are not background"),
    Key("data.background_seconds", 1.0, NOT_NEGATIVE,
        "the shortest background stretch; the longest is the median labelled one"),
    Key("data.frames_fps", 0.0, NOT_NEGATIVE,
        "above 0: folders of numbered pictures are videos with so many frames per second",
        in_evaluation=True),
    Key("data.val_fraction", 0.15, SHARE_BELOW_ONE,
        "validation videos, as a share of those that are not test videos"),
    Key("data.test_fraction", 0.2, SHARE_BELOW_ONE, "test videos, as a share of all"),
    Key("data.folds", 0, NOT_NEGATIVE,
        "cross-validation folds to draw, grouped by source, the same for every seed; 0: none"),
    Key("data.test_fold", -1, FOLD,
        "of a manifest's folds, or of those drawn, the one to test on; -1: 0 tests, 1 validates"),
    Key("data.val_fold", -1, FOLD, "the fold to validate on; -1: the one after data.test_fold"),
    Key("data.validate_on_test", False, None,
        "validates on the test videos, as the tutorial does; the result is printed as leaky"),
    Key("data.num_frames", 10, POSITIVE, "frames per clip", in_evaluation=True),
    Key("data.frame_step", 1, POSITIVE, "takes every n-th frame", in_evaluation=True),
    Key("data.fps", 0.0, NOT_NEGATIVE,
        "above 0: frames per second, sampled by time instead of by frame_step", in_evaluation=True),
    Key("data.size", 224, POSITIVE, "the network sees size x size pixels", in_evaluation=True),
    Key("data.stored_size", (), None,
        "(height, width) on disk; () is (size, size); larger leaves room for crops",
        element=int, lengths=(0, 2), in_evaluation=True),
    Key("data.sampling", "first", SAMPLINGS,
        "which part of a video a clip is; random is evaluated in the centre", in_evaluation=True),
    Key("data.short", "repeat", ("repeat", "loop"),
        "a video shorter than the clip repeats its last frame, or starts again"),
    Key("data.resize", "squash", RESIZES,
        "short_side keeps the shape and cuts the centre; _bilinear: as published weights need it"),
    Key("data.pixels", "square", ("square", "stored"),
        "square resamples pixels that are not square (DVD, DV), as players do"),
    Key("data.deinterlace", "off", ("off", "bwdif"),
        "off leaves fields woven; bwdif interpolates interlaced frames"),
    Key("data.tone_map", False, None,
        "HDR (PQ, HLG): True brings it to BT.709, False takes it as stored, as others do"),
    Key("data.color", "rgb", ("rgb", "gray"), "gray is one channel"),
    Key("data.mean", (0.0,), None,
        "subtracted after the division by 255; one number, or one per channel", lengths=(1, 3)),
    Key("data.std", (1.0,), None,
        "divides what is left; one number, or one per channel", lengths=(1, 3)),
    Key("data.stored_frames", 0, NOT_NEGATIVE,
        "stores only the first n frames of a video; 0 stores all"),
    Key("data.store", "raw", ("raw", "jpeg"), "jpeg is 10 to 20 times smaller, slower to read"),
    Key("data.cache_dir", "", None,
        'folder of the prepared videos; "" is vid3d/ in the user\'s cache folder',
        changes_result=False, in_evaluation=True),
    Key("data.workers", 0, NOT_NEGATIVE, "decoding processes; 0 is one per core",
        changes_result=False, in_evaluation=True),
    Key("data.decode_timeout", 60.0, Range(0.1),
        "seconds without a sign of life after which a decoding process is taken for hung",
        changes_result=False, in_evaluation=True),
    Key("data.max_bad_fraction", 0.0, SHARE,
        "share of the training and validation videos that may be unreadable"),
    Key("data.memory_budget_mb", 2048, NOT_NEGATIVE,
        "a split that fits is held in memory, a larger one streams from disk",
        changes_result=False, in_evaluation=True),

    Key("data.synthetic.groups", 80, POSITIVE,
        "source synthetic, the embedded data set: groups, each with videos of all five classes"),
    Key("data.synthetic.videos_per_group", 2, POSITIVE, "per class"),
    Key("data.synthetic.num_frames", 20, None, "a multiple of 10: complete cycles of motion"),
    Key("data.synthetic.size", 64, None, "height and width in pixels"),
    Key("data.synthetic.untrimmed", False, None,
        "each group is one recording: its videos one after another, with pauses, as stretches"),

    Key("augment.flip", "off", ("off", "auto", "on"),
        "left-right, every second clip; auto: unless a class is named after a direction"),
    Key("augment.crop", "none", ("none", "random", "resized"),
        "random: a place in the stored frame; resized: also a size and a shape"),
    Key("augment.crop_scale", (0.5, 1.0), Range(0.01, 1),
        "resized: the share of the area that is kept, from and to", lengths=(2,)),
    Key("augment.crop_ratio", (0.75, 1.3333), Range(0.1, 10),
        "resized: width / height of what is kept, from and to", lengths=(2,)),
    Key("augment.brightness", 0.0, SHARE, "largest shift, as a share of the full range"),
    Key("augment.contrast", 0.0, SHARE, "largest relative change"),
    Key("augment.mixup", 0.0, NOT_NEGATIVE,
        "blends clips and labels with shares from Beta(a, a); 0 is off"),
    Key("augment.cutmix", 0.0, NOT_NEGATIVE,
        "pastes boxes of other clips, with shares from Beta(a, a); with mixup, each on half"),

    Key("model.name", "conv3d", ARCHITECTURES, "the architecture"),
    Key("model.init_from", "", None,
        "initialises from weights (.pth, .pyth, .safetensors) or a workdir"),
    Key("model.input", "frames", INPUTS,
        "difference: of neighbouring frames; both; speed: of edges, and its change; log_speed"),
    Key("model.dropout", 0.5, SHARE_BELOW_ONE, "before the classes"),
    Key("model.stochastic_depth", 0.0, SHARE_BELOW_ONE,
        "chance per clip that the last block is skipped; earlier ones are skipped more rarely",
        networks=RESIDUAL),
    Key("model.norm_momentum", 0.0, SHARE_BELOW_ONE,
        "what running statistics keep per step; 0: the architecture's own, 0.9 (s3d: 0.999)",
        networks=BATCH_NORMALISED),
    Key("model.dtype", "float32", ("float32", "bfloat16"),
        "of the computation; parameters are float32"),
    Key("model.remat", False, None,
        "computes activations again in the backward pass: less memory, more time"),
    Key("model.temperature", 0.0, NOT_NEGATIVE,
        "logits are divided by it; 0: fitted by the validation videos, 1: as they are",
        in_evaluation=True),
    Key("model.features", (128, 64, 32, 32, 32), POSITIVE, "channels per layer", networks=CONV3D),
    Key("model.kernel", (3, 3, 3), POSITIVE, "(time, height, width) of the convolutions",
        lengths=(3,), networks=CONV3D),
    Key("model.pool", (3, 3, 3), POSITIVE, "(time, height, width) of the max pooling per layer",
        lengths=(3,), networks=CONV3D),
    Key("model.norm", "none", NORMS, "normalisation after each convolution", networks=CONV3D),
    Key("model.head", "flatten", HEADS,
        "average: over time and space; statistics: mean and deviation of every layer's map",
        networks=CONV3D),
    Key("model.hidden", 1024, NOT_NEGATIVE, "width of the dense layer; 0 leaves it out",
        networks=CONV3D),
    Key("model.feature_dropout", 0.25, SHARE_BELOW_ONE, "before the dense layer", networks=CONV3D),

    Key("optim.name", "adam", ("adam", "adamw", "sgd"), "the optimizer"),
    Key("optim.learning_rate", 1e-3, NOT_NEGATIVE, "the highest of the schedule"),
    Key("optim.schedule", "constant", ("constant", "cosine"), "of the learning rate"),
    Key("optim.warmup", "0 steps", Duration(0), "in which the learning rate rises from 0"),
    Key("optim.weight_decay", 0.0, NOT_NEGATIVE, "of the kernels alone"),
    Key("optim.momentum", 0.9, SHARE_BELOW_ONE, "of sgd"),
    Key("optim.clip_norm", 0.0, NOT_NEGATIVE,
        "maximum global gradient norm; 0 disables clipping"),
    Key("optim.accumulate", 1, POSITIVE, "steps whose gradients are averaged into one update"),
    Key("optim.label_smoothing", 0.0, SHARE_BELOW_ONE,
        "share of the label that is spread over all classes"),
    Key("optim.class_weights", "none", ("none", "balanced"),
        "balanced: the rarer a class, the more it counts in the loss"),
    Key("optim.ema", 0.0, SHARE_BELOW_ONE,
        "decay of the moving average of the weights that is evaluated and kept, such as 0.999"),
    Key("optim.backbone_rate", 1.0, SHARE,
        "times the learning rate, for all layers but the last; 0 is a linear probe"),

    Key("train.batch_size", 8, POSITIVE, "clips, over all devices and hosts"),
    Key("train.epochs", 100, POSITIVE, "passes over the training videos"),
    Key("train.balance_classes", False, None, "draws every class equally often in an epoch"),
    Key("train.early_stopping", 0, NOT_NEGATIVE,
        "stops after so many evaluations without a better one; 0 never does"),
    Key("train.profile_steps", (), NOT_NEGATIVE,
        "(first, last): writes a JAX profile of these steps",
        element=int, lengths=(0, 2), changes_result=False),

    Key("checkpoint.every", "1 epoch", Duration(1), "between two checkpoints",
        changes_result=False),
    Key("checkpoint.choose", "best", ("best", "last"),
        "which validated checkpoint --checkpoint=best is: the most accurate, or the last"),

    Key("eval.every", "1 epoch", Duration(1), "between two validations"),
    Key("eval.train_videos", 0, NOT_NEGATIVE,
        "training videos that each validation answers as well, in evaluation mode; 0 is none",
        changes_result=False),
    Key("eval.views", 1, Range(1, 1000), "clips per video, evenly spaced, averaged",
        in_evaluation=True),
    Key("eval.long_videos", "mean", ("mean", "longest", "views"),
        "much longer than in training: mean of windows, longest stretch with one label, or views",
        in_evaluation=True),
    Key("eval.batch_size", 0, NOT_NEGATIVE, "videos; 0 is train.batch_size",
        changes_result=False, in_evaluation=True),

    Key("predict.threshold", 0.0, SHARE, 'below this probability the label is "unknown"',
        changes_result=False),
    Key("predict.window", 0.0, NOT_NEGATIVE,
        "seconds per window of a longer video, where sampling is uniform; 0: as in training",
        changes_result=False),
    Key("predict.overlap", 0.0, SHARE_BELOW_ONE,
        "share of each window of a long video that the next one looks at, too",
        changes_result=False),
    Key("predict.smoothing", 0.0, SHARE_BELOW_ONE,
        "share of the previous window's probabilities that the timeline keeps",
        changes_result=False),
    Key("predict.events.on", (), SHARE,
        "an event begins at this probability, each label by itself; (): the most probable label",
        element=float, changes_result=False),
    Key("predict.events.hysteresis", 0.0, SHARE_BELOW_ONE,
        "share by which an event's probability may fall below what it began at",
        changes_result=False),
    Key("predict.events.shortest", 0.0, NOT_NEGATIVE, "seconds; shorter events are dropped",
        changes_result=False),
    Key("predict.events.merge", 0.0, NOT_NEGATIVE,
        "seconds; two events of a label with at most so much between them become one",
        changes_result=False),
    Key("predict.events.nms", 0.5, SHARE_BELOW_ONE,
        "of two events of a label that overlap by more (tIoU), the more probable one stays",
        changes_result=False),
    Key("predict.events.background", (), None, "classes that do not count as events", element=str,
        changes_result=False),
    Key("predict.events.unknown", False, None,
        'keeps stretches below predict.threshold, as events with the label "unknown"',
        changes_result=False),

    Key("live.every", 0, NOT_NEGATIVE,
        "frames between two labels; 0: files every frame_step, cameras at full speed",
        changes_result=False),
    Key("live.mode", "clip", ("clip", "stream"),
        "clip: computes a clip per label; stream: computes new frames only, and keeps a state",
        changes_result=False),
    Key("live.smoothing", 0.0, SHARE_BELOW_ONE,
        "share of the previous probabilities that is kept", changes_result=False),
    Key("live.threshold", 0.0, SHARE, 'below this probability the label is "unknown"',
        changes_result=False),
    Key("live.window", 0.0, NOT_NEGATIVE,
        "seconds per clip where sampling is uniform; 0: the median training video",
        changes_result=False),
)
# fmt: on

BY_NAME = {key.name: key for key in KEYS}
RESULT_FREE = tuple(key.name for key in KEYS if not key.changes_result)
EVALUATION = tuple(key.name for key in KEYS if key.in_evaluation)


def unused(model: ConfigDict) -> list[str]:
    """The keys of `config.model` that are set although they have no effect on its network."""
    return [
        key.name
        for key in KEYS
        if key.networks
        and not key.networks.include(model)
        and model[key.name.removeprefix("model.")] != key.default
    ]

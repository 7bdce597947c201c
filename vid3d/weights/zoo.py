"""The published weights: their addresses, training clips and stated accuracy.

torchvision's numbers and preprocessing are those of `torchvision.models.video` (version 0.28,
`*_Weights.meta` and `transforms`), pytorchvideo's those of its model zoo and of its hub example
(version 0.1.5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vid3d.config import default
from vid3d.errors import UserError, suggest

TORCHVISION = "https://download.pytorch.org/models/"
PYTORCHVIDEO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/"
KINETICS400 = "kinetics400"
KINETICS_SECONDS = 10.0  # duration of a Kinetics video


@dataclass(frozen=True)
class Entry:
    """The published weights of one architecture.

    Attributes:
        data: fields of `config.data` that give the clips of training.
        views: clips per video in the source's evaluation.
        address: of the file; empty if none is published in a layout that can be read here.
        sha256: the first 8 hexadecimal digits, which are part of torchvision's file names; empty if
            unknown.
        top1: accuracy on the validation videos of Kinetics-400 in percent, as stated by the source;
            0 if none.
        protocol: how the source measured the accuracy.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    views: int = 1
    address: str = ""
    sha256: str = ""
    top1: float = 0.0
    protocol: str = ""


def torchvision_clips(num_frames: int, size: int, stored_size: tuple[int, int]) -> dict[str, Any]:
    """torchvision's `VideoClassification`: squashed frames, centre crop, 15 frames per second."""
    return dict(
        num_frames=num_frames,
        fps=15.0,
        size=size,
        stored_size=stored_size,
        resize="squash_bilinear",
        mean=(0.43216, 0.394666, 0.37645),
        std=(0.22803, 0.22145, 0.216989),
    )


def pytorchvideo_clips(num_frames: int, stride: int, size: int) -> dict[str, Any]:
    """pytorchvideo's hub example: short side scaled to `size`, centre crop.

    The frames are spread evenly over num_frames * stride frames at 30 per second, including the
    first and the last, so that neighbours are a little more than `stride` apart.
    """
    return dict(
        num_frames=num_frames,
        fps=30.0 * (num_frames - 1) / (num_frames * stride - 1),
        size=size,
        stored_size=(size, size),
        resize="short_side_bilinear",
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
    )


SMALL = torchvision_clips(16, 112, (128, 171))
FIVE_CLIPS = "5 clips, 1 crop"
THIRTY_VIEWS = "10 clips, 3 crops"
UNPUBLISHED = Entry(SMALL)

ENTRIES = {
    "c3d": UNPUBLISHED,
    "r3d_18": Entry(SMALL, 5, TORCHVISION + "r3d_18-b3b3357e.pth", "b3b3357e", 63.200, FIVE_CLIPS),
    "r3d_34": UNPUBLISHED,
    "mc3_18": Entry(SMALL, 5, TORCHVISION + "mc3_18-a90a0ba3.pth", "a90a0ba3", 63.960, FIVE_CLIPS),
    "r2plus1d_18": Entry(
        SMALL, 5, TORCHVISION + "r2plus1d_18-91a641e6.pth", "91a641e6", 67.463, FIVE_CLIPS
    ),
    "r2plus1d_34": UNPUBLISHED,
    "s3d": Entry(
        torchvision_clips(128, 224, (256, 256)),
        1,
        TORCHVISION + "s3d-d76dad2f.pth",
        "d76dad2f",
        68.368,
        "1 clip, 1 crop",
    ),
    "x3d_xs": Entry(
        pytorchvideo_clips(4, 12, 182), 10, PYTORCHVIDEO + "X3D_XS.pyth", "", 69.12, THIRTY_VIEWS
    ),
    "x3d_s": Entry(
        pytorchvideo_clips(13, 6, 182), 10, PYTORCHVIDEO + "X3D_S.pyth", "", 73.33, THIRTY_VIEWS
    ),
    "x3d_m": Entry(
        pytorchvideo_clips(16, 5, 256), 10, PYTORCHVIDEO + "X3D_M.pyth", "", 75.94, THIRTY_VIEWS
    ),
    "slow_r50": Entry(
        pytorchvideo_clips(8, 8, 256),
        10,
        PYTORCHVIDEO + "SLOW_8x8_R50.pyth",
        "",
        74.58,
        THIRTY_VIEWS,
    ),
    "slowfast_r50": Entry(
        pytorchvideo_clips(32, 2, 256),
        10,
        PYTORCHVIDEO + "SLOWFAST_4x16_R50.pyth",
        "",
        75.34,
        THIRTY_VIEWS,
    ),
    "slowfast_r50_8x8": Entry(
        pytorchvideo_clips(32, 2, 256),
        10,
        PYTORCHVIDEO + "SLOWFAST_8x8_R50.pyth",
        "",
        76.94,
        THIRTY_VIEWS,
    ),
}


def preset(name: str) -> ConfigDict:
    """The config of one architecture for the clips that its published weights were trained on.

    Raises:
        UserError: no such architecture.
    """
    if name not in ENTRIES:
        near = suggest(name, ENTRIES)
        raise UserError(f"there is no preset for {name!r}, only {', '.join(ENTRIES)}{near}")
    config = default()
    config.model.name = name
    config.data.update(ENTRIES[name].data)
    config.data.sampling = "random"  # evaluated in the centre
    config.eval.views = ENTRIES[name].views
    return config


def class_names(classes: str) -> tuple[str, ...]:
    """Class names in the order of the logits: "kinetics400", or a text file, one name per line.

    The order of Kinetics-400 is alphabetical, as in torchvision's and pytorchvideo's files.

    Raises:
        UserError: the file does not exist, is not text, or has an empty line or a repeated name.
    """
    if classes == KINETICS400:
        text = resources.files("vid3d.weights").joinpath(f"{KINETICS400}.txt").read_text("utf-8")
    else:
        try:
            text = Path(classes).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UserError(
                f"the class names {classes} cannot be read ({reason}): name a text file with one "
                f"class per line, or {KINETICS400}"
            ) from None
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    for number, name in enumerate(names, start=1):
        if not name or name in names[: number - 1]:
            fault = f"{name!r} is listed twice" if name else "the line is empty"
            raise UserError(f"{classes}, line {number}: {fault}")
    if not names:
        raise UserError(f"{classes} holds no class names")
    return names


def sha256(weights: str | Path) -> str:
    """The sha256 of a weights file.

    Raises:
        UserError: the file does not exist, or its name promises another sum (r3d_18-b3b3357e.pth).
    """
    path = Path(weights)
    if not path.is_file():
        raise UserError(f"no weights file {path}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    promised = {Path(e.address).name: e.sha256 for e in ENTRIES.values()}.get(path.name, "")
    if not found.startswith(promised):
        raise UserError(
            f"{path} is damaged: by its name its sha256 begins with {promised}, and it is {found}"
        )
    return found

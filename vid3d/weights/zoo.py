"""The published weights: where they are, the clips that they were trained on, the accuracy that their source states.

torchvision's numbers and preprocessing are those of `torchvision.models.video` (version 0.28, `*_Weights.meta` and
`transforms`), pytorchvideo's those of its model zoo and of its hub example (version 0.1.5).
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
KINETICS_SECONDS = 10.0  # a video of Kinetics


@dataclass(frozen=True)
class Entry:
    """What is published for one architecture.

    Attributes:
        data: fields of `config.data` that make a clip as the weights want it.
        views: clips a video in the evaluation of the source.
        address: of the file; empty where nothing is published in a layout that is read here.
        sha256: the first 8 hexadecimal digits, which torchvision puts into the names of its files; empty is unknown.
        top1: accuracy on the validation videos of Kinetics-400, in percent, as the source states it; 0 is none.
        protocol: how the source measured it.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    views: int = 1
    address: str = ""
    sha256: str = ""
    top1: float = 0.0
    protocol: str = ""


def torchvision_clips(num_frames: int, size: int, stored_size: tuple[int, int]) -> dict[str, Any]:
    """`VideoClassification` of torchvision: every frame is squashed, the centre cut out; 15 frames a second."""
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
    """The hub example of pytorchvideo: short side to `size`, square centre; n frames evenly from n * stride at 30 a second.

    The first and the last of these frames are taken, so that neighbours are a little more than `stride` apart.
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
FIVE_CLIPS = "5 clips a video, 1 crop"
THIRTY_VIEWS = "10 clips a video, 3 crops"
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
        "1 clip a video, 1 crop",
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
    """The config of one architecture on the clips that its published weights were trained on.

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
    """Class names in the order of the logits: "kinetics400", or a text file with one name a line.

    The order of Kinetics-400 is alphabetical, that of torchvision's and of pytorchvideo's files.

    Raises:
        UserError: no such file, no text, an empty line between names, or a name that stands there twice.
    """
    if classes == KINETICS400:
        text = resources.files("vid3d.weights").joinpath(f"{KINETICS400}.txt").read_text("utf-8")
    else:
        try:
            text = Path(classes).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UserError(
                f"the class names {classes} cannot be read ({reason}): name a text file with one class a line, "
                f"or {KINETICS400}"
            ) from None
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    for number, name in enumerate(names, start=1):
        if not name or name in names[: number - 1]:
            fault = f"{name!r} stands there twice" if name else "the line is empty"
            raise UserError(f"{classes}, line {number}: {fault}")
    if not names:
        raise UserError(f"{classes} holds no class names")
    return names


def sha256(weights: str | Path) -> str:
    """The sha256 of a weights file.

    Raises:
        UserError: there is none, or its name is that of a published file with another sum (r3d_18-b3b3357e.pth).
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

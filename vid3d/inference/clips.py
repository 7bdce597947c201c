"""The clips of files, as `predict` would look at them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from vid3d import checkpoint as checkpoints
from vid3d.checkpoint import Address, Workdir
from vid3d.config import from_json
from vid3d.errors import UserError
from vid3d.inference import files
from vid3d.inference.video import gather
from vid3d.video.plan import Durations, plan


def clips_of(workdir: Address, checkpoint: str, paths: Sequence[str], *, limit: int) -> np.ndarray:
    """The clips of video files: uint8 [N, T, H, W, C], N at most `limit`.

    Args:
        workdir: of the training run, whose config says what a clip is.
        checkpoint: "best", "latest" or a step.
        paths: of the videos.
        limit: most clips of all of them together.

    Raises:
        UserError: a file cannot be read.
    """
    workdir = Workdir(workdir)
    meta = workdir.meta(checkpoints.resolve(workdir, checkpoint))
    config, trained = from_json(json.dumps(meta["config"])), Durations.of(meta)
    found: list[np.ndarray] = []
    for file in files.read_many(list(paths), config.data, workers=1):
        if isinstance(file, UserError):
            raise file
        chosen = plan(np.array(file.times), config.data, config.eval, trained)
        found += [clip for _, clip in gather(file.frames(), chosen.indices)]
        if len(found) >= limit:
            break
    return np.stack(found[:limit])

"""The test set of a workdir for an exported network: clips to compare on, and its accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vid3d import parallel
from vid3d.checkpoint import Address, Workdir
from vid3d.data import pipeline, prepare
from vid3d.engine import Network
from vid3d.evaluation import evaluate
from vid3d.evaluation.predictions import eval_batch_size
from vid3d.evaluation.restored import Restored, restore


@dataclass(frozen=True)
class TestSet:
    """The test videos of a checkpoint."""

    __test__ = False  # to pytest

    restored: Restored
    clips: pipeline.Clips

    @classmethod
    def find(cls, workdir: Address, checkpoint: str = "best", data: str | None = None) -> TestSet:
        """Finds and prepares the videos, of `data` or those of the run's own test split.

        Raises:
            UserError: see `evaluate.evaluate`.
        """
        restored = restore(Workdir(workdir), checkpoint, (), data)
        index = evaluate.find_videos(restored)
        prepared = prepare.prepare(restored.config, index=index, quiet=True)
        clips = evaluate.find_clips(restored, prepared, "test")
        evaluate.check_unseen(restored, prepared, clips, "test")
        return cls(restored, clips)

    def first_clips(self, count: int) -> np.ndarray:
        """A clip of each of the first `count` videos: uint8 [N, T, H, W, C]."""
        found: list[np.ndarray] = []
        size = eval_batch_size(self.restored.config)
        for batch in pipeline.eval_batches(self.clips, batch_size=size, host=(0, 1)):
            kept = batch["clips_BVTHWC"][batch["mask_B"] > 0]
            found += list(kept[:, 0])
            if len(found) >= count:
                break
        return np.stack(found[:count])

    def compare(self, network: Network) -> dict[str, Any]:
        """Test accuracy of a network with its interval, and that of the same weights in JAX."""
        rows = {}
        for name, one in (("exported", network), ("jax", None)):
            predictions = evaluate.predict_all(self.restored, self.clips, one)
            rows[name] = evaluate.summarise(predictions, self.clips, self.restored.classes)
        return {
            "num_videos": rows["jax"]["num_videos"],
            "accuracy": rows["exported"]["accuracy"],
            "interval": rows["exported"]["interval"],
            "accuracy_jax": rows["jax"]["accuracy"],
            "devices_jax": parallel.describe(),
        }

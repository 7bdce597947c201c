"""The network's answer for every video of a split, whatever the batch size and the devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from vid3d import parallel
from vid3d.data import pipeline
from vid3d.engine import Network
from vid3d.evaluation import metrics
from vid3d.models.normalise import normalise

EvalStep = Callable[[Any, dict[str, jax.Array]], dict[str, jax.Array]]


@dataclass(frozen=True)
class Predictions:
    """Answers in the order of the split's videos.

    Attributes:
        probabilities_NK: float32.
        losses_N: cross-entropy, float32.
        labels_N: true classes, int32.
        log_p_VK: of each video, the log-probabilities of the clips that count in its answer.
        weights_V: of each video, how much these clips count, with the sum 1.
    """

    probabilities_NK: np.ndarray
    losses_N: np.ndarray
    labels_N: np.ndarray
    log_p_VK: Sequence[np.ndarray]
    weights_V: Sequence[np.ndarray]

    @classmethod
    def of(
        cls, log_p_VK: Sequence[np.ndarray], weights_V: Sequence[np.ndarray], labels_N: np.ndarray
    ) -> Predictions:
        """From what the network said of the clips, see `Predictions`."""
        answers = [
            answer(log_p, weights, label)
            for log_p, weights, label in zip(log_p_VK, weights_V, labels_N, strict=True)
        ]
        return cls(
            probabilities_NK=np.stack([probabilities_K for probabilities_K, _ in answers]),
            losses_N=np.array([loss for _, loss in answers], np.float32),
            labels_N=labels_N,
            log_p_VK=log_p_VK,
            weights_V=weights_V,
        )

    def divided_by(self, temperature: float) -> Predictions:
        """The answers of the network with its logits divided by this number."""
        log_p_VK = [log_softmax(log_p / temperature) for log_p in self.log_p_VK]
        return Predictions.of(log_p_VK, self.weights_V, self.labels_N)

    def accuracy(self) -> float:
        return metrics.top_k_correct(self.probabilities_NK, self.labels_N, 1) / len(self.labels_N)

    def loss(self) -> float:
        return float(self.losses_N.astype(np.float64).mean())

    def scores(self) -> dict[str, float]:
        return {"accuracy": self.accuracy(), "loss": self.loss()}


def build_eval_step(model: nn.Module, *, data: ConfigDict) -> EvalStep:
    """Builds step(variables, batch) -> `log_probabilities_BVK` of each clip."""

    def eval_step(variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        clips_BVTHWC = batch["clips_BVTHWC"]
        b, v = clips_BVTHWC.shape[:2]
        clips = normalise(clips_BVTHWC.reshape(b * v, *clips_BVTHWC.shape[2:]), data)
        logits = cast(jax.Array, model.apply(variables, clips, train=False)).astype(jnp.float32)
        return {"log_probabilities_BVK": jax.nn.log_softmax(logits).reshape(b, v, -1)}

    return eval_step


def engine_step(network: Network) -> EvalStep:
    """A step like that of `build_eval_step`, on this host, by a network that has its weights."""
    smallest = np.finfo(np.float32).tiny  # such a network gives probabilities, which may be 0

    def step(_: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        clips_BVTHWC = parallel.unshard(batch)["clips_BVTHWC"]
        b, v = clips_BVTHWC.shape[:2]
        rows = network(clips_BVTHWC.reshape(b * v, *clips_BVTHWC.shape[2:]))
        log_p_BVK = np.log(np.maximum(rows, smallest)).reshape(b, v, -1)
        return parallel.shard({"log_probabilities_BVK": log_p_BVK})

    return step


def eval_batch_size(config: ConfigDict) -> int:
    """Rows of clips per batch; 0 in the config is as many as in training."""
    return config.eval.batch_size or config.train.batch_size


def predict(
    mapped_step: EvalStep, variables: Any, clips: pipeline.Clips, *, batch_size: int
) -> Predictions:
    """Runs a mapped eval step over every video of `clips`.

    Args:
        mapped_step: `parallel.map_eval(build_eval_step(...))`.
        variables: params and batch_stats, replicated.
        clips: for evaluation.
        batch_size: rows of clips over all devices and hosts: one per video, several per long video.
    """
    assert clips.evaluation is not None
    long_videos = clips.evaluation.long_videos
    rows: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    waiting: list[np.ndarray] = []  # rows [V, K] of the next video
    batches = pipeline.eval_batches(
        clips, batch_size=batch_size, host=parallel.host_index_and_count()
    )
    for batch in parallel.prefetch(batches):
        kept = {"mask_B": batch["mask_B"]} | mapped_step(variables, batch)
        gathered = parallel.gather_hosts(parallel.unshard(kept))
        merged = {name: x.reshape(-1, *x.shape[2:]) for name, x in gathered.items()}
        for log_p_VK in merged["log_probabilities_BVK"][merged["mask_B"] > 0]:
            waiting.append(log_p_VK)
            plan = clips.plans[len(rows)]
            if len(waiting) * clips.views >= len(plan.indices):
                log_p_NK = np.concatenate(waiting)[: len(plan.indices)]
                weights_N = plan.weights(np.exp(log_p_NK), long_videos)
                rows.append(log_p_NK[weights_N > 0])
                weights.append(weights_N[weights_N > 0])
                waiting = []
    return Predictions.of(rows, weights, clips.labels_N)


def answer(log_p_VK: np.ndarray, weights_V: np.ndarray, label: int) -> tuple[np.ndarray, float]:
    """One video's probabilities, float32 [K], and loss, from the log-probabilities of its clips."""
    # Not the logarithm of the probability, which may be too small for a float.
    with np.errstate(invalid="ignore"):  # a network that diverged says NaN, which ends the run
        loss = -np.logaddexp.reduce(log_p_VK[:, label] + np.log(weights_V))
    return (weights_V @ np.exp(log_p_VK)).astype(np.float32), float(loss)


def log_softmax(logits_NK: np.ndarray) -> np.ndarray:
    """Logits or log-probabilities -> log-probabilities."""
    shifted_NK = logits_NK - logits_NK.max(axis=1, keepdims=True)
    return shifted_NK - np.log(np.exp(shifted_NK).sum(axis=1, keepdims=True))

"""Fits the temperature that makes the probabilities of a network true, on validation videos."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vid3d.evaluation.predictions import Predictions, log_softmax

LOWEST, HIGHEST = 0.1, 100.0
TOGETHER = 2**22  # log-probabilities that are computed with at once: bounds the memory


def fit(predictions: Predictions) -> float:
    """The temperature with the smallest cross-entropy, from `LOWEST` to `HIGHEST`.

    Beside the N videos counts one more, which is all of them at once with every class equally
    likely: where all are right, the likeliest temperature would be 0, and every answer certain.
    With K classes the mean probability of a network that is always right so becomes
    1 - (K - 1) / (K (N + 1)): it is no surer than N videos can vouch for. Source of the idea: Platt
    1999, "Probabilistic outputs for support vector machines".
    """
    from scipy.optimize import minimize_scalar

    parts = list(_parts(predictions))
    total = len(predictions.labels_N)

    def cross_entropy(log_temperature: float) -> float:
        summed = 0.0
        for log_p_RK, log_weights_R, firsts_N, labels_N in parts:
            scaled_RK = log_softmax(log_p_RK / np.exp(log_temperature)) + log_weights_R[:, None]
            log_p_NK = np.logaddexp.reduceat(scaled_RK, firsts_N, axis=0)
            true_N = np.take_along_axis(log_p_NK, labels_N[:, None], axis=1)
            summed -= float(true_N.sum() + log_p_NK.mean(axis=1).sum() / total)
        return summed / total

    bounds = (np.log(LOWEST), np.log(HIGHEST))
    found = minimize_scalar(cross_entropy, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def _parts(
    predictions: Predictions,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Some videos at a time: log-probabilities and log-weights of all their clips, float64 [R, K]
    and [R], the first clip of each video, and its label.
    """
    sizes_N = np.cumsum([log_p.size for log_p in predictions.log_p_VK])
    for part in np.unique(part_N := sizes_N // TOGETHER):
        chosen = np.flatnonzero(part_N == part).tolist()
        rows = [predictions.log_p_VK[i] for i in chosen]
        firsts_N = np.cumsum([0, *map(len, rows[:-1])])
        weights_R = np.concatenate([predictions.weights_V[i] for i in chosen])
        log_p_RK = np.concatenate(rows).astype(np.float64)
        yield log_p_RK, np.log(weights_R), firsts_N, predictions.labels_N[chosen]

"""Are the probabilities true? Of the answers with probability 0.8, 80% should be right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 15  # of equal width, as in the paper
FEWEST_GROUPS = 15  # with fewer, a bootstrap over groups is too narrow, see experiments/coverage.py
DRAWS = 2000


def summarise(
    probabilities_NK: np.ndarray, labels_N: np.ndarray, groups: Sequence[str]
) -> dict[str, Any]:
    """How true the probabilities are, as plain Python values.

    Args:
        probabilities_NK: one row per video.
        labels_N: the true classes.
        groups: the source of each video.

    Returns:
        expected_calibration_error, its interval (95%, a bootstrap over groups; None below
        `FEWEST_GROUPS` groups), brier_score, and bins: for each with a video, how many, the mean
        probability of their answers and the share that is right.
    """
    confidence_N = probabilities_NK.max(axis=1).astype(np.float64)
    right_N = probabilities_NK.argmax(axis=1) == labels_N
    number_N = bin_numbers(confidence_N)
    counts, confidences, rights = (
        np.bincount(number_N, weights=weights_N, minlength=BINS)
        for weights_N in (np.ones(len(labels_N)), confidence_N, right_N)
    )
    filled = np.flatnonzero(counts)
    return {
        "expected_calibration_error": calibration_error(confidence_N, right_N),
        "interval": interval(confidence_N, right_N, groups),
        "brier_score": brier_score(probabilities_NK, labels_N),
        "bins": [
            {
                "videos": int(counts[number]),
                "confidence": float(confidences[number] / counts[number]),
                "accuracy": float(rights[number] / counts[number]),
            }
            for number in filled.tolist()
        ],
    }


def bin_numbers(confidence_N: np.ndarray) -> np.ndarray:
    """The bin of each probability: (0, 1/15], (1/15, 2/15], ..."""
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.searchsorted(edges, confidence_N, side="left")


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray) -> float:
    """The expected calibration error: the mean gap between probability and accuracy of the bins.

    Each bin counts by its videos. It is above 0 by chance alone, the more so the fewer videos.
    Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015; with 15 bins Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural
    Networks", ICML 2017.

    Args:
        confidence_N: the probability of each answer.
        right_N: whether the answer is right.
    """
    gaps = np.bincount(bin_numbers(confidence_N), weights=confidence_N - right_N, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence_N))


def brier_score(probabilities_NK: np.ndarray, labels_N: np.ndarray) -> float:
    """The mean squared distance of the probabilities from the truth, 0 to 2 (Brier 1950)."""
    truth_NK = np.eye(probabilities_NK.shape[1])[labels_N]
    return float(((probabilities_NK - truth_NK) ** 2).sum(axis=1).mean())


def interval(
    confidence_N: np.ndarray, right_N: np.ndarray, groups: Sequence[str]
) -> list[float] | None:
    """The middle 95% of `calibration_error` where groups are drawn with replacement."""
    _, number_N = np.unique(groups, return_inverse=True)
    num_groups = int(number_N.max()) + 1
    if num_groups < FEWEST_GROUPS:
        return None
    # Summed per group and bin, a draw of groups is a sum of rows.
    gaps_GB = np.zeros((num_groups, BINS))
    np.add.at(gaps_GB, (number_N, bin_numbers(confidence_N)), confidence_N - right_N)
    videos_G = np.bincount(number_N)
    drawn_DG = np.random.default_rng(0).multinomial(
        num_groups, np.full(num_groups, 1 / num_groups), size=DRAWS
    )
    errors_D = np.abs(drawn_DG @ gaps_GB).sum(axis=1) / (drawn_DG @ videos_G)
    return [float(edge) for edge in np.quantile(errors_D, (0.025, 0.975))]

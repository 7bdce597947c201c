"""A user who acts on "0.8" is told how often that is right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import brier_score_loss

from vid3d.evaluation import calibration


def answers(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(k, 0.5), n), rng.integers(0, k, n)


@settings(max_examples=40)
@given(n=st.integers(1, 80), k=st.integers(2, 9), seed=st.integers(0, 10_000))
def test_figures_equal_their_definitions(n, k, seed):
    """By the loop over bins of the paper, and by scikit-learn."""
    p_NK, labels_N = answers(n, k, seed)
    found = calibration.summarise(p_NK, labels_N, [str(i) for i in range(n)])
    error = videos = 0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        inside = [i for i in range(n) if low < p_NK[i].max() <= high]
        if inside:
            confidence = sum(p_NK[i].max() for i in inside) / len(inside)
            accuracy = sum(p_NK[i].argmax() == labels_N[i] for i in inside) / len(inside)
            error += len(inside) / n * abs(confidence - accuracy)
            row = found["bins"][videos]
            assert row["videos"] == len(inside)
            assert (row["confidence"], row["accuracy"]) == pytest.approx((confidence, accuracy))
            videos += 1
    assert len(found["bins"]) == videos
    assert found["expected_calibration_error"] == pytest.approx(error)
    expected = brier_score_loss(labels_N, p_NK, labels=range(k), scale_by_half=False)
    assert found["brier_score"] == pytest.approx(expected)


def test_true_probabilities_have_a_small_error_and_overconfident_ones_a_large_one():
    rng = np.random.default_rng(0)
    p_NK = rng.dirichlet(np.ones(4), 4000)
    labels_N = np.array([rng.choice(4, p=p_K) for p_K in p_NK])
    groups = [str(i // 4) for i in range(4000)]
    true = calibration.summarise(p_NK, labels_N, groups)
    sharp_NK = p_NK**3 / (p_NK**3).sum(axis=1, keepdims=True)
    sharp = calibration.summarise(sharp_NK, labels_N, groups)
    assert true["expected_calibration_error"] < 0.03
    low, high = sharp["interval"]
    assert low < sharp["expected_calibration_error"] < high
    assert low > 0.15 > true["interval"][1]


def test_interval_takes_whole_sources_and_is_refused_for_few():
    """Twenty sources of five equal videos say no more than twenty videos."""
    p_NK, labels_N = answers(20, 3, seed=1)
    alone = calibration.summarise(p_NK, labels_N, [str(i) for i in range(20)])["interval"]
    fivefold = np.repeat(p_NK, 5, axis=0), np.repeat(labels_N, 5)
    grouped = calibration.summarise(*fivefold, [str(i // 5) for i in range(100)])["interval"]
    ungrouped = calibration.summarise(*fivefold, [str(i) for i in range(100)])["interval"]
    assert grouped[1] - grouped[0] == pytest.approx(alone[1] - alone[0], rel=0.1)
    assert ungrouped[1] - ungrouped[0] < 0.8 * (grouped[1] - grouped[0])
    assert calibration.summarise(*fivefold, [str(i // 8) for i in range(100)])["interval"] is None


def test_a_probability_on_an_edge_is_in_the_bin_below():
    """As in the references: (0, 1/15], (1/15, 2/15] and so on."""
    edges = np.arange(1, calibration.BINS + 1) / calibration.BINS
    assert calibration.bin_numbers(edges).tolist() == list(range(calibration.BINS))

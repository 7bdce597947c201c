"""The numbers that go into a paper equal those of scikit-learn and of the textbook."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from sklearn import metrics as sk

from vid3d.evaluation import metrics, plots


def probabilities(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    return rng.dirichlet(np.ones(k), n)


@settings(max_examples=40)
@given(n=st.integers(1, 60), k=st.integers(2, 12), seed=st.integers(0, 10_000))
def test_every_figure_equals_scikit_learns(n, k, seed):
    rng = np.random.default_rng(seed)
    p_NK, labels_N = probabilities(rng, n, k), rng.integers(0, k, n)
    classes = [f"class{i}" for i in range(k)]
    found = metrics.summarise(p_NK, -np.log(p_NK[np.arange(n), labels_N]), labels_N, classes)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels_N, p_NK.argmax(1)))
    assert found["loss"] == pytest.approx(sk.log_loss(labels_N, p_NK, labels=range(k)), rel=1e-4)
    if k > 5:
        expected = sk.top_k_accuracy_score(labels_N, p_NK, k=5, labels=range(k))
        assert found["top5_accuracy"] == pytest.approx(expected)
    else:
        assert found["top5_accuracy"] is None
    matrix = metrics.confusion_matrix(labels_N, p_NK.argmax(1), k)
    np.testing.assert_array_equal(
        matrix, sk.confusion_matrix(labels_N, p_NK.argmax(1), labels=range(k))
    )
    recall = sk.recall_score(
        labels_N, p_NK.argmax(1), labels=range(k), average=None, zero_division=0
    )
    assert [row["recall"] for row in found["per_class"].values()] == pytest.approx(list(recall))
    assert sum(row["count"] for row in found["per_class"].values()) == n == found["num_videos"]


@given(total=st.integers(1, 500), data=st.data())
def test_wilson_interval_equals_scipys(total, data):
    correct = data.draw(st.integers(0, total))
    expected = stats.binomtest(correct, total).proportion_ci(0.95, method="wilson")
    assert metrics.wilson_interval(correct, total) == pytest.approx(tuple(expected), abs=1e-9)


def test_groups_widen_the_interval_as_much_as_their_videos_are_alike():
    rng = np.random.default_rng(0)
    right_G = rng.random(40) < 0.7
    right_N, groups = right_G.repeat(10), [f"g{i}" for i in np.arange(40).repeat(10)]
    p_NK = np.stack([~right_N, right_N], axis=1).astype(float)
    labels_N = np.ones(400, int)
    found = metrics.summarise(p_NK, np.zeros(400), labels_N, "ab", groups=groups)
    low, high = found["interval_groups"]
    for level, fits in ((0.95, True), (0.9, False)):
        expected = stats.bootstrap(
            (right_G,), np.mean, method="percentile", confidence_level=level, n_resamples=20_000,
            rng=np.random.default_rng(1),
        ).confidence_interval  # fmt: skip
        # The mean of forty groups moves in steps of 1/40.
        assert ((low, high) == pytest.approx(tuple(expected), abs=0.0125)) == fits
    assert high - low > 2.5 * (found["interval"][1] - found["interval"][0])
    assert found["num_groups"] == 40
    alone = metrics.summarise(
        p_NK, np.zeros(400), labels_N, "ab", groups=list(map(str, range(400)))
    )
    assert alone["interval_groups"] is None


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_groups_that_are_all_right_or_all_wrong_give_no_interval_without_a_width(right):
    p_NK = np.tile([1 - right, right], (12, 1))
    groups = list("aabbccddeeff")
    found = metrics.summarise(p_NK, np.zeros(12), np.ones(12, int), "ab", groups=groups)
    assert found["interval_groups"] is None and found["num_groups"] == 6
    assert found["interval"][1] - found["interval"][0] > 0.2


def test_ties_count_for_the_class_that_is_reported():
    p_NK = np.array([[0.5, 0.5], [0.5, 0.5]], np.float32)
    assert metrics.top_k_correct(p_NK, np.array([0, 1]), 1) == 1


@pytest.mark.parametrize("k", [2, 5, 101])
def test_a_confusion_matrix_is_readable_at_any_number_of_classes(k, tmp_path):
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 5, (k, k)) + np.diag(rng.integers(10, 40, k))
    classes = [f"SomeAction{i}" for i in range(k)]
    figure = plots.confusion_figure(matrix, classes, title="accuracy")
    path = tmp_path / "matrix.png"
    plots.save_figure(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    pixels = plots.figure_to_array(figure)
    assert pixels.dtype == np.uint8
    labels = [text for text in figure.axes[0].get_yticklabels() if text.get_text()]
    boxes = [text.get_window_extent() for text in labels]
    assert len(boxes) == k
    overlaps = sum(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    assert overlaps == 0


@pytest.mark.parametrize("classes", [list("abcde"), ["fight", "noFight"], ["Clockwise"] * 5])
def test_nothing_of_a_confusion_matrix_is_cut_off(classes):
    k = len(classes)
    title = (
        "100.0% (100.0% to 100.0%) of 10193 test videos\nprotocol: grouped (groups unknown) (leaky)"
    )
    figure = plots.confusion_figure(np.eye(k, dtype=int), classes, title=title)
    white_HW = (plots.figure_to_array(figure) > 250).all(axis=2)
    for edge in (white_HW[:, :2], white_HW[:, -2:], white_HW[:2], white_HW[-2:]):
        assert edge.all()


def curve(epochs: Iterable[float]) -> list[dict[str, float]]:
    return [{"epoch": epoch, "val/accuracy": 0.5, "val/loss": 1.0} for epoch in epochs]


@pytest.mark.parametrize("epochs", [(3.0,), (1.0, 2.0, 3.0), range(1, 41)])
def test_whole_epochs_have_whole_ticks(epochs):
    figure = plots.curves_figure({"run": curve(epochs)})
    for axes in figure.axes:
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert shown and all(tick % 1 == 0 for tick in shown)


def test_many_curves_have_one_colour_a_config():
    names = {f"rate={rate},seed={seed}": f"{rate}" for rate in range(4) for seed in range(3)}
    figure = plots.curves_figure({name: curve([1.0, 2.0]) for name in names}, names)
    colours = [line.get_color() for line in figure.axes[0].get_lines()]
    assert len(colours) == 12 and len(set(colours)) == 4
    assert [len(set(colours[i : i + 3])) for i in (0, 3, 6, 9)] == [1] * 4
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"rate={rate},seed=0 (3 seeds)" for rate in range(4)]
    few = plots.curves_figure({name: curve([1.0, 2.0]) for name in list(names)[:3]}, names)
    assert len({line.get_color() for line in few.axes[0].get_lines()}) == 3


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (9, 3), (30, 14)])
def test_flipped_signs_of_single_videos_are_the_binomial_test(wins, losses):
    gains = [1] * wins + [-1] * losses + [0] * 7
    found = metrics.sign_flip_p_value(gains, [str(i) for i in range(len(gains))])
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert found == pytest.approx(expected, abs=0 if wins + losses < 14 else 0.004)


def test_videos_of_one_source_count_once_in_the_paired_test():
    """Eight gains in two sources: two signs, and every way to flip them but two gives less."""
    assert metrics.sign_flip_p_value([1] * 8, list("aaaabbbb")) == 0.5
    assert metrics.sign_flip_p_value([1] * 8, list("abcdefgh")) == 2 / 2**8


def test_the_signs_of_many_groups_are_drawn_a_part_at_a_time_and_are_the_same(monkeypatch):
    """Eight thousand groups at once took 2.4 GB."""
    gains = np.random.default_rng(3).integers(-2, 4, 40)
    groups = list(map(str, range(40)))
    found = []
    for at_once in (20_000, 500, 333):
        monkeypatch.setattr(metrics, "DRAWN_AT_ONCE", at_once)
        found.append(metrics.sign_flip_p_value(gains, groups))
    assert 0 < found[0] < 1 and len(set(found)) == 1

"""The numbers that go into a paper equal those of scikit-learn and of the textbook."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import optimize, stats
from sklearn import metrics as sk

from vid3d.evaluation import evaluate, metrics, plots


def probabilities(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    return rng.dirichlet(np.ones(k), n)


@settings(max_examples=40)
@given(n=st.integers(1, 60), k=st.integers(2, 12), seed=st.integers(0, 10_000))
def test_every_figure_equals_that_of_scikit_learn(n, k, seed):
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
    present = sorted(set(labels_N.tolist()))
    options = {"labels": present, "average": "macro", "zero_division": 0}
    assert found["macro_f1"] == pytest.approx(sk.f1_score(labels_N, p_NK.argmax(1), **options))
    with warnings.catch_warnings():  # it warns of classes that are predicted and have no video
        warnings.simplefilter("ignore")
        balanced = sk.balanced_accuracy_score(labels_N, p_NK.argmax(1))
    assert found["balanced_accuracy"] == pytest.approx(balanced)


@given(total=st.integers(1, 500), data=st.data())
def test_wilson_interval_equals_that_of_scipy(total, data):
    correct = data.draw(st.integers(0, total))
    expected = stats.binomtest(correct, total).proportion_ci(0.95, method="wilson")
    assert metrics.wilson_interval(correct, total) == pytest.approx(tuple(expected), abs=1e-9)


def test_a_class_without_videos_has_no_share_in_the_means():
    """One of four videos is taken for the third class, which has none."""
    p_NK = np.eye(3)[[0, 0, 1, 2]]
    found = metrics.summarise(p_NK, np.zeros(4), np.array([0, 0, 1, 1]), "abc")
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)
    (note,) = evaluate.class_notes(found)
    assert note.startswith("1 of 3 classes have no video here and do not count in the balanced")
    assert note.endswith(": c")
    whole = metrics.summarise(p_NK, np.zeros(4), np.array([0, 0, 1, 2]), "abc")
    assert evaluate.class_notes(whole) == []


def test_confused_pairs_are_sorted_by_videos_and_share():
    matrix = np.array([[5, 2, 1], [2, 9, 0], [0, 3, 1]])
    found = metrics.confused_pairs(matrix)
    assert found == [(2, 1, 3, 4), (0, 1, 2, 8), (1, 0, 2, 11), (0, 2, 1, 8)]
    labels_N = np.repeat(np.repeat(range(3), 3), matrix.ravel())
    predicted_N = np.repeat(np.tile(range(3), 3), matrix.ravel())
    named = metrics.summarise(np.eye(3)[predicted_N], np.zeros(23), labels_N, "abc")
    assert named["most_confused"][0] == {"true": "c", "predicted": "b", "videos": 3, "total": 4}
    assert len(named["most_confused"]) == 4


def in_groups(*right: int, of: int | list[int]) -> tuple[list[bool], list[str]]:
    """Videos by group: so many right of so many."""
    sizes = [of] * len(right) if isinstance(of, int) else of
    answers = [i < r for r, n in zip(right, sizes, strict=True) for i in range(n)]
    return answers, [f"g{k}" for k, n in enumerate(sizes) for _ in range(n)]


def wilson_of(mean: float, total: float) -> list[float]:
    """The accuracies whose own standard error reaches the mean: what Wilson's interval solves."""

    def reach(p: float) -> float:
        return (p - mean) ** 2 - Z**2 * p * (1 - p) / total

    low = optimize.brentq(reach, 0, mean) if mean > 0 else 0.0
    return [low, optimize.brentq(reach, mean, 1) if mean < 1 else 1.0]


Z = stats.norm.ppf(0.975)


def test_the_interval_over_sources_follows_the_textbook():
    """Variance by clusters as in survey sampling, design effect, Student's t, Wilson's interval."""
    right = [3, 4, 1, 5, 2, 5, 4, 0]
    mean = np.mean(right) / 5
    # With equal sizes the mean is that of the groups' shares, and its variance theirs over their
    # number.
    design_effect = np.var(np.array(right) / 5, ddof=1) / 8 / (mean * (1 - mean) / 40)
    assert design_effect > 1
    # Seven of the eight groups have a right video, six a wrong one.
    effective = 40 / design_effect * (Z / stats.t.ppf(0.975, 6)) ** 2
    assert effective > 8
    found = metrics.group_interval(*in_groups(*right, of=5))
    assert found == pytest.approx(wilson_of(mean, effective))


def test_unequal_sources_count_for_less():
    answers, groups = in_groups(6, 2, 1, of=[9, 3, 2])
    number = 14**2 / (9**2 + 3**2 + 2**2)
    residuals = np.array([6, 2, 1]) - 9 / 14 * np.array([9, 3, 2])
    variance = 3 / 2 * (residuals**2).sum() / 14**2
    assert variance < 9 / 14 * 5 / 14 / 14  # less than of independent videos, which is chance
    effective = 14 * (Z / stats.t.ppf(0.975, number - 1)) ** 2
    assert effective < number
    assert metrics.group_interval(answers, groups) == pytest.approx(wilson_of(9 / 14, number))


@pytest.mark.parametrize("sources", [1, 2, 10, 40])
@pytest.mark.parametrize("right", [0, 1])
def test_sources_all_alike_count_as_one_video_each(sources, right):
    answers, groups = in_groups(*[6 * right] * sources, of=6)
    found = metrics.group_interval(answers, groups)
    expected = stats.binomtest(right * sources, sources).proportion_ci(0.95, method="wilson")
    assert found == pytest.approx(tuple(expected))
    assert (found[1] == 1 and found[0] < 1) if right else (found[0] == 0 and found[1] > 0)


def test_uniform_sources_count_as_one_video_each():
    answers, groups = in_groups(*[7] * 4, *[0] * 8, of=7)
    expected = stats.binomtest(4, 12).proportion_ci(0.95, method="wilson")
    assert metrics.group_interval(answers, groups) == pytest.approx(tuple(expected))


@settings(max_examples=300)
@given(data=st.data(), sizes=st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_an_interval_over_sources_is_never_narrower(data, sizes):
    right = [data.draw(st.integers(0, n)) for n in sizes]
    low, high = metrics.group_interval(*in_groups(*right, of=sizes))
    inner = stats.binomtest(sum(right), sum(sizes)).proportion_ci(0.95, method="wilson")
    assert 0 <= low <= inner.low + 1e-9 and inner.high - 1e-9 <= high <= 1
    assert low < high


def test_two_sources_give_a_wide_interval():
    """Percentiles over two sources drawn anew were 0.429 to 0.444."""
    low, high = metrics.group_interval(*in_groups(3, 4, of=[7, 9]))
    assert low < 0.1 and high > 0.85


def test_the_interval_of_many_sources_equals_the_bootstrap():
    rng = np.random.default_rng(0)
    right = rng.binomial(6, rng.beta(2, 1, 300))
    answers, groups = in_groups(*right, of=6)
    expected = stats.bootstrap(
        (right / 6,), np.mean, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert metrics.group_interval(answers, groups) == pytest.approx(tuple(expected), abs=0.004)
    over_videos = metrics.wilson_interval(sum(answers), 1800)
    assert expected.high - expected.low > 1.3 * (over_videos[1] - over_videos[0])


def test_fractional_answers_have_an_interval():
    answers, groups = in_groups(3, 4, 1, 5, 2, 5, 4, 0, of=5)
    thirds = [share * 2 / 3 for share in answers]
    low, high = metrics.group_interval(thirds, groups)
    assert low < np.mean(thirds) < high < metrics.group_interval(answers, groups)[1]


def test_an_evaluation_has_both_intervals_and_counts_its_sources():
    right_N = np.array(in_groups(3, 4, of=[7, 9])[0])
    p_NK, ones = np.stack([~right_N, right_N], axis=1).astype(float), np.ones(16, int)
    two = metrics.summarise(p_NK, np.zeros(16), ones, "ab", groups=list("a" * 7 + "b" * 9))
    assert (two["num_groups"], metrics.sources(two)) == (2, "2 sources")
    assert metrics.interval_kind(two) == "95%, 2 sources"
    assert metrics.best_interval(two) == ("groups", two["interval_groups"])
    assert two["interval_groups"][0] < two["interval"][0] < two["interval"][1]
    assert list(two["per_group"].items()) == [
        ("a", {"accuracy": 3 / 7, "correct": 3, "count": 7}),
        ("b", {"accuracy": 4 / 9, "correct": 4, "count": 9}),
    ]
    one = metrics.summarise(p_NK, np.zeros(16), ones, "ab", groups=["a"] * 16)
    assert metrics.sources(one) == "1 source" and one["interval_groups"][0] < 0.1
    for groups in ((), list(map(str, range(16)))):
        alone = metrics.summarise(p_NK, np.zeros(16), ones, "ab", groups=groups)
        assert (alone["interval_groups"], alone["num_groups"]) == (None, 16)
        assert alone["per_group"] == {}
        assert metrics.best_interval(alone) == ("wilson", two["interval"])
        assert metrics.sources(alone) == "each video its own source"
        assert metrics.interval_kind(alone) == "95%, Wilson"


def test_ties_count_for_the_predicted_class():
    p_NK = np.array([[0.5, 0.5], [0.5, 0.5]], np.float32)
    assert metrics.top_k_correct(p_NK, np.array([0, 1]), 1) == 1


def curve(epochs: Iterable[float]) -> list[dict[str, float]]:
    return [{"epoch": epoch, "val/accuracy": 0.5, "val/loss": 1.0} for epoch in epochs]


@pytest.mark.parametrize("epochs", [(3.0,), (1.0, 2.0, 3.0), range(1, 41), (0.5,), (0.3, 1.7)])
def test_epochs_have_integer_ticks(epochs):
    figure = plots.curves_figure({"run": curve(epochs)})
    for axes in figure.axes:
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert shown and all(tick % 1 == 0 for tick in shown)


def test_panels_say_which_curve_is_which():
    training = {"train/accuracy": 0.4, "train/loss": 1.5}
    rows = [row | training for row in curve([1.0, 2.0])]
    more = [row | {"train_eval/accuracy": 0.6, "train_eval/loss": 0.9} for row in rows]
    for found, dashed in ((rows, False), (more, True)):
        figure = plots.curves_figure({"run": found})
        assert ["validation" in axes.get_title() for axes in figure.axes] == [True] * 2 + [
            dashed
        ] * 2
        for axes, value, seen in zip(
            figure.axes, (0.5, 1.0, 0.4, 1.5), (0, 0, 0.6, 0.9), strict=True
        ):
            kind, what = axes.get_title().split()[:2]
            assert kind == ("training" if value in training.values() else "validation")
            assert what.strip(",") == ("loss" if value >= 1 else "accuracy")
            lines = {line.get_linestyle(): list(line.get_ydata()) for line in axes.get_lines()}
            assert lines == {"-": [value] * 2} | ({"--": [seen] * 2} if seen and dashed else {})
            assert "epoch" in axes.get_xlabel()


def test_many_curves_have_one_colour_per_config():
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
def test_sign_flips_of_single_videos_equal_the_binomial_test(wins, losses):
    gains = [1] * wins + [-1] * losses + [0] * 7
    found = metrics.sign_flip_p_value(gains, [str(i) for i in range(len(gains))])
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert found == pytest.approx(expected, abs=0 if wins + losses < 14 else 0.004)


def test_a_source_counts_once_in_the_paired_test():
    """Eight gains in two sources: two signs, and every way to flip them but two gives less."""
    assert metrics.sign_flip_p_value([1] * 8, list("aaaabbbb")) == 0.5
    assert metrics.sign_flip_p_value([1] * 8, list("abcdefgh")) == 2 / 2**8


def test_sign_flips_do_not_depend_on_the_batch(monkeypatch):
    """Eight thousand groups at once took 2.4 GB."""
    gains = np.random.default_rng(3).integers(-2, 4, 40)
    groups = list(map(str, range(40)))
    found = []
    for at_once in (20_000, 500, 333):
        monkeypatch.setattr(metrics, "DRAWN_AT_ONCE", at_once)
        found.append(metrics.sign_flip_p_value(gains, groups))
    assert 0 < found[0] < 1 and len(set(found)) == 1

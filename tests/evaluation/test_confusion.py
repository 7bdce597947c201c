"""The confusion matrix is readable with five classes and with four hundred."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as xml

import numpy as np
import pytest
from matplotlib.figure import Figure

from vid3d.evaluation import plots

LONG = "pretending or trying and failing to put something behind something else"


def results(k: int, videos: int = 25, seed: int = 0) -> np.ndarray:
    """Counts as of a real test: most are right, and the wrong ones are in a few other classes."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((k, k), np.int64)
    for true in range(k):
        right = rng.binomial(videos, rng.beta(6, 2))
        others = rng.integers(0, k, 3)
        matrix[true] += (
            rng.multinomial(videos - right, [0.6, 0.3, 0.1]) @ np.eye(k, dtype=int)[others]
        )
        matrix[true, true] += right
    return matrix


def drawn(
    matrix: np.ndarray, names: list[str], title: str = "accuracy"
) -> tuple[Figure, np.ndarray]:
    """A figure, and its pixels once it is laid out."""
    figure = plots.confusion_figure(matrix, names, title=title)
    return figure, plots.figure_to_array(figure)


@pytest.mark.parametrize("k", [2, 5, 101])
def test_confusion_matrix_labels_never_overlap(k, tmp_path):
    classes = [f"SomeAction{i}" for i in range(k)]
    figure = plots.confusion_figure(results(k), classes, title="accuracy")
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
def test_a_confusion_matrix_is_not_cut_off(classes):
    k = len(classes)
    title = (
        "100.0% of 10193 test videos\n100.0% to 100.0% (95%, each video its own source)\n"
        "protocol: grouped (groups unknown) (leaky)"
    )
    figure = plots.confusion_figure(np.eye(k, dtype=int), classes, title=title)
    white_HW = (plots.figure_to_array(figure) > 250).all(axis=2)
    for edge in (white_HW[:, :2], white_HW[:, -2:], white_HW[:2], white_HW[-2:]):
        assert edge.all()


@pytest.mark.parametrize("k", [5, 15, 30, 101])
def test_counts_fit_their_cells(k):
    matrix = results(k)
    figure, _ = drawn(matrix, [f"class{i}" for i in range(k)])
    axes = figure.axes[0]
    found = {tuple(map(int, text.get_position()[::-1])): text for text in axes.texts}
    assert {place: int(text.get_text()) for place, text in found.items()} == {
        (row, column): matrix[row, column] for row, column in np.argwhere(matrix).tolist()
    }
    (left, _), (right, _) = axes.transData.transform([(0, 0), (1, 0)])
    boxes = [text.get_window_extent() for text in itertools.islice(found.values(), 60)]
    assert max(box.width for box in boxes) < right - left
    assert min(text.get_fontsize() for text in found.values()) >= 6


@pytest.mark.slow
def test_four_hundred_classes_have_numbers_and_a_list():
    figure, pixels = drawn(results(400), [f"{LONG} {i}" for i in range(400)])
    axes, beside = figure.axes[:2]
    assert not axes.texts  # none would fit
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert "100" in labels and not any(LONG[:9] in label for label in labels)
    lines = beside.texts[0].get_text().splitlines()
    assert len(lines) == 62 and lines[-1].startswith("and ")
    assert all(re.fullmatch(r"\d+ of 25  .+ \(\d+\) → .+ \(\d+\)", line) for line in lines[1:-1])
    assert max(pixels.shape[:2]) < 2600


@pytest.mark.parametrize("k", [3, 30])
def test_long_names_are_shortened_and_not_cut_off(k):
    _, pixels = drawn(results(k), [f"{LONG} {i}" for i in range(k)])
    white_HW = (pixels > 250).all(axis=2)
    for edge in (white_HW[:, :2], white_HW[:, -2:], white_HW[:2], white_HW[-2:]):
        assert edge.all()
    assert plots.squeeze(f"{LONG} 17", 24) == "pretending or t… else 17"
    assert plots.squeeze("short", 24) == "short"


def test_the_list_names_the_most_confused_pairs():
    matrix = np.array([[8, 2, 0], [0, 5, 5], [0, 0, 0]])
    lines = plots.pair_lines(matrix, ["run", "walk", "sit"], most=9)
    assert lines[1:] == ["5 of 10  walk → sit", "2 of 10  run → walk"]
    assert plots.pair_lines(matrix, ["run", "walk", "sit"], most=3)[1:] == [lines[1], "and 1 more"]
    assert plots.pair_lines(np.diag([3, 0, 2]), list("abc"), most=9) == ["no video was confused"]


def test_a_class_without_videos_is_grey():
    matrix = np.array([[4, 0], [0, 0]])
    figure, pixels = drawn(matrix, ["a", "b"])
    middles = figure.axes[0].transData.transform([(0.8, 0), (0.8, 1)])
    above, below = (pixels[len(pixels) - round(y), round(x)].tolist() for x, y in middles)
    assert above == pytest.approx([247, 251, 255], abs=2) and below == [224, 224, 224]


def test_an_svg_has_text_on_white_and_is_reproducible(tmp_path):
    """White, whatever the page is that shows it."""
    names = ["a<b>&c", "$5_or_$10", "Übung 5", "be\x07ll"]
    files = []
    for name in ("one.svg", "two.svg"):
        figure = plots.confusion_figure(results(4), names, title="accuracy 71.0%")
        plots.save_figure(figure, tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1] and len(files[0]) < 100_000
    root = xml.fromstring(files[0])
    said = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"a<b>&c", "$5_or_$10", "Übung 5", "be\ufffdll", "accuracy 71.0%"} <= said
    background = next(root.iter("{http://www.w3.org/2000/svg}path"))
    assert "fill: #ffffff" in background.attrib["style"]

"""The bar with label and probability, on frames of any size."""

from __future__ import annotations

import numpy as np
import pytest

from vid3d.inference import overlay


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize("size", [(240, 320), (1080, 1920), (426, 240), (64, 64), (241, 321)])
def test_bar_is_legible_and_inside_the_frame(size):
    drawn = overlay.draw(grey(*size), "HulaHoop", probability=0.97, note="83 ms")
    zoom = drawn.shape[0] // size[0]
    assert drawn.shape == (size[0] * zoom, size[1] * zoom, 3) and min(drawn.shape[:2]) >= 240
    assert (drawn[: int(0.85 * len(drawn))] == 128).all()  # the picture above the bar is untouched
    white = np.argwhere((drawn > 200).all(axis=2))
    letters = white[white[:, 1] < drawn.shape[1] / 2]
    height = np.ptp(letters[:, 0]) + 1
    assert 10 <= height <= 0.08 * min(drawn.shape[:2]) + 8
    assert letters[:, 0].max() < len(drawn) - 1 and white[:, 1].max() < drawn.shape[1] - 1


def test_line_length_is_the_probability():
    drawn = overlay.draw(grey(240, 320), "a", probability=0.25)
    green_or_amber = (np.ptp(drawn.astype(int), axis=2) > 60).any(axis=0)
    assert green_or_amber.sum() == 80 and green_or_amber[:80].all()


def test_draw_leaves_the_frame_unchanged():
    frame = grey(240, 320)
    overlay.draw(frame, "label", probability=0.5)
    assert (frame == 128).all()


def test_long_labels_are_cut_and_non_ascii_replaced():
    wide = overlay.draw(grey(240, 320), "an endless label " * 9, probability=0.5, note="12 ms")
    short = overlay.draw(grey(240, 320), "", probability=0.5, note="12 ms")
    assert (wide[:, 235:] == short[:, 235:]).all()  # probability and note are not written over
    assert overlay.ascii_text("Çà et là\n太") == "Ca et la??"


def test_extreme_frame_shapes_are_drawn():
    for size in ((1, 1), (2, 3000), (3000, 2), (20, 20)):
        drawn = overlay.draw(grey(*size), "label", probability=0.5, note="1 ms")
        assert max(drawn.shape) <= 4096


def test_the_line_is_green_where_the_label_is_likelier_than_not():
    for probability, colour in ((0.9, overlay.SURE), (0.2, overlay.UNSURE)):
        drawn = overlay.draw(grey(240, 320), "", probability=probability)
        assert (drawn[:, 5] == colour).all(axis=1).any()

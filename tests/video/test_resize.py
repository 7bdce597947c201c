"""The resizing of published weights: levels that PyTorch 2.13 gave, and how it rounds; and ours."""

from __future__ import annotations

import numpy as np
import pytest

from vid3d.video.resize import cut_to_shape, fit, short_side_bilinear, squash_bilinear


def picture(height: int, width: int) -> np.ndarray:
    y, x, c = np.ogrid[:height, :width, :3]
    return ((37 * y * y + 59 * x * (c + 1) + 11 * x * y) % 256).astype(np.uint8)


# The second channel of `torchvision.transforms.functional.resize(picture, size, antialias=False)`.
GOLDEN = {
    (3, 4): [[58, 164, 153, 131], [104, 158, 178, 168], [138, 127, 181, 95]],
    (2, 9): [
        [28, 112, 125, 102, 150, 99, 119, 125, 81],
        [78, 180, 186, 107, 27, 147, 124, 108, 168],
    ],
    (8, 5): [
        [24, 189, 98, 161, 172],
        [41, 145, 129, 131, 127],
        [67, 91, 161, 96, 76],
        [105, 108, 91, 132, 153],
        [119, 131, 44, 143, 190],
        [108, 162, 20, 128, 185],
        [110, 177, 38, 156, 107],
        [112, 186, 54, 178, 47],
    ],
}


@pytest.mark.parametrize("size", GOLDEN)
def test_levels_equal_torchvision(size):
    scaled_HWC = squash_bilinear(picture(5, 7), *size)
    assert scaled_HWC.dtype == np.uint8 and scaled_HWC.shape == (*size, 3)
    np.testing.assert_array_equal(scaled_HWC[:, :, 1], GOLDEN[size])


def test_halves_round_to_even():
    frame_HWC = np.array([[[1], [2], [2], [3], [3], [4], [254], [255]]], np.uint8).repeat(3, 2)
    assert squash_bilinear(frame_HWC, 1, 4)[0, :, 0].tolist() == [2, 2, 4, 254]


def test_long_side_is_truncated_as_in_pytorchvideo():
    """119 / 49 * 182 is 442, and as floats a little less: pytorchvideo scales to 441."""
    scaled_HWC = squash_bilinear(picture(49, 119), 182, 441)
    cut_HWC = short_side_bilinear(picture(49, 119), 182, 182)
    np.testing.assert_array_equal(cut_HWC, scaled_HWC[:, 130:312])
    upright_HWC = short_side_bilinear(picture(119, 49), 182, 182)
    np.testing.assert_array_equal(upright_HWC, squash_bilinear(picture(119, 49), 441, 182)[130:312])


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2)], ids=["high", "wide"])
def test_no_row_of_a_frame_too_large_in_one_direction_is_skipped(axes):
    """One row in four, which an interpolation at the middle of four would not see."""
    striped_HWC = np.zeros((64, 16, 3), np.uint8)
    striped_HWC[3::4] = 252
    fitted_HWC = fit(striped_HWC.transpose(axes), size=(16, 16), resize="squash", color="rgb")
    assert (fitted_HWC == 252 // 4).all()


@pytest.mark.parametrize(
    ("frame", "rows", "columns"), [((90, 200), (0, 90), (40, 160)), ((200, 91), (66, 134), (0, 91))]
)
def test_the_cut_is_the_largest_centred_part_of_the_shape(frame, rows, columns):
    whole_HWC = picture(*frame)
    expected_HWC = whole_HWC[slice(*rows), slice(*columns)]
    np.testing.assert_array_equal(cut_to_shape(whole_HWC, 30, 40), expected_HWC)

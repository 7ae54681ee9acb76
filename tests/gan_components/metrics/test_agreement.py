"""Pixel agreement of two domains."""

import numpy as np
import pytest

from gan_components import domains
from gan_components.ingestion import digits
from gan_components.metrics import agreement


@pytest.mark.parametrize("name, shuffled", [("edges", 0.863), ("negative", 0.828)])
def test_real_pairs_agree_and_shuffled_ones_do_not(name, shuffled):
    """True partners: exactly 1. Neighbours of the class-sorted digits would be alike, so they are mixed first;
    1,000 pairs scatter by 0.002.

    Red if f is applied to the second image instead of the first.
    """
    pixels = np.random.default_rng(0).permutation(digits.read()[0])[:1_000, ..., None]
    partner = domains.SECOND_DOMAINS[name]
    assert agreement.estimate(pixels, partner(pixels), partner).value == 1.0
    unrelated = agreement.estimate(np.roll(pixels, 1, axis=0), partner(pixels), partner)
    assert unrelated.value == pytest.approx(shuffled, abs=0.01)


def test_one_pixel_of_sixteen():
    """One pair of two has one wrong pixel of 16: 31/32, and the error of {1, 15/16} over two pairs is 1/32.

    Red if a level of 128 counts as off, or the error is taken over pixels.
    """
    images = np.full((2, 4, 4, 1), 128, np.uint8)
    images2 = np.zeros((2, 4, 4, 1), np.uint8)
    images2[1, 2, 3] = 255
    got = agreement.estimate(images, images2, domains.negative)
    assert got.value == pytest.approx(31 / 32)
    assert got.standard_error == pytest.approx(1 / 32)

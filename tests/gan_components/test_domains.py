"""Second domains: what the functions draw."""

import numpy as np
import pytest

from gan_components import randomness
from gan_components.domains import SECOND_DOMAINS, edges, negative
from gan_components.ingestion import digits

RANDOM = randomness.numpy_generator(0, "images").integers(0, 256, (5, 9, 7, 3)).astype(np.uint8)


def test_edges_of_a_square_are_its_outermost_pixels():
    """Red if the boundary is drawn outside (a dilation), two pixels wide, or as a 3 x 3 square sees it.

    With a square for the cross, the pixel inside the notch's corner would be an edge too.
    """
    image = np.zeros((8, 8, 1), np.uint8)
    image[1:7, 1:7] = 200
    image[1:3, 1:3] = 0  # a notch: the corner at (3, 3) touches it by its tip only
    expected = image.copy()
    expected[2:6, 3:6] = 0
    expected[3:6, 2:6] = 0
    expected[2, 3] = expected[3, 2] = 200
    expected[3, 3] = 0
    np.testing.assert_array_equal(edges(image), expected)


def test_edges_in_closed_form():
    """Red if neighbours are averaged, or the border counts as black: x minus the least of five neighbours."""
    x = RANDOM.astype(int)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    least = np.minimum.reduce(
        [x, padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]]
    )
    np.testing.assert_array_equal(edges(RANDOM), x - least)


@pytest.mark.parametrize("function", SECOND_DOMAINS.values(), ids=SECOND_DOMAINS)
def test_images_and_channels_alone(function):
    """Red if a function looks across images or channels, or leaves uint8: ingestion applies it to one image."""
    together = function(RANDOM)
    assert (together.dtype, together.shape) == (np.uint8, RANDOM.shape)
    np.testing.assert_array_equal(together, [function(image) for image in RANDOM])
    for channel in range(3):
        np.testing.assert_array_equal(together[..., [channel]], function(RANDOM[..., [channel]]))


def test_negative():
    """Red if the negative is taken of another white than 255."""
    np.testing.assert_array_equal(negative(np.array([0, 1, 255], np.uint8)), [255, 254, 0])


@pytest.mark.parametrize(("name", "expected"), [("edges", 0.863), ("negative", 0.828)])
def test_agreement_of_unrelated_digits(name, expected):
    """Red if edges become fatter or fainter: the floor of CoGAN's pixel agreement moves.

    Measured by five shuffles: standard deviation 0.0003. Canny's edges (0.83), Sobel's (0.77) and the full
    morphological gradient (0.78) lie far outside the tolerance.
    """
    bright = SECOND_DOMAINS[name](digits.read()[0][..., None]) > 127
    other = randomness.numpy_generator(0, "shuffle").permutation(len(bright))
    assert abs(np.mean(bright == bright[other]) - expected) < 0.003

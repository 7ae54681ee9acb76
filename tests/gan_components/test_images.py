"""Range, size and arrangement. Each test names the one-line change that turns it red."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gan_components import images

ALL_LEVELS = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_levels_survive_the_round_trip(wrap):
    """Exhaustive. Red if `to_uint8` truncates instead of rounding."""
    there_and_back = wrap(lambda x: images.to_uint8(images.to_float(x)))
    np.testing.assert_array_equal(there_and_back(tf.constant(ALL_LEVELS)), ALL_LEVELS)


def test_range_is_exact():
    """Red with /128 in place of /127.5."""
    floats = images.to_float(ALL_LEVELS).numpy()
    assert floats.min() == -1.0
    assert floats.max() == 1.0


def test_values_outside_are_clipped():
    """Red without the clip: 1.1 would wrap to 12."""
    values = tf.constant([-1.5, -1.0, 1.0, 1.1])
    assert images.to_uint8(values).numpy().tolist() == [0, 0, 255, 255]


def test_wrong_dtypes_are_refused():
    """Red if a dtype check is dropped: float images in [0, 255] are the classic wrong distance."""
    with pytest.raises(TypeError, match="uint8"):
        images.to_float(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="float32"):
        images.to_uint8(np.zeros(3, np.float64))


def test_fit_crops_the_centre_and_pads_with_black():
    """Red if crop and pad are swapped or the offset is rounded away from the centre."""
    wide = Image.fromarray(np.tile(np.arange(8, dtype=np.uint8), (4, 1)))
    assert np.asarray(images.fit(wide, 4, "crop"))[0].tolist() == [2, 3, 4, 5]
    padded = np.asarray(images.fit(wide, 8, "pad"))
    assert padded[:2].max() == 0 and padded[6:].max() == 0
    assert padded[3].tolist() == list(range(8))


def test_fit_leaves_a_fitting_picture_untouched():
    """Red if an unneeded resize is made: MNIST must arrive bit for bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    np.testing.assert_array_equal(images.fit(Image.fromarray(pixels), 28, "crop"), pixels)


def test_downsizing_is_antialiased():
    """Red with nearest-neighbour resampling: a fine checkerboard would come out black or white, not grey."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = np.asarray(images.fit(Image.fromarray(board), 16, "crop")).astype(float)
    # Lanczos of a Nyquist-rate checkerboard is its mean; the edges lose a few levels to the cut-off window.
    assert np.abs(small - 127.5).max() < 12


def test_grid_reads_left_to_right_and_fills_with_black():
    """Red if the transpose in `grid` mixes rows with columns."""
    cells = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) + np.zeros((3, 2, 3, 1), np.uint8) + 1
    laid = images.grid(cells, columns=2)
    assert laid.shape == (4, 6, 1)
    assert laid[0, :, 0].tolist() == [1, 1, 1, 2, 2, 2]
    assert laid[2, :, 0].tolist() == [3, 3, 3, 0, 0, 0]

"""Records written without TensorFlow are those that TensorFlow would write, or reads back bit for bit."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gan_components.ingestion import records


@pytest.mark.parametrize("shape", [(1, 1, 1), (28, 28, 1), (7, 7, 3), (64, 64, 3)])
def test_png_is_read_bit_for_bit(shape):
    """Red if rows are told apart from the wrong neighbour, channels mixed or a checksum left out."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    encoded = records.png(pixels)
    np.testing.assert_array_equal(tf.io.decode_png(encoded), pixels)
    with Image.open(io.BytesIO(encoded)) as picture:
        picture.verify()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encoded))).reshape(shape), pixels)


@pytest.mark.parametrize("label", [None, 0, 127, 128, 40_000])
@pytest.mark.parametrize("encoded2", [None, b"second"])
@pytest.mark.parametrize("size", [3, 300, 70_000])
def test_example_is_tensorflows(label, encoded2, size):
    """Red if a field's number or its length is another: readers would find nothing, or something else."""
    encoded = bytes(size)
    values = {
        "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"ab" * 32])),
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
    }
    if encoded2 is not None:
        values["image2"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded2]))
    if label is not None:
        values["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    expected = tf.train.Example(features=tf.train.Features(feature=values))
    assert tf.train.Example.FromString(records.example("ab" * 32, label, encoded, encoded2)) == expected

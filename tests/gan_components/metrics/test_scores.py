"""Scores order references by distance, and vouch for a distance that no reference with such a score undercuts."""

import numpy as np
import pytest
import tensorflow as tf

from gan_components import processor
from gan_components.metrics import scores
from gan_components.metrics.scores import Bfloat16Scores, FloatScores

WIDTH = 300


@pytest.fixture(scope="module")
def sides():
    """Images around a few, so that there are near and far ones, with copies; their centre; squared distances."""
    random = np.random.default_rng(0)
    around = random.integers(0, 256, (5, WIDTH))
    queries, references = (
        np.clip(around[random.integers(0, 5, count)] + random.normal(0, 30, (count, WIDTH)), 0, 255).astype(
            np.uint8
        )
        for count in (40, 500)
    )
    references[:3] = queries[:3]
    centre = np.rint(references.mean(0)).astype(np.float32)
    squares = ((queries[:, None].astype(np.int64) - references) ** 2).sum(2)
    return queries, references, centre, squares


def largest(references: np.ndarray, centre: np.ndarray) -> float:
    return float(((references - centre.astype(np.float64)) ** 2).sum(1).max())


@pytest.mark.parametrize("dtype", [None, np.float32, np.float64])
def test_floor_is_below_the_distance_and_near_it(sides, dtype):
    """Red if bfloat16's floor forgets its rounding or the margin, or the floats' floor the query's length.

    Near: within 2 % and what float32 rounds at these lengths. Far looser, every row would be done again.
    """
    queries, references, centre, squares = sides
    given = {"centre": centre, "largest": largest(references, centre)}
    scoring = Bfloat16Scores(queries, **given) if dtype is None else FloatScores(queries, dtype=dtype, **given)
    found = scoring.of(scoring.prepared(references))
    floors = np.stack([scoring.floor(column) for column in found.T], axis=1)
    assert (floors <= squares).all()
    assert (floors >= 0.98 * squares - 1000).all()


def test_bits_are_ordered_as_distances(sides):
    """Red if the bits are taken for signed or swapped numbers."""
    queries, references, centre, squares = sides
    scoring = Bfloat16Scores(queries, centre=centre, largest=largest(references, centre))
    found = scoring.of(scoring.prepared(references))
    assert found.dtype == np.uint16
    for bits, of_row in zip(found, squares, strict=True):
        clearly = of_row[:, None] * 1.02 + 1000 < of_row
        assert (bits[:, None] < np.broadcast_to(bits, clearly.shape))[clearly].all()
    assert found[range(3), range(3)].max() < found[:, 3:].min()


def test_copies_are_nearest_where_sums_are_rounded():
    """Red without the margin: half of the copies' scores are negative then, whose bits are the largest.

    Squared lengths of 80 million are beyond the whole numbers of float32.
    """
    images = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (64, 5000))
    centre = np.rint(images.mean(0)).astype(np.float32)
    scoring = Bfloat16Scores(images, centre=centre, largest=largest(images, centre))
    found = scoring.of(scoring.prepared(images))
    assert (found.argmin(1) == np.arange(64)).all()


def test_without_the_instructions_or_with_sums_in_bfloat16(monkeypatch):
    """Red if the product is not tried, or the processor not asked."""
    monkeypatch.setattr(processor, "instructions", lambda: frozenset({"amx_bf16"}))
    assert scores.bfloat16_is_faster.__wrapped__(784), "TensorFlow adds up in float32 here"

    def rounding(left: tf.Tensor, right: tf.Tensor) -> np.ndarray:
        total = tf.zeros([left.shape[0], right.shape[1]], tf.bfloat16)
        for column in range(left.shape[1]):
            total += left[:, column, None] * right[None, column]
        return total.numpy().view(np.uint16)

    monkeypatch.setattr(scores, "_product", rounding)
    assert not scores.bfloat16_is_faster.__wrapped__(100)
    monkeypatch.undo()
    monkeypatch.setattr(processor, "instructions", frozenset)
    assert not scores.bfloat16_is_faster.__wrapped__(784)

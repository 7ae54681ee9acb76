"""The same features give the numbers of torch-fidelity; golden values, see tests/golden/metrics.md."""

import json
from pathlib import Path

import numpy as np
import pytest

from gan_components.metrics import frechet, inception_score, kernel, manifold
from tests.golden import random_features

EXPECTED = json.loads((Path(__file__).parents[2] / "golden" / "metrics.json").read_text())
GENERATED, REAL = random_features.features("generated"), random_features.features("real")


def test_frechet_distance():
    """1e-6 relative: the reference takes the mean of float32 features in float32. Red with ddof 0: 1e-3 more."""
    assert frechet.distance_of_features(GENERATED, REAL) == pytest.approx(EXPECTED["fid 0"], rel=1e-6)


def test_kernel_distance():
    """Of the same 20 subsets, mean and spread: 1e-6 of the mean, since the reference computes kernels in float32.

    In float64, with its formula written out, 1e-9. Red if the diagonal stays in the sums.
    """
    random = np.random.RandomState(random_features.KID["rng_seed"])
    size, distances, exact = random_features.KID["kid_subset_size"], [], []
    for _ in range(random_features.KID["kid_subsets"]):
        first = GENERATED[random.choice(len(GENERATED), size, replace=False)]
        second = REAL[random.choice(len(REAL), size, replace=False)]
        distances.append(kernel.distance(first, second))
        exact.append(_maximum_mean_discrepancy(first.astype(np.float64), second.astype(np.float64)))
    np.testing.assert_allclose(distances, exact, rtol=0, atol=1e-9 * np.mean(exact))
    assert np.mean(distances) == pytest.approx(EXPECTED["kid 0"], rel=1e-6)
    assert np.std(distances) == pytest.approx(EXPECTED["kid 1"], rel=1e-5)


def _maximum_mean_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """``(sum_{i != j} k(x_i, x_j) + sum_{i != j} k(y_i, y_j)) / (m (m - 1)) - 2 sum k(x_i, y_j) / m^2``."""
    count, dimension = x.shape
    xx, yy, xy = ((a @ b.T / dimension + 1.0) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
    return within / (count * (count - 1)) - 2 * xy.sum() / count**2


def test_inception_score():
    """1e-6 relative; both in float64. Red with another number of splits."""
    found = inception_score.estimate(random_features.logits())
    assert found.value == pytest.approx(EXPECTED["isc 0"], rel=1e-6)
    # Theirs is the spread of the splits, ours the standard error of their mean.
    assert found.standard_error * 3 == pytest.approx(EXPECTED["isc 1"], rel=1e-6)


def test_precision_and_recall():
    """Shares of 700 and 600 rows that are equal in the last digit of their float32. Red with k = 5."""
    precision, recall = manifold.precision_recall(manifold.distances(REAL, GENERATED))
    assert precision == pytest.approx(EXPECTED["prc 0"], rel=1e-6)
    assert recall == pytest.approx(EXPECTED["prc 1"], rel=1e-6)

"""Authenticity, AUC and C_T on numbers whose answer is known."""

import numpy as np
import pytest

from gan_components.metrics import copying, neighbours


def _normal(count: int, seed: int, dimension: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension))


def _measure(generated, train, holdout) -> dict[str, copying.Evidence]:
    near = neighbours.nearest(generated, train, 1), neighbours.nearest(holdout, train, 1)
    found = copying.measure("plain", generated, train, holdout, near, np.random.default_rng(0))
    return {one.name: one for one in found}


def test_honest_draws_are_as_expected():
    """Within three standard errors. Red if the sides are mixed up."""
    found = _measure(_normal(1000, 1), _normal(2000, 2), _normal(1000, 3))
    assert abs(found["auc"].value - 0.5) < 0.04
    assert abs(found["c_t"].value) < 3
    assert abs(found["authenticity"].value - found["authenticity"].expected) < 0.07
    assert found["authenticity"].low < found["authenticity"].value < found["authenticity"].high


def test_copies_with_a_little_noise():
    """Red if a distance is compared the wrong way round."""
    train = _normal(2000, 2)
    found = _measure(train[:1000] + 0.01 * _normal(1000, 4), train, _normal(1000, 3))
    assert found["auc"].value > 0.99
    assert found["c_t"].value < -20
    assert found["authenticity"].value < 0.01
    assert found["authenticity"].expected > 0.3


def test_draws_that_are_far_off():
    """Underfitting is the other side of zero. Red if the absolute value is taken."""
    found = _measure(_normal(1000, 1) + 3, _normal(2000, 2), _normal(1000, 3))
    assert found["auc"].value < 0.1
    assert found["c_t"].value > 3


def test_auc_is_the_share_of_pairs():
    """Distances 1, 2, 3 against 2, 4: 4.5 of 6 pairs are closer. Red if ties count as 0 or 1."""
    z = copying._z(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0]))
    assert 0.5 - z * ((3 + 2 + 1) / (12 * 6)) ** 0.5 == pytest.approx(4.5 / 6)


def test_twins_in_train_are_each_others_neighbours():
    """Beside a training image that stands there twice one is authentic: 1 > 0. Red if the twin is left out."""
    train = np.array([[0.0], [0.0], [100.0], [200.0]])
    found = _measure(np.array([[1.0]] * 30), train, np.array([[101.0]] * 30))
    assert found["authenticity"].value == 1.0
    assert found["authenticity"].expected == 0.0

"""Precision, recall, density, coverage against brute force, expectations and conventions."""

import numpy as np
import pytest

from gan_components.metrics import manifold


def brute_force(real: np.ndarray, generated: np.ndarray) -> tuple[float, ...]:
    def radius(points, i, k):
        return sorted(np.linalg.norm(points - points[i], axis=1))[k]

    def share_inside(points, centres, k):
        return np.mean(
            [any(np.linalg.norm(p - c) <= radius(centres, i, k) for i, c in enumerate(centres)) for p in points]
        )

    inside = np.array(
        [[np.linalg.norm(g - r) < radius(real, i, 5) for g in generated] for i, r in enumerate(real)]
    )
    return (
        share_inside(generated, real, 3),
        share_inside(real, generated, 3),
        inside.sum() / (5 * len(generated)),
        inside.any(axis=1).mean(),
    )


def test_against_brute_force():
    """Red if k counts the point itself, or if real and generated radii are swapped."""
    random = np.random.default_rng(0)
    real, generated = random.normal(size=(40, 3)), 0.7 + random.normal(size=(50, 3))
    pairs = manifold.distances(real, generated)
    got = *manifold.precision_recall(pairs), *manifold.density_coverage(pairs)
    assert got == pytest.approx(brute_force(real, generated), rel=1e-12)


def test_surfaces():
    """Precision counts the surface of a ball, density and coverage do not; red if ``<=`` and ``<`` change places.

    On whole numbers every distance is exact: the 3rd (5th) neighbour of 0 among 0..3 (0..5) is 3 (5) away.
    """
    pairs = manifold.distances(np.arange(4.0)[:, None], np.full((6, 1), -3.0))
    assert manifold.precision_recall(pairs)[0] == 1
    pairs = manifold.distances(np.arange(6.0)[:, None], np.full((6, 1), -5.0))
    assert manifold.density_coverage(pairs) == (0, 0)


def test_collapse_has_precision_without_recall():
    """One narrow mode inside the data: precision high, recall and coverage low; red if they are swapped."""
    random = np.random.default_rng(0)
    results = manifold.estimates(3 * random.normal(size=(500, 8)), 0.1 * random.normal(size=(500, 8)), random)
    assert results["precision"].value > 0.8
    assert results["recall"].value < 0.3
    assert results["coverage"].value < 0.3


def test_equal_distributions():
    """E[density] = 1 and E[coverage] = 1 - 2^-5 = 0.969 for equal numbers; red with k = 4 (0.94).

    Single runs of 1,000 spread by 0.03 and 0.006; the mean of five by less than half of the tolerances.
    """
    random = np.random.default_rng(0)
    runs = [
        manifold.density_coverage(manifold.distances(random.normal(size=(1000, 4)), random.normal(size=(1000, 4))))
        for _ in range(5)
    ]
    density, coverage = np.mean(runs, axis=0)
    assert density == pytest.approx(1.0, abs=0.04)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.007)


def test_standard_errors_are_of_the_right_size():
    """The jackknife's error against the spread over fresh samples; red without the factor g - 1 (4 times less).

    Nearest-neighbour statistics are not smooth: within a factor of 2 is what the method gives here.
    """
    random = np.random.default_rng(0)
    runs = [
        manifold.estimates(random.normal(size=(200, 3)), 0.6 + random.normal(size=(200, 3)), random)
        for _ in range(25)
    ]
    for name in manifold.NAMES:
        spread = np.std([run[name].value for run in runs])
        error = np.mean([run[name].standard_error for run in runs])
        assert 0.5 < error / spread < 2.5, name

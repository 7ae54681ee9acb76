"""The kernel distance against a transcription of its definition and against its expectation."""

import numpy as np
import pytest

from gan_components.metrics import kernel


def test_definition():
    """Red if the diagonal stays in, if d is left out of the kernel, or with power 2. 1e-12: rounding."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(7, 5)), random.normal(size=(9, 5))

    def k(a, b):
        return (a @ b / 5 + 1) ** 3

    within_x = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(9) for j in range(9) if i != j])
    across = np.mean([k(a, b) for a in x for b in y])
    assert kernel.distance(x, y) == pytest.approx(within_x + within_y - 2 * across, rel=1e-12)


def test_unbiased_and_its_interval_covers():
    """Equal distributions: mean 0 and intervals that cover 0; red with the biased mean (0.1 too high).

    100 runs: the mean's own standard error decides how far from 0 it may lie; the standard error is meant to
    be a little too large, so that at least 90 % coverage (1.6 points below 95 % twice) is asked for.
    """
    random = np.random.default_rng(0)
    runs = [
        kernel.estimate(random.normal(size=(120, 6)), random.normal(size=(120, 6)), random) for _ in range(100)
    ]
    values = np.array([run.value for run in runs])
    assert abs(values.mean()) < 3 * values.std() / 10
    assert values.min() < 0, "an unbiased estimate of 0 is sometimes negative"
    assert np.mean([low <= 0 <= high for low, high in (run.interval for run in runs)]) >= 0.9


def test_interval_covers_a_true_difference():
    """Different distributions: red if the variance is not divided by the number of subsets... or is twice.

    The truth is the average over all runs; 60 runs have a standard error of 2.8 points, so 85 % is asked.
    """
    random = np.random.default_rng(1)
    runs = [
        kernel.estimate(random.normal(size=(200, 6)), 0.5 + random.normal(size=(200, 6)), random)
        for _ in range(60)
    ]
    truth = np.mean([run.value for run in runs])
    assert np.mean([low <= truth <= high for low, high in (run.interval for run in runs)]) >= 0.85
    ratio = np.mean([run.standard_error for run in runs]) / np.std([run.value for run in runs])
    assert 0.8 < ratio < 1.6


def test_subsets_differ(monkeypatch):
    """Red with m = 1000 for 1,000 images: every subset would be the same set."""
    sizes = []
    monkeypatch.setattr(kernel, "distance", lambda x, y: sizes.append((len(x), len(y))) or 0.0)
    random = np.random.default_rng(0)
    kernel.estimate(np.zeros((1000, 2)), np.zeros((5000, 2)), random, partitions=1)
    assert sizes == [(250, 250)] * 4
    sizes.clear()
    kernel.estimate(np.zeros((9000, 2)), np.zeros((9500, 2)), random, partitions=1)
    assert sizes == [(1000, 1000)] * 9

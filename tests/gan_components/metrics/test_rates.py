"""Rates, their exact bounds, and the test of an excess."""

import numpy as np
import pytest

from gan_components.metrics import rates
from gan_components.metrics.rates import Rate


def test_exact_bounds():
    """No hits in 10,000: at most 3e-4 (rule of three). Red with Wald's interval, which gives 0."""
    low, high = Rate(0, 10_000).bounds(0.05)
    assert (low, high) == (0, pytest.approx(-np.log(0.05) / 10_000, rel=1e-3))
    assert Rate(9, 9).bounds(0.05)[1] == 1.0


def test_weights_count_as_fewer_trials():
    """Of ten observations two carry all the weight: two trials. Red if weighted hits are divided by N."""
    weights = np.array([0.5, 0.5, *[0.0] * 8])
    rate = Rate.of(np.array([True, False, *[True] * 8]), weights)
    assert (rate.hits, rate.trials, rate.value) == (pytest.approx(1), pytest.approx(2), pytest.approx(0.5))


def test_false_alarms_keep_their_level():
    """Equal rates fail in at most 5 % of cases. Red if the excess is compared without bounds.

    400 pairs of binomial counts at 2 %: 5 % ± 3.3 points would be three standard errors; the joined exact bounds
    are conservative.
    """
    random = np.random.default_rng(0)
    p_values = [
        rates.p_value(Rate(random.binomial(2000, 0.02), 2000), Rate(random.binomial(1000, 0.02), 1000), 0.0)
        for _ in range(400)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.06


@pytest.mark.parametrize("hits, allowed", [(60, 0.0), (60, 0.01), (100, 0.02)])
def test_the_p_value_is_the_level_of_the_bound(hits, allowed):
    """At this level the lower bound meets what is allowed. Red if the search ends early or elsewhere."""
    rate, control = Rate(hits, 2000), Rate(20, 1000)
    p_value = rates.p_value(rate, control, allowed)
    if p_value not in (1.0, 0.5):
        assert rates.excess_low(rate, control, p_value) == pytest.approx(allowed, abs=1e-9)
    assert (p_value < 1) == (hits / 2000 - 0.02 > allowed)


def test_what_no_chance_explains():
    """Red if the search is not stopped at its end, where the bound of the beta distribution is no number."""
    assert rates.p_value(Rate(2000, 2000), Rate(0, 1000), 0.001) == 1e-12

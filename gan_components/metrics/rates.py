"""Rates of rare events: exact bounds of one, and whether one exceeds another by more than is allowed."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import optimize, stats

# P-values are not told apart below this power of ten.
_SMALLEST = -12.0


@dataclass(frozen=True)
class Rate:
    """So many hits in so many trials; weighted observations make fractions of both."""

    hits: float
    trials: float

    @classmethod
    def of(cls, found: np.ndarray, weights: np.ndarray | None = None) -> Self:
        """The rate of a condition, bool ``[N]``.

        Args:
            found: whether it holds, for each observation.
            weights: of the observations, sum 1; they count as ``1 / sum(weights^2)`` trials (Korn and Graubard
                1998).
        """
        if weights is None:
            return cls(float(found.sum()), float(len(found)))
        trials = float(1 / np.sum(weights**2))
        return cls(float(weights[found].sum()) * trials, trials)

    @property
    def value(self) -> float:
        """Hits per trial."""
        return self.hits / self.trials

    def bounds(self, level: float) -> tuple[float, float]:
        """Clopper-Pearson bounds, each wrong with at most this chance; no hits in n: 0 and about 3 / n."""
        misses = self.trials - self.hits
        low = stats.beta.ppf(level, self.hits, misses + 1) if self.hits else 0.0
        high = stats.beta.isf(level, self.hits + 1, misses) if self.hits < self.trials else 1.0
        return float(low), float(high)


def excess_low(rate: Rate, control: Rate, level: float) -> float:
    """Lower bound of ``p - q``, wrong with about the chance `level`.

    Joins two exact bounds as Newcombe 1998 joins Wilson's: ``(p - q) - sqrt((p - p_low)^2 + (q_high - q)^2)``.
    """
    down, up = rate.value - rate.bounds(level)[0], control.bounds(level)[1] - control.value
    return rate.value - control.value - (down**2 + up**2) ** 0.5


def p_value(rate: Rate, control: Rate, allowed: float) -> float:
    """Chance of such a difference if the true one were just `allowed`: the level at which its bound is that."""

    def beyond(power: float) -> float:
        return excess_low(rate, control, 10**power) - allowed

    half = float(np.log10(0.5))
    if rate.value - control.value <= allowed:
        return 1.0
    if beyond(_SMALLEST) > 0:
        return 10**_SMALLEST
    if beyond(half) <= 0:
        return 0.5
    return float(10 ** optimize.brentq(beyond, _SMALLEST, half))

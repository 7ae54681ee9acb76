"""A number and how sure one can be of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GROUPS = 20
LEAST_IMAGES = 2 * GROUPS


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error; `replicates` are those of a jackknife, where there was one."""

    value: float
    standard_error: float
    replicates: tuple[float, ...] = ()

    @property
    def interval(self) -> tuple[float, float]:
        """About 95 %: the value ± 1.96 standard errors."""
        return self.value - 1.96 * self.standard_error, self.value + 1.96 * self.standard_error


def replicates(
    replicate: Callable[[np.ndarray, np.ndarray], np.ndarray | float],
    first_count: int,
    second_count: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Statistics of two samples without a group of each: what a delete-group jackknife on both at once is made of.

    Both samples are cut into g = 20 random groups; the i-th replicate leaves out the i-th group of each. Rows are
    never resampled with replacement: repeated rows bias distances upward and neighbours to zero, so that bootstrap
    percentiles miss the statistic itself.

    Args:
        replicate: gives the statistics, a scalar or float ``[s]``, without these rows of the two samples.
        first_count: rows of the first sample, at least 40.
        second_count: rows of the second sample, at least 40.
        random: draws the groups. Rows may be sorted by class; the groups must not be.

    Returns:
        float64 ``[g]`` or ``[g, s]``.
    """
    if min(first_count, second_count) < LEAST_IMAGES:
        raise ValueError(
            f"{GROUPS} groups need {LEAST_IMAGES} images on each side, got {first_count} and {second_count}"
        )
    parts = [np.array_split(random.permutation(count), GROUPS) for count in (first_count, second_count)]
    return np.stack([replicate(left, right) for left, right in zip(*parts, strict=True)])


def jackknife(replicates: np.ndarray) -> np.ndarray:
    """Standard errors from :func:`replicates`: ``SE^2 = (g - 1) / g * sum (s_i - mean s)^2``.

    Of differences of two statistics whose replicates left out the same groups, it is the paired standard error.
    """
    return np.sqrt((GROUPS - 1) * np.asarray(replicates).var(axis=0))

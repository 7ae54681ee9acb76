"""The kernel distance (KID): an unbiased distance that small samples do not inflate."""

import numpy as np
from jaxtyping import Float

from gan_components.metrics.estimate import Estimate

Features = Float[np.ndarray, "n d"]


def distance(first: Features, second: Features) -> float:
    """Squared maximum mean discrepancy under ``k(x, y) = (x.y / d + 1)^3``, unbiased.

    ``mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)``;
    Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401. Slightly negative values are as they should be:
    the mean over samples from one distribution is 0.

    Args:
        first: ``[n, d]``, n at least 2. All n x m kernel values are held at once.
        second: ``[m, d]``.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return _mean_off_diagonal(first) + _mean_off_diagonal(second) - 2 * float(_kernel(first, second).mean())


def estimate(first: Features, second: Features, random: np.random.Generator, *, partitions: int = 10) -> Estimate:
    """Mean :func:`distance` over subsets of ``m = min(1000, N // 4)``, N the smaller set's size.

    Each of `partitions` random partitions cuts both sets into ``N // m`` disjoint pairs of subsets. Pairs of
    one partition share no image, so that the variance of their mean is ``var(ddof=1) / (N // m)``, without
    bias. Averaging over partitions cannot raise the variance; the reported standard error is therefore the
    root of that variance averaged over the partitions, a little on the large side. The usual spread over
    overlapping subsets is no standard error at all, and subsets of 1,000 out of 1,000 images are all the same.
    """
    count = min(len(first), len(second))
    if count < 8:
        raise ValueError(f"the kernel distance needs at least eight images a side, got {count}")
    size = min(1000, count // 4)
    blocks = count // size
    distances = np.empty((partitions, blocks))
    for row in distances:
        left, right = random.permutation(len(first)), random.permutation(len(second))
        for i in range(blocks):
            rows = slice(i * size, (i + 1) * size)
            row[i] = distance(first[left[rows]], second[right[rows]])
    variance = float(distances.var(axis=1, ddof=1).mean() / blocks)
    return Estimate(float(distances.mean()), variance**0.5)


def _kernel(first: Features, second: Features) -> np.ndarray:
    base = first @ second.T / first.shape[1] + 1
    # Two products are ten times as fast as a power of 3.
    return base * base * base


def _mean_off_diagonal(features: Features) -> float:
    count = len(features)
    kernel = _kernel(features, features)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))

"""The Fréchet distance between two sets of features, and how sure one can be of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.linalg
import scipy.stats
from jaxtyping import Float, Float64

from gan_components.metrics.estimate import Estimate, jackknife, replicates
from gan_components.metrics.extractor import Identity, require_same

Features = Float[np.ndarray, "n d"]
Covariance = Float64[np.ndarray, "d d"]

# Of the line that is extrapolated, as in the paper's code.
_POINTS = 15
LEAST_FOR_INFINITY = 100


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of features, in float64; they merge, so that features can stream by.

    Attributes:
        count: n.
        mean: float64 ``[d]``.
        scatter: float64 ``[d, d]``, sum of the outer products of the *centred* features. Raw second moments
            would cancel when the mean is large against the spread.
        identity: of the extractor; moments of different ones refuse to meet. None for plain numbers.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray
    identity: Identity | None = None

    @classmethod
    def of(cls, features: Features, identity: Identity | None = None) -> Self:
        """Moments of one batch ``[n, d]``, n at least 1."""
        features = np.asarray(features, np.float64)
        mean = features.mean(axis=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred, identity)

    def merge(self, other: Self) -> Self:
        """Moments of both sets together (Chan, Golub & LeVeque 1983); associative up to rounding."""
        require_same(self.identity, other.identity)
        count = self.count + other.count
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        between = np.outer(step, step) * (self.count * other.count / count)
        return type(self)(count, mean, self.scatter + other.scatter + between, self.identity)

    def without(self, part: Self) -> Self:
        """Moments of the rest when `part` is taken out: the inverse of :meth:`merge`."""
        count = self.count - part.count
        mean = self.mean + (self.mean - part.mean) * (part.count / count)
        step = part.mean - mean
        between = np.outer(step, step) * (count * part.count / self.count)
        return type(self)(count, mean, self.scatter - part.scatter - between, self.identity)

    @property
    def covariance(self) -> Covariance:
        """Divided by n - 1, as the first FID code does; StyleGAN divides by n."""
        return self.scatter / (self.count - 1)


def moments(batches: Iterable[Features], identity: Identity | None = None) -> Moments:
    """Moments of a stream of feature batches, independent of their sizes up to rounding."""
    stream = iter(batches)
    total = Moments.of(next(stream), identity)
    for batch in stream:
        total = total.merge(Moments.of(batch, identity))
    return total


def distance(first: Moments, second: Moments) -> float:
    """``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``; Heusel et al. 2017, https://arxiv.org/abs/1706.08500.

    For any factors ``S = L L'``, the eigenvalues of ``S1 S2`` are the squared singular values of ``L1' L2``, so
    the trace of the root is the sum of these singular values. No root is taken of rounding noise: singular
    covariances are exact, and equal moments give 0.

    Raises:
        ValueError: fewer than two features on a side, or features of different extractors.
    """
    require_same(first.identity, second.identity)
    if min(first.count, second.count) < 2:
        raise ValueError(
            f"a covariance needs at least two features on each side, got {first.count} and {second.count}"
        )
    roots = [_root(one.covariance) for one in (first, second)]
    return _distance(first.mean, second.mean, *roots)


def distance_of_features(first: Features, second: Features) -> float:
    """:func:`distance` of two sets ``[n, d]`` and ``[m, d]``, exact for fewer features than dimensions too.

    With n < d the centred features themselves are the factor of their covariance: no d x d matrix is
    decomposed, and null directions stay exactly null.
    """
    sides = []
    for features in (first, second):
        count, dimension = features.shape
        if count >= dimension:
            part = Moments.of(features)
            sides.append((part.mean, _root(part.covariance)))
        else:
            features = np.asarray(features, np.float64)
            mean = features.mean(axis=0)
            sides.append((mean, (features - mean).T / np.sqrt(count - 1)))
    (first_mean, first_root), (second_mean, second_root) = sides
    return _distance(first_mean, second_mean, first_root, second_root)


def estimate(first: Features, second: Features, random: np.random.Generator) -> Estimate:
    """:func:`distance_of_features` with the standard error of :func:`estimate.jackknife`.

    The interval is one for the expected distance *at these sample sizes*: the distance of two samples of n
    from one d-dimensional normal distribution is about ``(2 d + d (d + 1) / 2) / n`` variances, not 0.
    Compare distances at equal n only.
    """
    value = distance_of_features(first, second)
    if min(len(first), len(second)) <= 2 * first.shape[1]:

        def replicate(left: np.ndarray, right: np.ndarray) -> float:
            return distance_of_features(np.delete(first, left, axis=0), np.delete(second, right, axis=0))
    else:
        # Taking a group out of the moments costs a twentieth of adding up the rest again.
        wholes = Moments.of(first), Moments.of(second)

        def replicate(left: np.ndarray, right: np.ndarray) -> float:
            groups = Moments.of(first[left]), Moments.of(second[right])
            return distance(*(whole.without(group) for whole, group in zip(wholes, groups, strict=True)))

    without = replicates(replicate, len(first), len(second), random)
    return Estimate(value, float(jackknife(without)), tuple(without.tolist()))


def at_infinity(generated: Features, reference: Features, random: np.random.Generator) -> Estimate:
    """The distance of infinitely many generated images, extrapolated: FID-infinity.

    The bias of :func:`distance_of_features` is nearly proportional to 1/n. Distances of 15 random subsets of the
    generated features, of n equally spaced from a tenth of them to all, are fitted by a line in 1/n; the value is
    its intercept. Chong and Forsyth 2020, https://arxiv.org/abs/1911.07023. The reference stays whole: its own
    bias remains, so compare at equal references only.

    Returns:
        The intercept, which noise can push below zero, and its standard error from the line's residuals: subsets
        overlap, so that it says how straight the line is, not how sure the value.

    Raises:
        ValueError: fewer than 100 generated features.
    """
    if len(generated) < LEAST_FOR_INFINITY:
        raise ValueError(
            f"an extrapolation needs at least {LEAST_FOR_INFINITY} generated features, got {len(generated)}"
        )
    counts = np.linspace(len(generated) / 10, len(generated), _POINTS).astype(int)
    distances = [
        distance_of_features(generated[random.choice(len(generated), count, replace=False)], reference)
        for count in counts
    ]
    line = scipy.stats.linregress(1.0 / counts, distances)
    return Estimate(float(line.intercept), float(line.intercept_stderr))


def _distance(
    first_mean: np.ndarray, second_mean: np.ndarray, first_root: np.ndarray, second_root: np.ndarray
) -> float:
    cross = _nuclear_norm(first_root.T @ second_root)
    traces = np.sum(first_root**2) + np.sum(second_root**2)
    shift = np.sum((first_mean - second_mean) ** 2)
    # The distance is never negative; what is below zero here is rounding.
    return max(float(shift + traces - 2 * cross), 0.0)


def _nuclear_norm(product: np.ndarray) -> float:
    """Sum of the singular values: by the eigenvalues of ``P' P``, which is faster, where none is near rounding.

    An eigenvalue is wrong by about eps times the largest, a root of it by that over twice the root: where the
    smallest is a 1e-8 of the largest, by 1e-12 of the largest root.
    """
    if product.shape[0] == product.shape[1]:
        squares = scipy.linalg.eigvalsh(product.T @ product)
        if squares[0] > 1e-8 * squares[-1]:
            return float(np.sqrt(squares).sum())
    return float(scipy.linalg.svdvals(product).sum())


def _root(covariance: Covariance) -> np.ndarray:
    """A factor L ``[d, r]`` with ``L L' = covariance``: Cholesky's where that is safe, else by eigenvalues.

    Directions whose variance is below the rounding of the largest are left out: they are noise of a
    singular covariance, and Cholesky either fails on it or keeps the noise's root.
    """
    noise = len(covariance) * np.finfo(np.float64).eps
    factor, failed = scipy.linalg.lapack.dpotrf(covariance, lower=1)
    pivots = np.diag(factor) ** 2
    if not failed and pivots.min() > 1e4 * noise * pivots.max():
        return factor
    values, vectors = scipy.linalg.eigh(covariance)
    kept = values > noise * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])

"""Precision, recall, density and coverage: is what is drawn real, and is all that is real drawn?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from gan_components.metrics.estimate import Estimate, jackknife, replicates

Features = Float[np.ndarray, "n d"]

NAMES = ("precision", "recall", "density", "coverage")
PRECISION_RECALL_K = 3
DENSITY_COVERAGE_K = 5


@dataclass(frozen=True)
class Distances:
    """Squared distances of all pairs, float64; direct differences, since ties decide ``<`` against ``<=``."""

    real: np.ndarray
    generated: np.ndarray
    between: np.ndarray

    def without(self, real: np.ndarray, generated: np.ndarray) -> "Distances":
        """The distances that remain when these rows are left out."""
        return Distances(
            np.delete(np.delete(self.real, real, 0), real, 1),
            np.delete(np.delete(self.generated, generated, 0), generated, 1),
            np.delete(np.delete(self.between, real, 0), generated, 1),
        )


def distances(real: Features, generated: Features) -> Distances:
    """All pairs of ``[N, d]`` and ``[M, d]``; ``(N + M)^2`` numbers stand in memory."""
    real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    return Distances(
        cdist(real, real, "sqeuclidean"),
        cdist(generated, generated, "sqeuclidean"),
        cdist(real, generated, "sqeuclidean"),
    )


def precision_recall(pairs: Distances, k: int = PRECISION_RECALL_K) -> tuple[float, float]:
    """Share of one set that lies in the union of balls around the other.

    A ball reaches to the k-th neighbour of its centre within its own set, the surface included (``<=``).
    Precision: generated images in balls around real ones; recall: the reverse. Kynkäänniemi et al. 2019,
    https://arxiv.org/abs/1904.06991, with k = 3. A generator collapsed to one mode has precision about 1 and
    recall about 0.
    """
    precision = np.any(pairs.between <= _radii(pairs.real, k)[:, None], axis=0).mean()
    recall = np.any(pairs.between <= _radii(pairs.generated, k)[None, :], axis=1).mean()
    return float(precision), float(recall)


def density_coverage(pairs: Distances, k: int = DENSITY_COVERAGE_K) -> tuple[float, float]:
    """How often generated images fall into balls around real ones, and what share of balls holds one.

    Only real images have balls, without their surface (``<``). Density is the mean number of balls around a
    generated image, over k: 1 expected for equal distributions, and it may exceed 1. Coverage is the share
    of real images whose ball holds a generated one: about ``1 - 2^-k`` expected for equal distributions and
    sizes. Naeem et al. 2020, https://arxiv.org/abs/2002.09797, with k = 5.
    """
    inside = pairs.between < _radii(pairs.real, k)[:, None]
    return float(inside.sum(axis=0).mean() / k), float(inside.any(axis=1).mean())


def estimates(real: Features, generated: Features, random: np.random.Generator) -> dict[str, Estimate]:
    """The four numbers of :data:`NAMES`, each with its jackknife standard error over both sets."""
    pairs = distances(real, generated)
    values = _all(pairs)
    without = replicates(
        lambda left, right: np.array(_all(pairs.without(left, right))), len(real), len(generated), random
    )
    errors = jackknife(without)
    return {name: Estimate(value, float(error)) for name, value, error in zip(NAMES, values, errors, strict=True)}


def _all(pairs: Distances) -> tuple[float, float, float, float]:
    return *precision_recall(pairs), *density_coverage(pairs)


def _radii(squares: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each row to its k-th neighbour; column k, since the row itself is at 0."""
    return np.partition(squares, k, axis=1)[:, k]

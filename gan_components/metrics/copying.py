"""Measures of copying from the literature, reported beside the verdict and never part of it.

Each is one number for a whole generator, and such numbers cannot tell copying from mode collapse or from poor
images (Stein et al. 2023, https://arxiv.org/abs/2306.04675). They are here because people quote them.
"""

from typing import Literal

import numpy as np
from pydantic import BaseModel
from scipy import stats
from scipy.cluster import vq

from gan_components.metrics import neighbours

_DIMENSIONS, _CELLS = 64, 3
_LEAST_IN_CELL = 20
_MOST_FOR_CELLS = 10_000


class Evidence(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One number about copying.

    Attributes:
        name: ``authenticity``, ``auc`` or ``c_t``.
        space: where distances are taken.
        value, low, high: of the generated images, with a 95 % interval.
        expected: of a generator that copies nothing: the held-out images' value, one half, or zero.
    """

    name: Literal["authenticity", "auc", "c_t"]
    space: str
    value: float
    low: float
    high: float
    expected: float


# Quantiles and Jeffreys' prior of a share's interval.
_JEFFREYS = ((0.025, 0.5, 0.5), (0.975, 0.5, 0.5))

Nearest = tuple[np.ndarray, np.ndarray]
"""Distances to the nearest training images and their rows, ``[N, k]`` as of :func:`neighbours.nearest`."""


def measure(
    space: str,
    generated: np.ndarray,
    train: np.ndarray,
    holdout: np.ndarray,
    nearest: tuple[Nearest, Nearest],
    random: np.random.Generator,
) -> list[Evidence]:
    """Authenticity, AUC and C_T of generated images in one space.

    * ``authenticity``: share of images that lie farther from their nearest training image than that one from
      its own nearest training image (Alaa et al. 2022, https://arxiv.org/abs/2102.08921). Expected is the
      share among held-out images, which is not 1.
    * ``auc``: chance that a generated image lies closer to the training images than a held-out one. With copies
      above one half, and also if the generator draws only what is frequent.
    * ``c_t``: the Mann-Whitney statistic of these distances within cells of the training images, weighted by the
      held-out images in each (Meehan et al. 2020, https://arxiv.org/abs/2004.05675): in standard deviations,
      below -3 is read as copying, above 3 as underfitting. As in the widely used code: 64 principal
      components, three cells of k-means, cells with more than 20 generated images. It grows with the root of the
      number of images; read ``auc`` beside it.

    Args:
        space: its name.
        generated: ``[N, ...]``.
        train: ``[M, ...]``, M at least 2.
        holdout: ``[K, ...]``.
        nearest: of the generated and of the held-out images.
        random: seeds the cells.
    """
    generated, train, holdout = (rows.reshape(len(rows), -1) for rows in (generated, train, holdout))
    of_generated, of_holdout = (distances[:, 0] for distances, _ in nearest)
    rows, places = np.unique(np.concatenate([rows[:, 0] for _, rows in nearest]), return_inverse=True)
    # The nearest is the row itself, or a twin of it at the same place.
    around = neighbours.nearest(train[rows], train, 2)[0][:, 1][places]
    authentic = np.concatenate([of_generated, of_holdout]) > around
    first, second = authentic[: len(generated)], authentic[len(generated) :]
    closer = _z(of_generated, of_holdout)
    count = len(generated) * len(holdout)
    # Of the same ranks: the statistic as a share.
    spread = ((len(generated) + len(holdout) + 1) / (12 * count)) ** 0.5
    auc, width = 0.5 - closer * spread, 1.96 * spread
    c_t = _c_t(generated, train, holdout, of_generated, of_holdout, random)
    low, high = (float(stats.beta.ppf(q, first.sum() + a, (~first).sum() + b)) for q, a, b in _JEFFREYS)
    return [
        Evidence(
            name="authenticity",
            space=space,
            value=float(first.mean()),
            low=low,
            high=high,
            expected=float(second.mean()),
        ),
        Evidence(
            name="auc", space=space, value=auc, low=max(auc - width, 0.0), high=min(auc + width, 1.0), expected=0.5
        ),
        Evidence(name="c_t", space=space, value=c_t, low=c_t - 1.96, high=c_t + 1.96, expected=0.0),
    ]


def _z(generated: np.ndarray, holdout: np.ndarray) -> float:
    """Mann-Whitney's statistic in standard deviations, ties one half: negative if `generated` is smaller."""
    pairs = len(generated) * len(holdout)
    larger = stats.mannwhitneyu(generated, holdout, method="asymptotic").statistic
    return float((larger - pairs / 2) / (pairs * (len(generated) + len(holdout) + 1) / 12) ** 0.5)


def _c_t(
    generated: np.ndarray,
    train: np.ndarray,
    holdout: np.ndarray,
    of_generated: np.ndarray,
    of_holdout: np.ndarray,
    random: np.random.Generator,
) -> float:
    chosen = random.permutation(len(train))[:_MOST_FOR_CELLS]
    sample = train[chosen].astype(np.float64)
    centre = sample.mean(axis=0)
    # The principal components: eigenvectors of the scatter, of which the last belong to the largest values.
    axes = np.linalg.eigh((sample - centre).T @ (sample - centre))[1][:, -_DIMENSIONS:]
    centres, _ = vq.kmeans2((sample - centre) @ axes, _CELLS, minit="++", rng=random)
    cells = [vq.vq((rows.astype(np.float64) - centre) @ axes, centres)[0] for rows in (generated, holdout)]
    weights, statistics = [], []
    for cell in range(_CELLS):
        inside, beside = of_generated[cells[0] == cell], of_holdout[cells[1] == cell]
        if len(inside) > _LEAST_IN_CELL and len(beside):
            weights.append(len(beside))
            statistics.append(_z(inside, beside))
    return float(np.average(statistics, weights=weights)) if weights else 0.0

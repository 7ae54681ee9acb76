"""The Inception Score: are the images of clear classes, and of all of them?"""

import itertools

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

from gan_components.metrics.estimate import Estimate

Logits = Float[np.ndarray, "n classes"]


def estimate(logits: Logits, *, splits: int = 10) -> Estimate:
    """``exp(E_x KL(p(y|x) || p(y)))``, the mean over equal splits of the images in their order.

    Salimans et al. 2016, https://arxiv.org/abs/1606.03498. It never looks at real images, and a generator with one
    perfect image a class has the highest score there is: report it beside a distance, not instead of one.

    Args:
        logits: ``[n, classes]``, of the tap ``logits_unbiased`` of the Inception network for the published
            protocol. The order matters: images sorted by class give splits of few classes.
        splits: 10 in the paper.

    Returns:
        A value between 1 and the number of classes; its standard error is that of a mean over the splits, which
        are independent where the images are in random order.

    Raises:
        ValueError: fewer than two images a split, or numbers that are not finite.

    Example:
        >>> estimate(np.log(np.eye(2)[np.arange(40) % 2] + 1e-30)).value.round(6)
        2.0
    """
    if len(logits) < 2 * splits:
        raise ValueError(f"{splits} splits need at least {2 * splits} images, got {len(logits)}")
    if not np.isfinite(logits).all():
        raise ValueError("logits hold numbers that are not finite")
    log_p = log_softmax(np.asarray(logits, np.float64), axis=1)
    bounds = [split * len(logits) // splits for split in range(splits + 1)]
    scores = [_of_split(log_p[low:high]) for low, high in itertools.pairwise(bounds)]
    return Estimate(float(np.mean(scores)), float(np.std(scores, ddof=1) / splits**0.5))


def _of_split(log_p: np.ndarray) -> float:
    p = np.exp(log_p)
    mean = p.mean(axis=0)
    # p log q is 0 where p is: softmax underflows, its logarithm does not.
    log_mean = np.log(mean, where=mean > 0, out=np.zeros_like(mean))
    return float(np.exp(np.mean(np.sum(p * (log_p - log_mean), axis=1))))

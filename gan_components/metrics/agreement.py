"""Pixel agreement of two domains: whether the second image of a latent is the partner of the first."""

from collections.abc import Callable

import numpy as np

from gan_components.metrics.estimate import Estimate

HALF = 128
"""A pixel is on from one half upwards."""


def estimate(images: np.ndarray, images2: np.ndarray, partner: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """Share of the pixels of `images2` that are on or off as in ``partner(images)``, and its standard error.

    ``E[(x2 >= 1/2) == (f(x1) >= 1/2)]``, the pixel agreement ratio of Liu and Tuzel 2016,
    https://arxiv.org/abs/1606.07536, section 4.1. The pairs are independent, the pixels of one are not: the
    error is that of a mean over pairs. Mostly black images agree without any relation: compare with unrelated
    pairs.

    Args:
        images: first domain, uint8 ``[N, H, W, C]``, N at least 2.
        images2: second domain, uint8 ``[N, H, W, C]``, of the same latents.
        partner: the function f that makes a second image of a first one.

    Example:
        >>> x = np.zeros((2, 4, 4, 1), np.uint8)
        >>> estimate(x, 255 - x, lambda x: 255 - x).value
        1.0
    """
    same = (images2 >= HALF) == (partner(images) >= HALF)
    shares = same.reshape(len(same), -1).mean(axis=1, dtype=np.float64)
    return Estimate(float(shares.mean()), float(shares.std(ddof=1) / len(shares) ** 0.5))

"""The Parzen-window log-likelihood: the number by which the first GAN paper measured its generators.

A Gaussian of one width sigma stands at each generated image; real images are judged by the density of the mixture.
Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, table 1: 225 ± 2 nats on MNIST and 2057 ± 26 on the
Toronto Face Database, where a deep belief network has 138 ± 2 and 1909 ± 66. The authors say themselves that the
estimate "has somewhat high variance and does not perform well in high dimensional spaces".

It ranks badly: more samples score higher than few, and centres of k-means higher than true samples (Theis et al.
2015, https://arxiv.org/abs/1511.01844). Measured on 5,000 MNIST digits, 1,000 of which are judged: 3,500 real ones
as samples give 206 ± 7 nats, 1,000 real ones 137 ± 5, the 500 k-means centres of the 3,500 212 ± 7. Compare it
under one protocol only, and do not choose models by it.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from gan_components.metrics.estimate import Estimate

Images = UInt8[np.ndarray, "n h w c"]
LogLikelihoods = Float64[np.ndarray, "sigmas n"]

SIGMAS: tuple[float, ...] = tuple(float(sigma) for sigma in np.logspace(-2, 0, 19))
"""Widths to choose from, on pixels in [0, 1]: the ten of the authors' code, 0.1 to 1, and as many below them."""

# Real and generated images whose distances stand in memory at once: 512 x 4096 float64 are 16 MB.
_IMAGE_TILE, _SAMPLE_TILE = 512, 4096


@dataclass(frozen=True)
class Parzen:
    """A measured log-likelihood.

    Attributes:
        estimate: mean log-likelihood of an image in nats, with its standard error over the images.
        sigma: the width that was chosen.
        curve: mean log-likelihood of the validation images at each width, in nats.
    """

    estimate: Estimate
    sigma: float
    curve: dict[float, float]


def measure(images: Images, samples: Images, validation: Images, *, sigmas: tuple[float, ...] = SIGMAS) -> Parzen:
    """Mean log-likelihood of `images` under a Parzen window on `samples`, with sigma chosen on `validation`.

    The standard error is that of the paper, over the images; how much another set of samples or another sigma
    would change the number is not in it. The number grows with the number of samples.

    Args:
        images: uint8 ``[n, H, W, C]``, held out; n at least 2.
        samples: uint8 ``[m, H, W, C]``, generated.
        validation: uint8 ``[v, H, W, C]``, neither held out nor generated. If the generator was trained on
            them and copies them, sigma comes out too small, and the number worse.
        sigmas: widths to choose from.

    Raises:
        TypeError: images are not uint8.
        ValueError: shapes differ, or a set is empty.
    """
    curve = log_likelihoods(validation, samples, sigmas).mean(axis=1)
    best = int(np.argmax(curve))
    values = log_likelihoods(images, samples, (sigmas[best],))[0]
    if len(values) < 2:
        raise ValueError("a standard error needs at least two held-out images, got 1")
    error = float(values.std(ddof=1) / math.sqrt(len(values)))
    by_width = {sigma: float(value) for sigma, value in zip(sigmas, curve, strict=True)}
    return Parzen(Estimate(float(values.mean()), error), sigmas[best], by_width)


def log_likelihoods(images: Images, samples: Images, sigmas: tuple[float, ...]) -> LogLikelihoods:
    """Log-density of each image under the mixture of Gaussians around the samples, for each width, in nats.

    ``log p(x) = logsumexp_j(-|x - g_j|^2 / (2 sigma^2)) - log m - D/2 log(2 pi sigma^2)`` with pixels in [0, 1]
    and D of them. Squared distances are differences of whole numbers below 2^53, hence exact though computed by
    a matrix product; the sums are accurate to 1e-12 relative.

    Args:
        images: uint8 ``[n, H, W, C]``.
        samples: uint8 ``[m, H, W, C]``.
        sigmas: widths, greater than 0.

    Returns:
        float64 ``[len(sigmas), n]``.
    """
    images, samples = _rows(images, "images"), _rows(samples, "samples")
    if images.shape[1] != samples.shape[1]:
        raise ValueError(f"images have {images.shape[1]} numbers and samples {samples.shape[1]}; resize one side")
    if min(sigmas) <= 0:
        raise ValueError(f"widths must be greater than 0, got {min(sigmas):g}")
    scales = -0.5 / (255.0 * np.asarray(sigmas, np.float64)) ** 2
    sums = np.full((len(sigmas), len(images)), -np.inf)
    for first in range(0, len(samples), _SAMPLE_TILE):
        tile = samples[first : first + _SAMPLE_TILE].astype(np.float64)
        tile_squares = np.einsum("ij,ij->i", tile, tile)
        for start in range(0, len(images), _IMAGE_TILE):
            rows = slice(start, start + _IMAGE_TILE)
            block = images[rows].astype(np.float64)
            squares = np.einsum("ij,ij->i", block, block)[:, None] + tile_squares - 2.0 * (block @ tile.T)
            # Relative to the nearest sample, whose term is then 1: no sum underflows, at any width.
            nearest = squares.min(axis=1)
            squares -= nearest[:, None]
            for i, scale in enumerate(scales):
                tile_sums = np.exp(scale * squares).sum(axis=1)
                sums[i, rows] = np.logaddexp(sums[i, rows], scale * nearest + np.log(tile_sums))
    normalisers = math.log(len(samples)) + images.shape[1] / 2 * np.log(2 * math.pi * np.square(sigmas))
    return sums - normalisers[:, None]


def _rows(images: np.ndarray, name: str) -> np.ndarray:
    if images.dtype != np.uint8:
        raise TypeError(f"{name} must be uint8 in [0, 255], got {images.dtype}")
    if not len(images):
        raise ValueError(f"no {name}: a Parzen window needs at least one image on each side")
    return images.reshape(len(images), -1)

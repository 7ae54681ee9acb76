"""The Parzen window against its formula, scikit-learn's kernel density, closed forms and invariances."""

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.datasets import load_digits
from sklearn.neighbors import KernelDensity

from gan_components.metrics import parzen


def noise(count: int, *, side: int = 4, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)


@pytest.fixture(scope="module")
def digits():
    return (load_digits().images * 15.9).astype(np.uint8)[..., None]


def peak(sigma: float, dimension: int) -> float:
    """Log-density of a Gaussian at its centre."""
    return -dimension / 2 * np.log(2 * np.pi * sigma**2)


def test_definition(monkeypatch):
    """The formula by direct differences, over tiles of uneven size. 1e-12: rounding of sums of exact numbers.

    Red without log m, with sigma for sigma^2, with pixels in [0, 255], or if a tile's sum replaces the others'.
    """
    monkeypatch.setattr(parzen, "_IMAGE_TILE", 3)
    monkeypatch.setattr(parzen, "_SAMPLE_TILE", 4)
    images, samples, sigmas = noise(7, channels=2), noise(10, channels=2, seed=1), (0.05, 0.3, 2.0)
    x, g = images.reshape(7, -1) / 255, samples.reshape(10, -1) / 255
    squares = ((x[:, None] - g[None]) ** 2).sum(2)
    expected = [
        logsumexp(-squares / (2 * sigma**2), axis=1) - np.log(10) + peak(sigma, x.shape[1]) for sigma in sigmas
    ]
    np.testing.assert_allclose(parzen.log_likelihoods(images, samples, sigmas), expected, rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0])
def test_scikit_learn(digits, sigma):
    """The same density of real 3x3 crops. Red with any constant left out.

    KernelDensity takes differences of sums between the bounds of its tree, so that densities more than 36 nats
    under the peak drown in rounding (64 pixels at width 0.15 come out 38 nats too likely); within 20 nats of it
    1e-16 of the peak are 1e-7 of the density.
    """
    crops = digits[:, 2:5, 2:5]
    images, samples = crops[:300], crops[300:1_100]
    density = KernelDensity(bandwidth=sigma).fit(samples.reshape(800, -1) / 255)
    expected = density.score_samples(images.reshape(300, -1) / 255)
    found = parzen.log_likelihoods(images, samples, (sigma,))[0]
    seen = found > peak(sigma, 9) - 20
    assert seen.sum() > 250
    np.testing.assert_allclose(found[seen], expected[seen], atol=2e-7)


def test_a_density_integrates_to_one():
    """Over the 256 levels of one pixel, in steps of 1/255.

    Both Gaussians end seven widths inside, and a sum over steps a thirteenth of the width is an integral to
    1e-10. Red if the normaliser lacks the 2 pi or m.
    """
    levels = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
    samples = np.array([100, 150], np.uint8).reshape(2, 1, 1, 1)
    densities = np.exp(parzen.log_likelihoods(levels, samples, (0.05,))[0])
    assert densities.sum() / 255 == pytest.approx(1.0, abs=1e-10)


def test_copies_are_at_the_peak():
    """Images that are samples, all others far: ``-log m - D/2 log(2 pi sigma^2)``, exactly.

    In 64x64x3 images, at the smallest width: float32 products would be 50 squared levels off, 4 nats; in float64
    they are whole numbers, so that 1e-13 remains. Red with float32 tiles.
    """
    samples = noise(20, side=64, channels=3)
    found = parzen.log_likelihoods(samples, samples, (0.01,))[0]
    np.testing.assert_allclose(found, -np.log(20) + peak(0.01, 64 * 64 * 3), rtol=1e-13)


def test_far_images_have_a_likelihood():
    """White under a black sample, at the smallest width: exp(-80,000) underflows, its logarithm does not.

    Red if the sum is not taken relative to the nearest sample.
    """
    black, white = np.zeros((3, 4, 4, 1), np.uint8), np.full((2, 4, 4, 1), 255, np.uint8)
    found = parzen.log_likelihoods(white, black, (0.01,))[0]
    np.testing.assert_allclose(found, -16 / (2 * 0.01**2) + peak(0.01, 16), rtol=1e-12)


def test_invariances():
    """The samples' order, their repetition, one permutation of all pixels, and negatives change nothing.

    The images' order only orders the results. Red if samples are weighted, or if m counts distinct ones.
    """
    images, samples, sigmas = noise(30), noise(50, seed=1), (0.1, 0.4)
    expected = parzen.log_likelihoods(images, samples, sigmas)
    order = np.random.default_rng(2).permutation(16)

    def shuffled(pictures):
        return pictures.reshape(-1, 16)[:, order].reshape(pictures.shape)

    for changed in (
        parzen.log_likelihoods(images, samples[::-1], sigmas),
        parzen.log_likelihoods(images, np.concatenate([samples, samples]), sigmas),
        parzen.log_likelihoods(shuffled(images), shuffled(samples), sigmas),
        parzen.log_likelihoods(255 - images, 255 - samples, sigmas),
        parzen.log_likelihoods(images[::-1], samples, sigmas)[:, ::-1],
    ):
        np.testing.assert_allclose(changed, expected, rtol=1e-12)


def test_the_width_is_chosen_on_the_validation_images():
    """One sample, validation images with noise of width 0.1 around it, judged ones with half of that.

    0.1 stands in the grid and its neighbours are 22 % and 29 % away; 200 images of 64 pixels know a width to
    0.6 %. The density is then one Gaussian, whose mean logarithm is a closed form. Red if sigma is chosen on
    `images` (0.046), or by the least likelihood.
    """
    rng = np.random.default_rng(0)
    sample = np.full((1, 8, 8, 1), 128, np.uint8)

    def around(count, width):
        return np.round(128 + 255 * width * rng.normal(size=(count, 8, 8, 1))).clip(0, 255).astype(np.uint8)

    images = around(50, 0.05)
    found = parzen.measure(images, sample, around(200, 0.1))
    assert found.sigma == pytest.approx(0.1)
    squares = ((images / 255 - 128 / 255) ** 2).sum((1, 2, 3))
    assert found.estimate.value == pytest.approx(-squares.mean() / (2 * 0.1**2) + peak(0.1, 64), rel=1e-12)
    assert list(found.curve) == list(parzen.SIGMAS)


def test_the_error_is_the_images(digits):
    """Sample standard deviation over the root of n, the paper's "±". Red with m for n, or with the variance."""
    images, samples, validation = digits[:200], digits[200:800], digits[800:900]
    found = parzen.measure(images, samples, validation)
    values = parzen.log_likelihoods(images, samples, (found.sigma,))[0]
    assert found.estimate.value == pytest.approx(values.mean(), rel=1e-12)
    assert found.estimate.standard_error == pytest.approx(values.std(ddof=1) / 200**0.5, rel=1e-12)
    curve = parzen.log_likelihoods(validation, samples, parzen.SIGMAS).mean(axis=1)
    np.testing.assert_allclose(list(found.curve.values()), curve, rtol=1e-12)


def test_more_modes_are_likelier(digits):
    """Digits are judged by all ten, by one of the ten, and by noise. Red with the sign reversed."""
    images, validation, others = digits[:200], digits[200:300], digits[300:]
    ones = others[load_digits().target[300:] == 1]
    values = [
        parzen.measure(images, samples, validation).estimate.value
        for samples in (others[: len(ones)], ones, noise(len(ones), side=8))
    ]
    assert values[0] > values[1] > values[2]


def test_refusals():
    """Red if a check is removed: floats in [0, 1] would be taken for black images."""
    images = noise(4)
    with pytest.raises(TypeError, match="samples must be uint8"):
        parzen.log_likelihoods(images, images / 255, (0.1,))
    with pytest.raises(ValueError, match="16 numbers and samples 64"):
        parzen.log_likelihoods(images, noise(4, side=8), (0.1,))
    with pytest.raises(ValueError, match="no samples"):
        parzen.log_likelihoods(images, images[:0], (0.1,))
    with pytest.raises(ValueError, match="greater than 0, got 0"):
        parzen.log_likelihoods(images, images, (0.1, 0.0))
    with pytest.raises(ValueError, match="at least two held-out images"):
        parzen.measure(images[:1], images, images)

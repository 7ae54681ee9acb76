"""Multi-scale structural similarity as a measure of variety."""

import numpy as np
import pytest

from gan_components import randomness
from gan_components.metrics import ms_ssim


def _noise(count: int, side: int) -> np.ndarray:
    return randomness.numpy_generator(0, "noise").integers(0, 256, (count, side, side, 1), np.uint8)


def test_equal_pairs_are_1_and_unrelated_ones_near_0():
    """Red if a row is paired with itself."""
    images = _noise(40, 32)
    assert ms_ssim.estimate(np.repeat(images, 2, axis=0)).value == pytest.approx(1.0, abs=1e-6)
    assert abs(ms_ssim.estimate(images).value) < 0.1


@pytest.mark.parametrize("side, scales", [(11, 1), (22, 2), (28, 2), (44, 3), (176, 5), (400, 5)])
def test_scales_are_those_whose_images_hold_a_window(monkeypatch, side, scales):
    """Weights sum to 1, so that numbers of all sizes lie on one scale. Red if a scale more is taken."""
    seen = []
    original = ms_ssim.tf.image.ssim_multiscale

    def spy(*images, power_factors, **settings):
        seen.extend(power_factors)
        return original(*images, power_factors=power_factors, **settings)

    monkeypatch.setattr(ms_ssim.tf.image, "ssim_multiscale", spy)
    ms_ssim.estimate(_noise(4, side))
    assert len(seen) == scales
    assert sum(seen) == pytest.approx(1.0)


def test_standard_error_is_that_of_independent_pairs():
    """The spread of 30 disjoint estimates; a standard deviation of 30 is known to 13 %. Red without the root."""
    images = _noise(1800, 12)
    estimates = [ms_ssim.estimate(images[start : start + 60]) for start in range(0, 1800, 60)]
    spread = np.std([one.value for one in estimates], ddof=1)
    assert np.mean([one.standard_error for one in estimates]) == pytest.approx(spread, rel=0.4)


@pytest.mark.parametrize("shape", [(3, 28, 28, 1), (8, 10, 28, 1)])
def test_too_few_or_too_small(shape):
    """Red if the check of the smallest number or size is dropped."""
    with pytest.raises(ValueError, match="at least 4 images"):
        ms_ssim.estimate(np.zeros(shape, np.uint8))

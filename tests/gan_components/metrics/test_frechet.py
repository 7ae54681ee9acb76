"""The Fréchet distance against closed forms, another formula, and its own sampling distribution."""

import numpy as np
import pytest
import scipy.linalg

from gan_components.metrics import frechet
from gan_components.metrics.extractor import Identity


def gaussian(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension))


def with_moments(mean: np.ndarray, covariance: np.ndarray, count: int = 100) -> frechet.Moments:
    return frechet.Moments(count, np.asarray(mean, float), np.asarray(covariance, float) * (count - 1))


def test_a_shift_costs_its_squared_length():
    """Red if the means' difference is not squared, or if the trace term loses its factor 2.

    1e-12: rounding of sums of some hundred numbers near 1.
    """
    features = gaussian(500, 8)
    shift = np.arange(8) / 4
    assert frechet.distance_of_features(features, features + shift) == pytest.approx(shift @ shift, rel=1e-12)


def test_diagonal_covariances():
    """Red if singular values are squared: the closed form is sum (sqrt a - sqrt b)^2."""
    a, b = np.array([1.0, 4.0, 9.0, 0.0]), np.array([4.0, 4.0, 1.0, 2.0])
    got = frechet.distance(with_moments(np.zeros(4), np.diag(a)), with_moments(np.zeros(4), np.diag(b)))
    assert got == pytest.approx(np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rel=1e-12)


def test_covariance_divides_by_n_minus_one():
    """Red with n: at n = 4 the two differ by a third."""
    features = gaussian(4, 3)
    np.testing.assert_allclose(frechet.Moments.of(features).covariance, np.cov(features.T), rtol=1e-12)


@pytest.mark.parametrize("rank", [64, 20])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_equal_sets_are_at_zero(rank, scale):
    """Red with eigenvalues of S1 S2 instead of singular values of the factors (error 1e-6 when singular).

    1e-8 of the traces' size, as promised; negative values would show as a failed `0 <=`.
    """
    features = scale * gaussian(300, rank) @ gaussian(rank, 64, seed=1)
    moments = frechet.Moments.of(features)
    assert 0 <= frechet.distance(moments, moments) <= 1e-8 * max(1.0, scale**2)
    assert 0 <= frechet.distance_of_features(features[:40], features[:40]) <= 1e-8 * max(1.0, scale**2)


def test_against_the_matrix_square_root():
    """Red if the factors are multiplied the wrong way round. sqrtm is good to 1e-8 when well-conditioned."""
    first, second = gaussian(2000, 32), 0.5 + gaussian(3000, 32, seed=1) @ gaussian(32, 32, seed=2) / 4
    s1, s2 = np.cov(first.T), np.cov(second.T)
    shift = first.mean(0) - second.mean(0)
    expected = shift @ shift + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real)
    assert frechet.distance_of_features(first, second) == pytest.approx(expected, rel=1e-8)


def test_rotation_changes_nothing():
    """Red if a factor is transposed in :func:`frechet._distance`: the distance is one of distributions."""
    first, second = gaussian(200, 10) * np.arange(1, 11), 1 + gaussian(300, 10, seed=1)
    rotation, _ = np.linalg.qr(gaussian(10, 10, seed=2))
    turned = frechet.distance_of_features(first @ rotation, second @ rotation)
    assert turned == pytest.approx(frechet.distance_of_features(first, second), rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(60, 90), (64, 2000)])
def test_fewer_features_than_dimensions(n, m):
    """Moments and the nuclear norm of the data agree; red if null directions keep the root of their noise.

    1e-9: the eigenvalues that are kept carry rounding of 1e-14 of the largest; square-root noise would be
    near 1e-6.
    """
    first, second = gaussian(n, 128), 1.5 * gaussian(m, 128, seed=1)
    a, b = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (first, second))
    cross = scipy.linalg.svdvals(a @ b.T).sum()
    shift = first.mean(0) - second.mean(0)
    expected = shift @ shift + np.sum(a**2) + np.sum(b**2) - 2 * cross
    assert frechet.distance_of_features(first, second) == pytest.approx(expected, rel=1e-12)
    moments = frechet.distance(frechet.Moments.of(first), frechet.Moments.of(second))
    assert moments == pytest.approx(expected, rel=1e-9)


def test_bias_of_finite_samples():
    """Two samples of one distribution: E[FD] is near (2d + d(d+1)/2)/n; red with 1/n in place of 1/(n-1)... of d.

    The formula holds for n much larger than d (2 % off at n = 400, d = 64); ten runs average to about 1 %.
    """
    d, n = 64, 400
    runs = [frechet.distance_of_features(gaussian(n, d, 2 * i), gaussian(n, d, 2 * i + 1)) for i in range(10)]
    assert np.mean(runs) == pytest.approx((2 * d + d * (d + 1) / 2) / n, rel=0.04)


def test_streams_do_not_depend_on_batches():
    """Red if merge forgets the term between the means. Means of 1e3 would ruin raw second moments."""
    features = 1e3 + gaussian(1000, 6)
    whole = frechet.Moments.of(features)
    for size in (1, 7, 64, 999):
        parts = frechet.moments(features[i : i + size] for i in range(0, 1000, size))
        np.testing.assert_allclose(parts.covariance, whole.covariance, atol=1e-10)
        np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-13)


def test_merge_is_associative_and_without_is_its_inverse():
    """Red if `without` weighs the removed mean by the wrong count."""
    a, b, c = (frechet.Moments.of(i + gaussian(50 * i, 4, seed=i)) for i in (1, 2, 3))
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    for one, other in ((left, right), (left.without(c), a.merge(b))):
        assert one.count == other.count
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
        np.testing.assert_allclose(one.scatter, other.scatter, rtol=1e-10, atol=1e-10)


def test_moments_of_two_extractors_do_not_meet():
    """Red if the identity is dropped by merge or distance."""
    identity = Identity(name="a", digest="1", preprocessing="", layer="", dimension=4)
    other = identity.model_copy(update={"digest": "2"})
    first, second = (frechet.Moments.of(gaussian(9, 4), each) for each in (identity, other))
    with pytest.raises(ValueError, match="digest 1 and 2"):
        frechet.distance(first.merge(first), second)
    with pytest.raises(ValueError, match="different extractors"):
        first.merge(second)


def test_the_interval_covers_the_expected_distance():
    """95 % intervals hold E[FD_n] in about 95 % of samples; red without the factor g - 1.

    200 runs have a standard error of 1.5 points; the jackknife's own error with 20 groups costs about two
    (Student's t against normal), so that 89 % is three standard errors below what is to be expected.
    """
    d, n = 8, 300
    results = [
        frechet.estimate(gaussian(n, d, 2 * i), 0.4 + 1.2 * gaussian(n, d, 2 * i + 1), np.random.default_rng(i))
        for i in range(200)
    ]
    expected = np.mean([result.value for result in results])
    hits = [result.interval[0] <= expected <= result.interval[1] for result in results]
    assert 0.89 <= np.mean(hits) <= 0.995


@pytest.mark.parametrize("dimension", [8, 100])
def test_jackknife_by_moments_equals_jackknife_by_rows(dimension):
    """Red if a replicate takes the wrong group out of one side; both routes see equal groups."""
    first, second = gaussian(150, dimension), 0.5 + gaussian(170, dimension, seed=1)
    estimate = frechet.estimate(first, second, np.random.default_rng(0))
    random = np.random.default_rng(0)
    parts = [np.array_split(random.permutation(len(x)), 20) for x in (first, second)]
    replicates = [
        frechet.distance_of_features(np.delete(first, a, 0), np.delete(second, b, 0))
        for a, b in zip(*parts, strict=True)
    ]
    assert estimate.standard_error == pytest.approx(np.sqrt(19 * np.var(replicates)), rel=1e-9)


def test_extrapolation_takes_the_bias_out():
    """4,000 of N(0, I_16) against 40,000 more: at 4,000 the bias of this side is about
    (2 d + d (d + 1) / 2) / (2 n) = 0.021, at infinity a tenth of it is left, the reference's; the mean of 5 runs
    within 0.006.

    Red if the line is fitted in n, or the subsets are the first ones of a sorted set.
    """
    reference = gaussian(40_000, 16, seed=99)
    plain, extrapolated = [], []
    for seed in range(5):
        generated = gaussian(4000, 16, seed)
        generated = generated[np.argsort(generated[:, 0])]
        plain.append(frechet.distance_of_features(generated, reference))
        extrapolated.append(frechet.at_infinity(generated, reference, np.random.default_rng(seed)).value)
    assert 0.015 < np.mean(plain) < 0.035
    assert abs(np.mean(extrapolated) - 0.002) < 0.006


def test_extrapolation_needs_images():
    """Red without the check: a tenth of 20 features has no covariance."""
    with pytest.raises(ValueError, match="at least 100 generated features, got 99"):
        frechet.at_infinity(gaussian(99, 4), gaussian(200, 4), np.random.default_rng(0))


@pytest.mark.parametrize("smallest", [1.0, 1e-3, 1e-7, 0.0])
def test_the_nuclear_norm_by_either_way(smallest):
    """Half of the singular values are `smallest`: with 1e-7 its square is beside rounding.

    Both ways are good to 1e-12 of the largest. Red if the bound under which eigenvalues are not trusted is lowered
    to 1e-16: then each 1e-7 comes out wrong by up to 1e-9.
    """
    random = np.random.default_rng(0)
    left, right = (np.linalg.qr(random.normal(size=(60, 60)))[0] for _ in range(2))
    values = np.r_[np.linspace(1.0, 0.1, 30), np.full(30, smallest)]
    assert frechet._nuclear_norm(left * values @ right) == pytest.approx(values.sum(), abs=60e-12)

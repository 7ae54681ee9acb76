import functools
from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from gan_components.training import config, losses

# The logits on which the tests of tensorflow/gan (losses_impl_test.py) publish their expected losses.
REAL = np.array([-5.0, 1.4, 12.5, 2.7])
FAKE = np.array([10.0, 4.4, -5.5, 3.6])


def log_sigmoid(t):
    """By its definition, in float64: exact to 1e-12 for the logits of this file."""
    return np.log(1 / (1 + np.exp(-t)))


def by_hand(name, x, y, s=0.0):
    """The formulas of the papers in NumPy, with probabilities where the paper has them."""
    discriminator = -np.mean((1 - s) * log_sigmoid(x) + s * log_sigmoid(-x)) - np.mean(log_sigmoid(-y))
    return {
        "minimax": (discriminator, np.mean(log_sigmoid(-y))),
        "non_saturating": (discriminator, -np.mean(log_sigmoid(y))),
        "least_squares": (np.mean((x - (1 - s)) ** 2) / 2 + np.mean(y**2) / 2, np.mean((y - 1) ** 2) / 2),
        "wasserstein": (np.mean(y) - np.mean(x), -np.mean(y)),
        "hinge": (np.mean(np.maximum(0, 1 - x)) + np.mean(np.maximum(0, 1 + y)), -np.mean(y)),
        "relativistic": (-np.mean(log_sigmoid(x - y)), -np.mean(log_sigmoid(y - x))),
    }[name]


def logits(values):
    return tf.constant(values, tf.float32)


# Of tensorflow/gan, six digits; None: not published. Of minimax and non-saturating, the d_loss is published with
# label smoothing, which has a test of its own.
PUBLISHED = {
    "minimax": (None, None),
    "non_saturating": (None, 1.38582),
    "least_squares": (41.73375, 17.69625),
    "wasserstein": (0.225, -3.125),
    "hinge": (6.75, None),
    "relativistic": (None, None),
}


@pytest.mark.parametrize("name", losses.LOSSES)
def test_values_are_those_of_the_paper_and_of_tensorflow_gan(name):
    """Float32 against the definition in float64, and against published numbers.

    Losses are sums of at most eight float32 terms: 1e-6 relative, 1e-6 absolute where they cancel
    (wasserstein's d_loss); published ones are rounded to six digits, hence 5e-6 absolute more.
    Red if real and fake change places, a sign, a factor 1/2, a target or the mean changes.
    """
    values = [float(value) for value in losses.LOSSES[name](logits(REAL), logits(FAKE))]
    np.testing.assert_allclose(values, by_hand(name, REAL, FAKE), rtol=1e-6, atol=1e-6)
    for value, published in zip(values, PUBLISHED[name], strict=True):
        if published is not None:
            assert value == pytest.approx(published, rel=1e-6, abs=6e-6)


@pytest.mark.parametrize("name", sorted(losses.SMOOTHABLE))
@pytest.mark.parametrize("smoothing", [0.1, 0.25])
def test_smoothing_moves_the_target_of_real_images_alone(name, smoothing):
    """Against the definition (tolerance as above); g_loss is the same, to the last bit, as without.

    Red if generated images are smoothed too, if the generator's target moves, or if s and 1 - s change places.
    """
    plain = losses.LOSSES[name](logits(REAL), logits(FAKE))
    smoothed = losses.LOSSES[name](logits(REAL), logits(FAKE), label_smoothing=smoothing)
    assert float(smoothed[0]) == pytest.approx(by_hand(name, REAL, FAKE, smoothing)[0], rel=1e-6)
    assert float(smoothed[1]) == float(plain[1])


def test_smoothing_gives_the_published_value():
    """6.19637, six digits: tensorflow/gan's d_loss with its default of 0.25, by which it moves the target towards
    1/2, to 0.875; our s is what is missing to 1. Red if s and 1 - s change places, or if s means theirs."""
    d_loss, _ = losses.non_saturating(logits(REAL), logits(FAKE), label_smoothing=0.125)
    assert float(d_loss) == pytest.approx(6.19637, abs=6e-6)


def test_the_configuration_offers_what_there_is():
    """`train` is read without TensorFlow and so has lists of its own. Red if a loss is in only one place."""
    assert set(get_args(config.TrainConfig.model_fields["loss"].annotation)) == set(losses.LOSSES)
    assert set(config.SMOOTHABLE) == losses.SMOOTHABLE
    assert losses.PROPORTIONAL.issubset(losses.LOSSES)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_domains_are_games_of_their_own(name):
    """Logits [N, 2] give the sum of both domains' losses (float32, two terms: 1e-6), and the same gradients.

    Red with the mean over all logits: it halves both.
    """
    loss = losses.LOSSES[name]
    first, second = (logits(REAL), logits(FAKE)), (logits(FAKE[::-1].copy()), logits(REAL))
    together = loss(tf.stack([first[0], second[0]], axis=1), tf.stack([first[1], second[1]], axis=1))
    apart = [one + other for one, other in zip(loss(*first), loss(*second), strict=True)]
    for value, expected in zip(together, apart, strict=True):
        assert value.shape == ()
        assert float(value) == pytest.approx(float(expected), rel=1e-6, abs=1e-6)


def slopes(name, x, y, dtype=tf.float32, **smoothing):
    """Gradients times N: (of d_loss by x, of d_loss by y, of g_loss by y)."""
    real, fake = tf.Variable(x, dtype=dtype), tf.Variable(y, dtype=dtype)
    with tf.GradientTape(persistent=True) as tape:
        d_loss, g_loss = losses.LOSSES[name](real, fake, **smoothing)
    found = tape.gradient(d_loss, real), tape.gradient(d_loss, fake), tape.gradient(g_loss, fake)
    return [gradient.numpy() * len(x) for gradient in found]


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_are_finite_with_their_gradients_where_the_discriminator_is_sure(name):
    """Red with log(sigmoid(t)) in place of softplus: it is -inf where the discriminator is sure."""
    corners = np.array([(x, y) for x in (-200.0, 0.0, 200.0) for y in (-200.0, 0.0, 200.0)]).T
    assert all(np.isfinite(value) for value in losses.LOSSES[name](*map(logits, corners)))
    assert all(np.all(np.isfinite(gradients)) for gradients in slopes(name, *corners))


def test_the_generator_of_minimax_saturates_and_the_other_does_not():
    """A fake that D is sure of (-20): the gradient is -2e-9 against -1, to 2e-9; one that D takes for real: the
    other way round. This is what the non-saturating loss is for. Red if the two g_losses change places."""
    _, _, saturated = slopes("minimax", [0.0, 0.0], [-20.0, 20.0])
    _, _, kept = slopes("non_saturating", [0.0, 0.0], [-20.0, 20.0])
    np.testing.assert_allclose(saturated, [0.0, -1.0], atol=1e-8)
    np.testing.assert_allclose(kept, [-1.0, 0.0], atol=1e-8)


RATIOS = {
    "minimax": lambda x, y: -np.ones_like(y),
    "non_saturating": lambda x, y: -np.exp(-y),
    "wasserstein": lambda x, y: -np.ones_like(y),
    "relativistic": lambda x, y: -np.exp(x - y),
}


@pytest.mark.parametrize(
    ("name", "smoothing"),
    [(name, 0.0) for name in sorted(losses.PROPORTIONAL)]
    + [(name, 0.1) for name in sorted(losses.PROPORTIONAL & losses.SMOOTHABLE)],
)
def test_proportional_gradients_have_the_ratio_of_the_table_up_to_logits_of_40(name, smoothing):
    """In float32, in a batch of 64, at every pair of logits in -40, -35 ... 40, against the formula in float64.

    exp of a float32 logit carries an error of |t| eps (80 * 6e-8 = 5e-6), of two sigmoids: 2e-5 relative.
    Red for hinge and least squares, which the next test shows; and with D's gradient of a batch of 10,000, in
    which 1.8e-35 / N underflows.
    """
    arguments = {"label_smoothing": smoothing} if smoothing else {}
    grid = np.arange(-40.0, 41.0, 5.0)
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    for start in range(0, len(x), 64):
        rows = slice(start, start + 64)
        _, of_d, of_g = slopes(name, x[rows], y[rows], **arguments)
        assert np.all(of_d != 0.0)
        np.testing.assert_allclose(of_g / of_d, RATIOS[name](x[rows], y[rows]), rtol=2e-5)


@pytest.mark.parametrize(("name", "y"), [("least_squares", 0.0), ("hinge", -1.5)])
def test_the_other_losses_have_no_ratio(name, y):
    """D is content with this fake, G is not: nothing times 0 is its gradient. Red if they were PROPORTIONAL."""
    assert name not in losses.PROPORTIONAL
    _, of_d, of_g = slopes(name, [0.5], [y])
    assert of_d[0] == 0.0
    assert of_g[0] == -1.0


@pytest.mark.parametrize("name", losses.LOSSES)
def test_values_are_the_same_inside_a_graph(name):
    """The step calls losses in a graph, with smoothing bound by functools.partial. The same arithmetic, 1e-6
    relative. Red if a loss asks for a tensor's value, as float(tensor) does."""
    smoothing = {"label_smoothing": 0.1} if name in losses.SMOOTHABLE else {}
    loss = functools.partial(losses.LOSSES[name], **smoothing)
    eager = loss(logits(REAL), logits(FAKE))
    traced = tf.function(loss)(logits(REAL), logits(FAKE))
    np.testing.assert_allclose([*map(float, traced)], [*map(float, eager)], rtol=1e-6, atol=1e-6)

import numpy as np
import pytest
import tensorflow as tf

from gan_components.training import penalties

RNG = np.random.default_rng(0)
PIXELS = (2, 3, 2)
REAL = RNG.normal(size=(5, *PIXELS)).astype(np.float32)
FAKE = RNG.normal(size=(5, *PIXELS)).astype(np.float32)
EPSILON = np.array([0.0, 0.25, 0.5, 0.9, 1.0], np.float32)
WEIGHTS = RNG.normal(size=PIXELS).astype(np.float32)


def linear(weights):
    """D(x) = w.x: its gradient is w at every image."""
    return lambda images: tf.reduce_sum(images * weights, axis=[1, 2, 3])


def bowl(images):
    """D(x) = |x|^2 / 2: its gradient at x is x, so a penalty shows where it was taken."""
    return 0.5 * tf.reduce_sum(tf.square(images), axis=[1, 2, 3])


def squared_norms(images):
    return np.sum(np.square(images.astype(np.float64)), axis=(1, 2, 3))


def gradient_penalty(discriminator):
    return penalties.wgan_gp(discriminator, tf.constant(REAL), tf.constant(FAKE), tf.constant(EPSILON))


ALL = {
    "r1": lambda discriminator: penalties.r1(discriminator, tf.constant(REAL)),
    "r2": lambda discriminator: penalties.r2(discriminator, tf.constant(FAKE)),
    "wgan_gp": gradient_penalty,
}


@pytest.mark.parametrize("penalty", [penalties.r1, penalties.r2])
def test_r1_and_r2_of_a_linear_discriminator_are_its_squared_norm(penalty):
    """Red if the sum over pixels becomes a mean (/ 12), or the mean over images a sum (x 5).

    float32 with twelve terms: 1e-6 relative.
    """
    value = penalty(linear(WEIGHTS), tf.constant(REAL))
    assert value.numpy() == pytest.approx(np.sum(WEIGHTS.astype(np.float64) ** 2), rel=1e-6)


@pytest.mark.parametrize("penalty", [penalties.r1, penalties.r2])
def test_r1_and_r2_are_taken_at_the_images_given(penalty):
    """The bowl's gradient is the image: ``E|x|^2``, float32 with sixty terms: 1e-6 relative.

    Red if the gradient is taken elsewhere, or if gradients of different images are added before the square.
    """
    assert penalty(bowl, tf.constant(FAKE)).numpy() == pytest.approx(np.mean(squared_norms(FAKE)), rel=1e-6)


def test_gradient_penalty_of_a_linear_discriminator_is_its_distance_from_length_one():
    """``(|w| - 1)^2`` wherever the gradient is taken; float32 with twelve terms and a difference: 2e-6 relative.

    Red if the square root is missing, or if the target 1 is 0.
    """
    expected = (np.linalg.norm(WEIGHTS.astype(np.float64)) - 1) ** 2
    assert gradient_penalty(linear(WEIGHTS)).numpy() == pytest.approx(expected, rel=2e-6)


def test_gradient_penalty_is_taken_between_each_pair_by_its_own_epsilon():
    """Of the bowl: ``E(|eps x + (1 - eps) G(z)| - 1)^2``; float32 with sixty terms: 2e-6 relative.

    Red if epsilon weighs the generated image instead, if one epsilon serves all images, or if the penalty is the
    square of the mean instead of the mean of the squares.
    """
    epsilon = EPSILON.astype(np.float64).reshape(5, 1, 1, 1)
    between = epsilon * REAL + (1 - epsilon) * FAKE
    expected = np.mean((np.sqrt(squared_norms(between)) - 1) ** 2)
    assert gradient_penalty(bowl).numpy() == pytest.approx(expected, rel=2e-6)


def test_gradient_penalty_reaches_the_weights():
    """``d(|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|``, float32: 2e-6. Red behind a tf.stop_gradient."""
    weights = tf.Variable(WEIGHTS)
    with tf.GradientTape() as tape:
        value = gradient_penalty(linear(weights))
    length = np.linalg.norm(WEIGHTS.astype(np.float64))
    np.testing.assert_allclose(tape.gradient(value, weights), 2 * (length - 1) * WEIGHTS / length, rtol=5e-6)


def test_gradient_penalty_of_a_flat_discriminator_is_one_and_differentiable():
    """A dead unit at some images: its gradient there is the zero vector, where the norm has no derivative.

    relu(w.x + b) with b = -1e6 is flat everywhere, so the value is 1 exactly and the weights' gradient 0; one live
    image among them still has its own. Red (NaN) with tf.sqrt or tf.norm alone, and with a tf.where around them.
    """
    weights, live = tf.Variable(WEIGHTS), tf.constant([0.0, 0.0, 1.0, 0.0, 0.0])

    def flat(images):
        return tf.nn.relu(linear(weights)(images) - 1e6)

    with tf.GradientTape(persistent=True) as tape:
        value = gradient_penalty(flat)
        mixed = gradient_penalty(lambda images: live * linear(weights)(images))
    assert value.numpy() == 1.0
    np.testing.assert_array_equal(tape.gradient(value, weights), np.zeros(PIXELS))
    length = np.linalg.norm(WEIGHTS.astype(np.float64))
    assert mixed.numpy() == pytest.approx((4 + (length - 1) ** 2) / 5, rel=2e-6)
    np.testing.assert_allclose(tape.gradient(mixed, weights), 2 * (length - 1) * WEIGHTS / length / 5, rtol=5e-6)


def test_r1_reaches_the_weights():
    """d|w|^2 / dw = 2 w. Red if the inner tape's result is cut off (tf.stop_gradient)."""
    w = tf.Variable([1.0, -2.0, 3.0])
    with tf.GradientTape() as tape:
        value = penalties.r1(lambda x: tf.linalg.matvec(x, w), tf.ones((4, 3)))
    np.testing.assert_allclose(tape.gradient(value, w), [2.0, -4.0, 6.0], rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_two_domains_count_together(name):
    """Logits [N, 2], each of its own channel, are penalised as their sum: here w.x split by channel.

    The same twelve terms in another order: 2e-6 relative. Red if only the first domain's logit is differentiated.
    """
    in_first = WEIGHTS * np.array([1.0, 0.0], np.float32)

    def domains(images):
        return tf.stack([linear(in_first)(images), linear(WEIGHTS - in_first)(images)], axis=1)

    together = ALL[name](domains).numpy()
    assert together == pytest.approx(ALL[name](linear(WEIGHTS)).numpy(), rel=2e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_bfloat16_discriminator_is_penalised_in_float32(name):
    """float32 images, cast inside D as a Keras layer under mixed_bfloat16 does.

    The gradient is the bfloat16 rounding of w (8 bits: 2^-9 relative each, squares 2^-8), so the value is that of
    the rounded w to float32 precision (2e-6). Red if squares or their sum are taken in bfloat16: off by 1e-3.
    """
    rounded = tf.cast(WEIGHTS, tf.bfloat16)

    def discriminator(images):
        return tf.reduce_sum(tf.cast(images, tf.bfloat16) * rounded, axis=[1, 2, 3])

    value = ALL[name](discriminator)
    assert value.dtype == tf.float32
    expected = ALL[name](linear(tf.cast(rounded, tf.float32))).numpy()
    assert value.numpy() == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("name", ALL)
def test_values_are_the_same_inside_a_graph(name):
    """The same arithmetic: 1e-6 relative. Red if a penalty asks for a tensor's value, as float(tensor) does."""
    traced = tf.function(lambda: ALL[name](bowl))
    assert traced().numpy() == pytest.approx(ALL[name](bowl).numpy(), rel=1e-6)


@pytest.mark.parametrize("interval_steps", [1, 2, 4])
def test_lazy_penalty_averages_to_the_penalty(interval_steps):
    """Over whole cycles the mean is exact; between, the value is 0. Red without the factor interval_steps."""

    @tf.function
    def value(step: tf.Tensor) -> tf.Tensor:
        return penalties.lazy(lambda: tf.constant(0.75), step=step, interval_steps=interval_steps)

    values = [value(tf.constant(step, tf.int64)).numpy() for step in range(8)]
    assert np.mean(values) == 0.75
    assert np.count_nonzero(values) == 8 // interval_steps


def test_lazy_penalty_is_differentiated_through_the_condition():
    """Red if the branch is computed outside the tape."""
    w = tf.Variable(3.0)

    @tf.function
    def gradient(step: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = penalties.lazy(lambda: w * w, step=step, interval_steps=4)
        return tape.gradient(value, w)

    assert gradient(tf.constant(8)).numpy() == 4 * 6.0
    assert gradient(tf.constant(9)).numpy() == 0.0

import numpy as np
import pytest
import tensorflow as tf

from gan_components.training import penalties


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
    """Red if the sum over pixels becomes a mean (|w|^2 / 8), or the mean over images a sum (x 5).

    float32 with eight terms: 1e-6 relative.
    """
    rng = np.random.default_rng(0)
    w = rng.normal(size=(2, 2, 2)).astype(np.float32)
    images = tf.constant(rng.normal(size=(5, 2, 2, 2)).astype(np.float32))
    value = penalties.r1(lambda x: tf.reduce_sum(x * w, axis=[1, 2, 3]), images)
    assert value.numpy() == pytest.approx(np.sum(w**2), rel=1e-6)


def test_r1_reaches_the_weights():
    """d|w|^2 / dw = 2 w. Red if the inner tape's result is cut off (tf.stop_gradient)."""
    w = tf.Variable([1.0, -2.0, 3.0])
    with tf.GradientTape() as tape:
        value = penalties.r1(lambda x: tf.linalg.matvec(x, w), tf.ones((4, 3)))
    np.testing.assert_allclose(tape.gradient(value, w), [2.0, -4.0, 6.0], rtol=1e-6)


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

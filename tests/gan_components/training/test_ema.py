import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.training import ema


def _network(value: float) -> keras.Model:
    inputs = keras.Input((2,))
    outputs = keras.layers.BatchNormalization()(keras.layers.Dense(2)(inputs))
    network = keras.Model(inputs, outputs)
    network.set_weights([np.full_like(weight, value) for weight in network.get_weights()])
    return network


def test_average_of_a_constant_approaches_it_by_one_minus_decay_to_the_n():
    """Red if decay and 1 - decay change places. Ten float32 steps: 1e-6 relative."""
    average, network = _network(0.0), _network(1.0)
    for _ in range(10):
        ema.update(average, network, 0.9)
    for weight in average.trainable_variables:
        np.testing.assert_allclose(weight, np.full(weight.shape, 1 - 0.9**10), rtol=1e-6)


def test_normalisation_statistics_are_carried():
    """Red without the second loop of update: statistics of the untrained network would be served."""
    average, network = _network(0.0), _network(1.0)
    ema.update(average, network, 0.9)
    assert len(average.non_trainable_variables) == 2
    for statistic in average.non_trainable_variables:
        np.testing.assert_array_equal(statistic, np.ones(statistic.shape))


def test_half_life_does_not_depend_on_the_batch_size():
    """Red if the exponent is turned over."""
    for batch_size in (16, 64):
        decay = ema.decay_per_step(half_life_images=640.0, batch_size=batch_size)
        assert decay ** (640 / batch_size) == pytest.approx(0.5)


def test_decay_ramps_up_to_its_value():
    """Step 0 keeps a tenth of the untrained weights. Red with tf.maximum."""
    assert ema.ramped(0.995, tf.constant(0, tf.int64)).numpy() == pytest.approx(0.1)
    assert ema.ramped(0.995, tf.constant(10_000, tf.int64)).numpy() == pytest.approx(0.995)

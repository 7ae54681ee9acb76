import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.training.adam import FusedAdam


@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_it_is_keras_adam(beta1):
    """Weights and both moments after five steps, with a rate that changes: 4e-6 of the largest value are six
    roundings of float32 a step.

    Red if beta_1 and beta_2 change places, or without the correction by their powers.
    """
    start = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    results = []
    for kind in (FusedAdam, keras.optimizers.Adam):
        weights = [keras.Variable(part) for part in start]
        optimizer = kind(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), beta1, 0.99)
        for step in range(5):
            optimizer.apply([tf.sin(part.value * (step + 1.0)) for part in weights], weights)
        results.append([np.asarray(variable) for variable in [*weights, *optimizer.variables]])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=4e-6 * max(1.0, np.abs(theirs).max()))

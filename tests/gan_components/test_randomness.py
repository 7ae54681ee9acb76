"""Streams are named, stateless and global. Each test names the one-line change that turns it red."""

import numpy as np
import tensorflow as tf

from gan_components import randomness


def draw(seed=0, name="latents", step=3):
    key = randomness.at_step(randomness.stream(seed, name), tf.constant(step, tf.int64))
    return randomness.normal(key, (4, 5)).numpy()


def test_seed_name_and_step_each_make_another_stream():
    """Red if one of the three is left out of the key."""
    draws = [draw(), draw(seed=1), draw(name="labels"), draw(step=4)]
    for i, one in enumerate(draws):
        for other in draws[i + 1 :]:
            assert np.abs(one - other).min() > 0


def test_a_stream_repeats_exactly():
    """Red if a stateful generator is used. Golden: the numbers of a released preset must not drift."""
    np.testing.assert_array_equal(draw(), draw())
    assert randomness.stream(0, "latents").tolist() == randomness.stream(0, "latents").tolist()
    assert 0 <= randomness.integer(0, "x") < 2**31
    assert randomness.numpy_generator(0, "a").integers(1 << 30) == randomness.numpy_generator(0, "a").integers(
        1 << 30
    )


def test_draws_are_standard_normal():
    """Red if `uniform` and `normal` are swapped. 40,000 draws: the mean's deviation is 0.005, six of them 0.03."""
    key = tf.constant(randomness.stream(0, "big"))
    sample = randomness.normal(key, (200, 200)).numpy()
    assert abs(sample.mean()) < 0.03
    assert abs(sample.std() - 1) < 0.03

"""ADA's controller: directions, speed, and what it averages."""

import pytest
import tensorflow as tf

from gan_components.training import ada_controller
from gan_components.training.augment_config import Ada


def test_controller_directions():
    """Up above the target, down below it, still at it; by batch_size * interval_steps / speed_images.

    Red with the sign reversed, without the limits, or with a move in proportion to the distance. The numbers are
    sums of two float32 near 0.3: 1e-7.
    """

    def moved(p, sign_mean, **settings):
        return float(ada_controller.next_p(tf.constant(p), tf.constant(sign_mean), batch_size=64, **settings))

    move = 64 * 4 / 500_000
    assert moved(0.3, 0.61) == pytest.approx(0.3 + move, abs=1e-7)
    assert moved(0.3, 1.0) == pytest.approx(0.3 + move, abs=1e-7)
    assert moved(0.3, 0.59) == pytest.approx(0.3 - move, abs=1e-7)
    assert moved(0.3, 0.6) == pytest.approx(0.3, abs=1e-7)
    assert moved(0.3, 0.5, target=0.4, interval_steps=8, speed_images=1024) == pytest.approx(0.8, abs=1e-7)
    assert moved(0.0, -1.0) == 0.0
    assert moved(0.8, 1.0) == pytest.approx(0.8)
    assert moved(0.8, 1.0, max_p=1.0) == pytest.approx(0.8 + move, abs=1e-7)


def test_p_reaches_one_after_the_speed():
    """500,000 images of certainty: p = 1. Red if the interval is counted twice, or p moves between intervals.

    125 moves of 0.008 in float32: 1e-5.
    """
    config = Ada(max_p=1.0, interval_steps=5)
    p, sums = tf.constant(0.0), tf.constant(0.0)
    course = []
    for step in range(625):
        p, sums = ada_controller.controlled(
            config, p=p, sign_sum=sums + 0.9, step=tf.constant(step), batch_size=800
        )
        course.append(float(p))
    assert course[:4] == [0.0] * 4
    assert course[4] == pytest.approx(0.008)
    assert course[-1] == pytest.approx(1.0, abs=1e-5)
    assert course[-6] < 0.995


def test_controller_averages_over_the_interval():
    """One sure step of four is no reason. Red if only the last step's signs count, or sums are kept."""
    p, sums = tf.constant(0.5), tf.constant(0.0)
    for step, sign in enumerate([0.2, 0.2, 0.2, 1.0, 0.7, 0.7, 0.7, 0.7]):
        p, sums = ada_controller.controlled(
            Ada(), p=p, sign_sum=sums + sign, step=tf.constant(step), batch_size=1_250
        )
        if step == 3:
            assert float(p) == pytest.approx(0.49)
    assert float(p) == pytest.approx(0.5)
    assert float(sums) == 0.0

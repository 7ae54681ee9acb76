import numpy as np
import pytest
import tensorflow as tf

from gan_components.training import losses

# The logits on which the tests of tensorflow/gan (losses_impl_test.py) publish their expected losses.
REAL = tf.constant([-5.0, 1.4, 12.5, 2.7])
FAKE = tf.constant([10.0, 4.4, -5.5, 3.6])


def test_non_saturating_gives_the_published_values():
    """Red if real and fake change places, or a sign, or the mean becomes a sum.

    1.38582 is TF-GAN's expected generator loss; 5.83387 its discriminator loss (6.19637 published) without
    the label smoothing of 0.25 that it hides in a default. Both are given to six digits, hence 1e-5.
    """
    d_loss, g_loss = losses.non_saturating(REAL, FAKE)
    assert d_loss.numpy() == pytest.approx(5.83387, abs=1e-5)
    assert g_loss.numpy() == pytest.approx(1.38582, abs=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_are_scalars_with_gradients_at_extreme_logits(name):
    """Red with log(sigmoid(x)) in place of softplus: it is -inf where the discriminator is sure."""
    real, fake = tf.Variable([-200.0, 200.0]), tf.Variable([200.0, -200.0])
    with tf.GradientTape(persistent=True) as tape:
        values = losses.LOSSES[name](real, fake)
    for value in values:
        assert value.shape == ()
        assert np.isfinite(value)
    assert np.all(np.isfinite(tape.gradient(values[1], fake)))
    # The non-saturating point: where D is sure of a fake (-200), G still has its full gradient -1/N.
    assert tape.gradient(values[1], fake).numpy()[1] == pytest.approx(-0.5)

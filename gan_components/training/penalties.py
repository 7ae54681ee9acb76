"""Gradient penalties on the discriminator: pure functions of images and of ``discriminator: images -> logits``.

Labels and augmentation are bound into `discriminator`. Its logits are ``[N]`` or ``[N, domains]``; each depends on
its own image alone, so that the gradient of their sum holds every image's own gradient; of two domains it is
that of both logits together. A norm is the sum over an image's pixels and channels, not their mean, and ``E`` the
mean over images. Images are float32, results too, whatever the discriminator computes in.
"""

from collections.abc import Callable

import tensorflow as tf

Discriminator = Callable[[tf.Tensor], tf.Tensor]


def r1(discriminator: Discriminator, images: tf.Tensor) -> tf.Tensor:
    """Squared gradient of the logits at real images: ``E[|dD(x)/dx|^2]``.

    Mescheder, Geiger, Nowozin 2018, https://arxiv.org/abs/1801.04406; the discriminator's objective takes
    it times ``gamma / 2``.

    Args:
        discriminator: maps `images` to logits.
        images: real ones, float32 ``[N, ...]``.

    Returns:
        float32 scalar.

    Example:
        >>> float(r1(lambda x: 2.0 * x[:, 0] + x[:, 1], tf.zeros((8, 2))))
        5.0
    """
    return tf.reduce_mean(_squared_gradients(discriminator, images))


def r2(discriminator: Discriminator, images: tf.Tensor) -> tf.Tensor:
    """Squared gradient of the logits at generated images: ``E[|dD(G(z))/dG(z)|^2]``.

    Of the paper of :func:`r1`, times ``gamma / 2`` as well. R3GAN needs both: Huang et al. 2024,
    https://arxiv.org/abs/2501.05441.

    Args:
        discriminator: maps `images` to logits.
        images: generated ones, float32 ``[N, ...]``, behind ``tf.stop_gradient``: it is the discriminator that
            pays.

    Returns:
        float32 scalar.
    """
    return r1(discriminator, images)


def wgan_gp(discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """How far the gradient between real and generated images is from length 1: ``E[(|dD(x^)/dx^| - 1)^2]``.

    ``x^ = epsilon x + (1 - epsilon) G(z)``. Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, equation 3;
    the discriminator's objective takes it times ``lambda`` (10 in the paper).

    Args:
        discriminator: maps images to logits.
        real: float32 ``[N, ...]``.
        fake: the same, behind ``tf.stop_gradient``.
        epsilon: one number in [0, 1) an image, float32 ``[N]``.

    Returns:
        float32 scalar.
    """
    epsilon = tf.reshape(epsilon, [-1] + [1] * (real.shape.rank - 1))
    squared = _squared_gradients(discriminator, epsilon * real + (1.0 - epsilon) * fake)
    # The root's derivative at 0 is infinite, and infinity times the 0 behind it NaN. A tf.where around the result
    # does not help, since the branch that is not taken is differentiated too; so the root never sees a 0.
    flat = squared == 0.0
    norm = tf.where(flat, 0.0, tf.sqrt(tf.where(flat, 1.0, squared)))
    return tf.reduce_mean(tf.square(norm - 1.0))


def lazy(penalty: Callable[[], tf.Tensor], *, step: tf.Tensor, interval_steps: int) -> tf.Tensor:
    """``interval_steps * penalty()`` on every interval-th step and 0 between: on average ``penalty()``.

    Karras et al. 2019, https://arxiv.org/abs/1912.04958, appendix B ("lazy regularization").

    Only the value is conditional. ``tf.cond`` around an optimizer's step fails under ``MirroredStrategy``,
    and multiplying by a 0/1 mask would compute the penalty every time.
    """
    if interval_steps == 1:
        return penalty()
    return tf.cond(step % interval_steps == 0, lambda: interval_steps * penalty(), lambda: tf.constant(0.0))


def _squared_gradients(discriminator: Discriminator, images: tf.Tensor) -> tf.Tensor:
    """``|dD/dx|^2`` of each image, float32 ``[N]``."""
    # A copy within the branch of `lazy`: TensorFlow cannot differentiate a custom gradient (our convolutions')
    # twice there that holds on to a tensor of the graph outside.
    images = tf.identity(images)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = discriminator(images)
    gradients = tf.cast(tape.gradient(logits, images), tf.float32)
    return tf.reduce_sum(tf.square(gradients), axis=list(range(1, images.shape.rank)))

"""Gradient penalties on the discriminator."""

from collections.abc import Callable

import tensorflow as tf


def r1(discriminator: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Squared gradient of the logits at real images: ``E[|dD(x)/dx|^2]``.

    Mescheder, Geiger, Nowozin 2018, https://arxiv.org/abs/1801.04406; the discriminator's objective takes it
    times ``gamma / 2``. The norm is the sum over an image's pixels and channels, not their mean, and the
    expectation the mean over images.

    Args:
        discriminator: maps `images` to logits ``[N]``, each of which depends on its own image alone.
        images: float32 ``[N, ...]``.

    Returns:
        float32 scalar.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = discriminator(images)
    gradients = tape.gradient(logits, images)
    return tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=list(range(1, images.shape.rank))))


def lazy(penalty: Callable[[], tf.Tensor], *, step: tf.Tensor, interval_steps: int) -> tf.Tensor:
    """``interval_steps * penalty()`` on every interval-th step and 0 between: on average ``penalty()``.

    Karras et al. 2019, https://arxiv.org/abs/1912.04958, appendix B ("lazy regularization").

    Only the value is conditional. ``tf.cond`` around an optimizer's step fails under ``MirroredStrategy``,
    and multiplying by a 0/1 mask would compute the penalty every time.
    """
    if interval_steps == 1:
        return penalty()
    return tf.cond(step % interval_steps == 0, lambda: interval_steps * penalty(), lambda: tf.constant(0.0))

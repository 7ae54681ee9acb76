"""The averaged generator: an exponential moving average of the weights, which is what gets served."""

import keras
import tensorflow as tf


def decay_per_step(*, half_life_images: float, batch_size: int) -> float:
    """The factor by which one step shrinks the past, such that it halves within `half_life_images`."""
    return 0.5 ** (batch_size / half_life_images)


def ramped(decay: float, step: tf.Tensor) -> tf.Tensor:
    """``min(decay, (1 + n) / (10 + n))`` at step n: early on the average looks back less far.

    Without it the untrained weights would weigh ``decay^n``: 37 % after 200 steps at 0.995.
    """
    n = tf.cast(step, tf.float32)
    return tf.minimum(decay, (1.0 + n) / (10.0 + n))


def update(average: keras.Model, network: keras.Model, decay: "tf.Tensor | float") -> None:
    """Moves `average` towards `network`: ``w_ema <- decay * w_ema + (1 - decay) * w``.

    Normalisation statistics are averages already and are copied: an averaged generator with the statistics
    of its first step would paint grey.
    """
    for mean, weight in zip(average.trainable_variables, network.trainable_variables, strict=True):
        mean.assign(mean + (1.0 - decay) * (weight - mean))
    for mean, weight in zip(average.non_trainable_variables, network.non_trainable_variables, strict=True):
        mean.assign(weight)

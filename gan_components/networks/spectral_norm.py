"""Spectral normalisation, re-parameterised: the kernel is trained, ``kernel / sigma(kernel)`` is used.

Miyato et al. 2018, https://arxiv.org/abs/1802.05957. sigma, the largest singular value, is ``u' W v`` with unit
vectors u and v that a power iteration follows while the kernel moves; the gradient goes through sigma, not through
u and v. ``keras.layers.SpectralNormalization`` overwrites the kernel at every call in training instead, so that
the discriminator would change two or three times a step.

Example:
    >>> layer = constrained(keras.layers.Conv2D(64, 4, 2, padding="same"))
    >>> x = layer(images)        # computes with kernel / sigma
    >>> update(model)            # once a step: one power iteration of every such layer
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from gan_components import randomness


class SpectralNorm(layers.Layer):
    """A Dense or Conv2D layer whose kernel is divided by its largest singular value.

    The kernel counts as a matrix of all inputs of an output by the outputs.
    """

    def __init__(self, layer: layers.Dense | layers.Conv2D, **kwargs) -> None:
        super().__init__(name=f"{layer.name}_sn", **kwargs)
        self.layer = layer

    def build(self, input_shape) -> None:
        self.layer.build(input_shape)
        outputs = self.layer.kernel.shape[-1]
        start = randomness.numpy_generator(0, f"{self.layer.name}/u").standard_normal((1, outputs))
        self.u = self.add_weight(
            name="u",
            shape=(1, outputs),
            dtype="float32",
            initializer=lambda shape, dtype: tf.constant(start / np.linalg.norm(start), dtype),
            trainable=False,
            aggregation="only_first_replica",
        )
        self.built = True

    def call(self, x):
        kernel = tf.convert_to_tensor(self.layer.kernel.value)
        normalised = tf.cast(kernel / self.sigma(kernel), self.compute_dtype)
        if isinstance(self.layer, layers.Conv2D):
            y = tf.nn.conv2d(x, normalised, self.layer.strides, self.layer.padding.upper())
        else:
            y = tf.matmul(x, normalised)
        return self.layer.activation(y + tf.cast(self.layer.bias.value, y.dtype) if self.layer.use_bias else y)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def sigma(self, kernel: tf.Tensor) -> tf.Tensor:
        """``u' W v`` with v the image of the stored u: differentiable in the kernel."""
        matrix = tf.reshape(kernel, (-1, kernel.shape[-1]))
        u = tf.convert_to_tensor(self.u.value)
        v = tf.stop_gradient(tf.math.l2_normalize(tf.matmul(u, matrix, transpose_b=True)))
        return tf.reduce_sum(tf.matmul(v, matrix) * u)

    def iterate(self) -> None:
        """One step of the power iteration."""
        matrix = tf.reshape(self.layer.kernel.value, (-1, self.u.shape[-1]))
        v = tf.math.l2_normalize(tf.matmul(self.u.value, matrix, transpose_b=True))
        self.u.assign(tf.math.l2_normalize(tf.matmul(v, matrix)))


def constrained(layer: layers.Dense | layers.Conv2D) -> SpectralNorm:
    """`layer` with a kernel of spectral norm 1."""
    return SpectralNorm(layer)


def update(model: keras.Model) -> None:
    """One power iteration of every normalised layer of `model`; the kernels stay as they are."""
    for layer in model._flatten_layers():
        if isinstance(layer, SpectralNorm):
            layer.iterate()

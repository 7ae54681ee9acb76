"""Spectral normalisation against the singular value decomposition."""

import keras
import numpy as np
import tensorflow as tf

from gan_components.networks import dcgan, spectral_norm
from gan_components.networks.config import Dcgan


def _discriminator() -> keras.Model:
    config = Dcgan(base_channels=4, spectral_norm=True)
    return dcgan.discriminator(config, image_shape=(16, 16, 1), num_classes=3, seed=0)


def _layers(model: keras.Model) -> list[spectral_norm.SpectralNorm]:
    return [layer for layer in model.layers if isinstance(layer, spectral_norm.SpectralNorm)]


def _inputs() -> dict[str, tf.Tensor]:
    pixels = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 1)).astype(np.float32)
    return {"images": tf.constant(pixels), "labels": tf.constant([0, 1, 2, 0], tf.int64)}


def test_sigma_becomes_the_largest_singular_value():
    """After 200 iterations to 1e-4: the closest second one, 0.975 of the first, leaves 0.975^400 = 4e-5. Every
    kernel, the embedding of labels among them.

    Red without the iteration, or if the kernel is flattened with its outputs first.
    """
    model = _discriminator()
    assert len(_layers(model)) == 5
    for _ in range(200):
        spectral_norm.update(model)
    for layer in _layers(model):
        matrix = layer.layer.kernel.numpy().reshape(-1, layer.layer.kernel.shape[-1])
        sigma = float(layer.sigma(tf.convert_to_tensor(layer.layer.kernel.value)))
        assert abs(sigma / np.linalg.svd(matrix, compute_uv=False)[0] - 1) < 1e-4, layer.name


def test_calls_leave_kernels_and_vectors_alone():
    """Keras' own layer writes the normalised kernel back. Red if a call in training moves anything."""
    model = _discriminator()
    before = [variable.numpy() for variable in model.variables]
    model(_inputs(), training=True)
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_the_gradient_goes_through_sigma():
    """Scaling a kernel does not change the layer, so its gradient has no part along the kernel: float32, 1e-4 of
    the norms.

    Red if sigma stands behind stop_gradient.
    """
    layer = spectral_norm.constrained(keras.layers.Dense(3, use_bias=False, name="dense"))
    x = tf.constant(np.random.default_rng(1).normal(size=(5, 4)), tf.float32)
    layer(x)
    # Invariance is exact only where u and v belong to the kernel as it is.
    for _ in range(100):
        layer.iterate()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(x)))
    kernel = layer.layer.kernel
    gradient = tape.gradient(loss, kernel.value)
    scale = float(tf.norm(gradient) * tf.norm(kernel.value))
    assert scale > 0
    assert abs(float(tf.reduce_sum(gradient * kernel.value))) < 1e-4 * scale


def test_it_differentiates_twice():
    """What R1 needs. Red if an operation without second derivative enters."""
    model, inputs = _discriminator(), _inputs()
    with tf.GradientTape() as outer:
        with tf.GradientTape() as tape:
            tape.watch(inputs["images"])
            logits = model(inputs, training=True)
        penalty = tf.reduce_sum(tf.square(tape.gradient(logits, inputs["images"])))
    gradient = outer.gradient(penalty, _layers(model)[0].layer.kernel.value)
    assert float(tf.norm(gradient)) > 0

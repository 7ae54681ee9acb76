import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.errors import InputError
from gan_components.networks import dcgan
from gan_components.networks.config import Dcgan

CONFIG = Dcgan(base_channels=2)


def _pair(side: int, channels: int, num_classes: int, seed: int = 0) -> tuple[keras.Model, keras.Model]:
    options = {"image_shape": (side, side, channels), "num_classes": num_classes, "seed": seed}
    return dcgan.generator(CONFIG, latent_dim=6, **options), dcgan.discriminator(CONFIG, **options)


def _inputs(name: str, rows: tf.Tensor, num_classes: int) -> dict[str, tf.Tensor]:
    labels = {"labels": tf.range(rows.shape[0], dtype=tf.int64) % num_classes} if num_classes else {}
    return {name: rows} | labels


@pytest.mark.parametrize(
    "side, channels, num_classes", [(12, 1, 0), (28, 1, 10), (32, 3, 0), (36, 3, 4), (64, 3, 3)]
)
def test_shapes_ranges_and_gradients(side, channels, num_classes):
    """Every weight of both players gets a gradient that is not all zero.

    Red if the labels are left out of the projection, or a layer is built and not used.
    """
    generator, discriminator = _pair(side, channels, num_classes)
    latents = tf.random.stateless_normal((5, 6), [1, 2])
    with tf.GradientTape(persistent=True) as tape:
        fake = generator(_inputs("latents", latents, num_classes), training=True)
        logits = discriminator(_inputs("images", fake, num_classes), training=True)
        # Squared: with the plain sum, the generator's gradient could vanish by symmetry.
        loss = tf.reduce_sum(logits**2)
    assert fake.shape == (5, side, side, channels)
    assert fake.dtype == logits.dtype == tf.float32
    assert logits.shape == (5,)
    assert -1.0 <= tf.reduce_min(fake) < tf.reduce_max(fake) <= 1.0
    for network in (generator, discriminator):
        for weight in network.trainable_variables:
            assert np.any(tape.gradient(loss, weight).numpy() != 0.0), weight.path


def test_labels_decide_with_the_image():
    """The same latents give other images, the same images other logits, and not by a constant per class.

    Red if the projection is taken of the labels alone or of the features alone.
    """
    generator, discriminator = _pair(16, 1, 3)
    latents, (zeros, ones) = (
        tf.random.stateless_normal((4, 6), [1, 2]),
        tf.unstack(tf.constant([[0] * 4, [1] * 4], tf.int64)),
    )
    images = generator({"latents": latents, "labels": zeros})
    assert np.all(np.any(images != generator({"latents": latents, "labels": ones}), axis=(1, 2, 3)))
    # Contrast: at its start the generator paints nearly the same grey for all latents.
    images = 10.0 * images
    gain = discriminator({"images": images, "labels": ones}) - discriminator({"images": images, "labels": zeros})
    assert len(set(gain.numpy())) == 4 and np.all(gain != 0.0)


def test_resolutions_follow_the_paper():
    """28 halves to 7, 64 to 4 with channels 8, 4, 2, 1 times the base. Red if a level is left out."""
    assert [dcgan._pyramid((side, side, 1)) for side in (28, 32, 64)] == [(7, 2), (4, 3), (4, 4)]
    shapes = [layer.output.shape for layer in _pair(64, 3, 0)[0].layers if "norm" in layer.name]
    assert shapes == [(None, 4, 4, 16), (None, 8, 8, 8), (None, 16, 16, 4), (None, 32, 32, 2)]


def test_construction_is_a_pure_function_of_the_seed():
    """Red if an initializer lacks its seed, or two layers share one."""
    first, again, other = (_pair(16, 1, 3, seed)[0].get_weights() for seed in (7, 7, 8))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [weight for weight in first if weight.ndim > 1]
    assert all(np.any(a != b) for a, b in zip(kernels, [w for w in other if w.ndim > 1], strict=True))
    # One seed for all layers would start them with the same numbers up to their scale.
    unit = [(kernel / np.abs(kernel).max()).ravel()[:50] for kernel in kernels]
    assert all(abs(np.corrcoef(unit[0], other)[0, 1]) < 0.9 for other in unit[1:] if len(other) == 50)


def test_no_layer_keeps_random_state():
    """A SeedGenerator gives every replica the same rows. Red with a Dropout layer."""
    for network in _pair(16, 1, 3):
        for layer in network.layers:
            assert not any("seed" in variable.path for variable in layer.variables)


def test_discriminator_judges_each_image_alone():
    """R1 needs it. Red with BatchNormalization in the discriminator."""
    _, discriminator = _pair(16, 1, 0)
    images = tf.random.stateless_normal((4, 16, 16, 1), [1, 2])
    together = discriminator({"images": images}, training=True).numpy()
    alone = np.concatenate([discriminator({"images": image[None]}, training=True) for image in images])
    # The convolution of one image sums in another order than that of four.
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(28, 32, 1), (30, 30, 1)])
def test_other_shapes_are_refused(shape):
    """Red without the check in _pyramid: 30 would quietly become 28."""
    with pytest.raises(InputError, match="multiple of 4"):
        dcgan.generator(CONFIG, image_shape=shape, latent_dim=4, num_classes=0, seed=0)

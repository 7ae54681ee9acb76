import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.errors import InputError
from gan_components.networks import dcgan, spectral_norm
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


@pytest.mark.parametrize("num_classes", [0, 3])
def test_spectral_norm_takes_every_kernel_of_the_discriminator(num_classes):
    """And none of the generator; the logits stay finite and move with one update.

    Red if a layer with a kernel is not wrapped.
    """
    config = Dcgan(base_channels=2, spectral_norm=True)
    options = {"image_shape": (16, 16, 1), "num_classes": num_classes, "seed": 0}
    discriminator = dcgan.discriminator(config, **options)
    plain = dcgan.discriminator(CONFIG, **options)
    normalised = [layer for layer in discriminator.layers if isinstance(layer, spectral_norm.SpectralNorm)]
    assert len(normalised) == sum(hasattr(layer, "kernel") for layer in plain.layers) >= 3
    assert [v.shape for v in discriminator.trainable_variables] == [v.shape for v in plain.trainable_variables]
    images = _inputs("images", tf.random.stateless_normal((4, 16, 16, 1), [1, 2]), num_classes)
    before = discriminator(images)
    spectral_norm.update(discriminator)
    assert np.all(np.isfinite(before)) and np.any(discriminator(images) != before)
    generator = dcgan.generator(config, latent_dim=6, **options)
    assert not any(isinstance(layer, spectral_norm.SpectralNorm) for layer in generator.layers)


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize(
    "side, num_classes, size", [(28, 0, 16 * 6), (28, 3, 16 * 6), (64, 0, 16 * 30), (12, 0, 68)]
)
def test_features_are_the_papers(side, num_classes, size, spectral):
    """16 cells of each of the 2 + 4 (+ 8 + 16) channels; of 12 pixels, 3x3 are left after two halvings: 32 + 36.

    Red if a level is left out, or a map is not pooled.
    """
    config = Dcgan(base_channels=2, spectral_norm=spectral)
    discriminator = dcgan.discriminator(config, image_shape=(side, side, 1), num_classes=num_classes, seed=0)
    images = tf.random.stateless_normal((3, side, side, 1), [1, 2])
    features = dcgan.features(discriminator)({"images": images})
    assert features.shape == (3, size) and features.dtype == tf.float32


def test_features_are_the_largest_activations_of_each_cell():
    """Of 14 pixels the cells are 0-3, 3-6, 7-10, 10-13, of 7 pixels 0-1, 1-3, 3-5, 5-6, as an independent loop
    over the maps of the convolutions finds them.

    Red if a bound is rounded down where it should be rounded up.
    """
    _, discriminator = _pair(28, 1, 0)
    images = tf.random.stateless_normal((3, 28, 28, 1), [1, 2])
    expected = []
    x = images
    for layer in [layer for layer in discriminator.layers if "conv" in layer.name]:
        x = tf.nn.leaky_relu(layer(x), 0.2)
        cells = {14: [(0, 4), (3, 7), (7, 11), (10, 14)], 7: [(0, 2), (1, 4), (3, 6), (5, 7)]}[x.shape[1]]
        expected += [x[:, a:b, c:d].numpy().max(axis=(1, 2)) for a, b in cells for c, d in cells]
    np.testing.assert_allclose(dcgan.features(discriminator)({"images": images}), np.hstack(expected), rtol=1e-5)


def test_features_follow_the_discriminator():
    """They hold its weights, not copies. Red if the model is built from a clone."""
    _, discriminator = _pair(28, 1, 0)
    features = dcgan.features(discriminator)
    images = tf.random.stateless_normal((3, 28, 28, 1), [1, 2])
    before = features({"images": images})
    kernels = [layer.kernel for layer in discriminator.layers if "conv" in layer.name]
    assert all(any(kernel is variable for variable in features.variables) for kernel in kernels)
    kernels[0].assign(2.0 * kernels[0])
    np.testing.assert_allclose(features({"images": images})[:, :32], 2.0 * before[:, :32], rtol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_outputs_and_weights_are_float32_under_any_policy(policy):
    """Red without the dtype of the last layers: the images would come out in bfloat16."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        generator, discriminator = _pair(28, 1, 3)
    finally:
        keras.config.set_dtype_policy(previous)
    latents = tf.random.stateless_normal((4, 6), [1, 2])
    with tf.GradientTape() as tape:
        fake = generator(_inputs("latents", latents, 3), training=True)
        logits = discriminator(_inputs("images", fake, 3), training=True)
    weights = generator.trainable_variables + discriminator.trainable_variables
    gradients = tape.gradient(logits, weights)
    assert {tensor.dtype for tensor in (fake, logits, *gradients)} == {tf.float32}
    assert {weight.dtype for weight in weights} == {"float32"}
    assert generator.get_layer("generator_dense").compute_dtype == policy.removeprefix("mixed_")


def test_a_savedmodel_loads_without_complaint(tmp_path, caplog):
    """What is served takes no gradients. Red if the generator computes with gradients of its own out of training:
    TensorFlow would warn of each at every load.
    """
    generator, _ = _pair(28, 1, 0)
    generator.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    assert not [record for record in caplog.records if "custom gradients" in record.getMessage()]
    latents = {"latents": tf.random.stateless_normal((2, 6), [1, 2])}
    np.testing.assert_allclose(loaded.serve(latents), generator(latents), rtol=0, atol=1e-5)

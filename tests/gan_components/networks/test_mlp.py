import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.networks import mlp
from gan_components.networks.config import Mlp

CONFIG = Mlp(g_units=24, d_units=6, maxout_pieces=3)


def _pair(shape: tuple[int, int, int], num_classes: int, seed: int = 0) -> tuple[keras.Model, keras.Model]:
    options = {"image_shape": shape, "num_classes": num_classes, "seed": seed}
    return mlp.generator(CONFIG, latent_dim=6, **options), mlp.discriminator(CONFIG, **options)


def _with_labels(inputs: dict[str, tf.Tensor], num_classes: int) -> dict[str, tf.Tensor]:
    (rows,) = inputs.values()
    labels = tf.range(rows.shape[0], dtype=tf.int64) % max(num_classes, 1)
    return {**inputs, "labels": labels} if num_classes else inputs


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("shape, num_classes", [((28, 28, 1), 10), ((28, 28, 3), 0), ((32, 32, 1), 0)])
def test_shapes_ranges_and_gradients(policy, shape, num_classes):
    """Float32 images and logits under both precisions, and a gradient for every weight of both players.

    Red without dtype="float32" at an output, or if the discriminator leaves the labels out.
    """
    generator, discriminator = _pair(shape, num_classes)
    latents = tf.random.stateless_normal((5, 6), [1, 2])
    with tf.GradientTape() as tape:
        fake = generator(_with_labels({"latents": latents}, num_classes), training=True)
        logits = discriminator(_with_labels({"images": fake}, num_classes), training=True)
        loss = tf.reduce_sum(logits**2)
    assert fake.shape == (5, *shape) and logits.shape == (5,)
    assert fake.dtype == logits.dtype == tf.float32
    assert -1.0 <= tf.reduce_min(fake) < tf.reduce_max(fake) <= 1.0
    assert generator.compute_dtype == ("float32" if policy == "float32" else "bfloat16")
    weights = generator.trainable_variables + discriminator.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        assert weight.dtype == "float32"
        assert np.any(gradient.numpy() != 0.0), weight.path


def test_both_players_compute_what_the_paper_says():
    """The networks as matrix products in NumPy: rectifiers and tanh, maxima of three linear maps and a logit.

    The sums have at most 800 terms of size 1: float32 leaves an error of about 1e-6.
    Red if the maximum is taken over the units and not over the pieces.
    """
    generator, discriminator = _pair((28, 28, 1), 4)
    for network in (generator, discriminator):
        rng = np.random.default_rng(0)
        network.set_weights([rng.normal(0.0, 0.1, w.shape) for w in network.get_weights()])
    latents, labels = (
        np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32),
        tf.constant([0, 3, 1], tf.int64),
    )
    one_hot = np.eye(4)[labels]

    kernel0, bias0, kernel1, bias1, kernel2, bias2 = generator.get_weights()
    h = np.maximum(np.concatenate([latents, one_hot], 1) @ kernel0 + bias0, 0.0)
    expected = np.tanh(np.maximum(h @ kernel1 + bias1, 0.0) @ kernel2 + bias2).reshape(3, 28, 28, 1)
    images = generator({"latents": tf.constant(latents), "labels": labels})
    np.testing.assert_allclose(images, expected, atol=1e-5)

    kernel0, bias0, kernel1, bias1, kernel2, bias2 = discriminator.get_weights()
    x = np.concatenate([expected.reshape(3, -1), one_hot], 1)
    h = (x @ kernel0 + bias0).reshape(3, CONFIG.d_units, CONFIG.maxout_pieces).max(-1)
    h = (h @ kernel1 + bias1).reshape(3, CONFIG.d_units, CONFIG.maxout_pieces).max(-1)
    logits = discriminator({"images": images, "labels": labels})
    np.testing.assert_allclose(logits, (h @ kernel2 + bias2)[:, 0], atol=1e-5)


def test_construction_is_a_pure_function_of_the_seed():
    """Red if an initializer lacks its seed, or two layers share one."""
    for player in (0, 1):
        first, again, other = (_pair((8, 8, 1), 3, seed)[player].get_weights() for seed in (7, 7, 8))
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
        kernels = [weight for weight in first if weight.ndim > 1]
        assert all(np.any(a != b) for a, b in zip(kernels, [w for w in other if w.ndim > 1], strict=True))
        # One seed for all layers would start them with the same numbers up to their scale.
        rows = [kernel.ravel()[:18] for kernel in kernels]
        assert all(abs(np.corrcoef(rows[0], row)[0, 1]) < 0.9 for row in rows[1:] if len(row) == 18)


def test_discriminator_judges_each_image_alone():
    """R1 needs it. A product of four rows may sum in another order than of one: 1e-5.

    Red with BatchNormalization in the discriminator.
    """
    _, discriminator = _pair((8, 8, 1), 0)
    images = tf.random.stateless_normal((4, 8, 8, 1), [1, 2])
    together = discriminator({"images": images}, training=True)
    alone = np.concatenate([discriminator({"images": image[None]}, training=True) for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_gradient_of_a_gradient_penalty():
    """Without biases the logit is linear in each kernel W, so that P = sum |dD/dx|^2 has <dP/dW, W> = 2 P.

    Float32 sums of some thousand terms: 1e-4. Red if a layer's gradient is stopped, as by rounding in it.
    """
    _, discriminator = _pair((8, 8, 1), 0)

    @tf.function
    def penalty_and_gradients(images: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        kernels = [weight for weight in discriminator.trainable_variables if weight.ndim > 1]
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(images)
                logits = discriminator({"images": images}, training=True)
            penalty = tf.reduce_sum(inner.gradient(logits, images) ** 2)
        return penalty, [
            tf.reduce_sum(gradient * kernel)
            for gradient, kernel in zip(outer.gradient(penalty, kernels), kernels, strict=True)
        ]

    penalty, products = penalty_and_gradients(tf.random.stateless_normal((4, 8, 8, 1), [1, 2]))
    assert penalty > 0.0 and len(products) == 3
    np.testing.assert_allclose(products, [2.0 * penalty] * 3, rtol=1e-4)


def test_saved_model_gives_the_same_images(tmp_path):
    """The same float32 sums in another graph: 1e-6. Red if a layer keeps state that its SavedModel lacks."""
    generator, _ = _pair((28, 28, 1), 3)
    archive = keras.export.ExportArchive()
    archive.track(generator)
    signature = {"latents": tf.TensorSpec((None, 6)), "labels": tf.TensorSpec((None,), tf.int64)}
    archive.add_endpoint("serve", lambda inputs: generator(inputs, training=False), [signature])
    archive.write_out(str(tmp_path / "model"), verbose=False)
    inputs = _with_labels({"latents": tf.random.stateless_normal((5, 6), [1, 2])}, 3)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(loaded.serve(inputs), generator(inputs), atol=1e-6)

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.errors import ConfigError, InputError
from gan_components.networks import cogan
from gan_components.networks.config import Cogan

CONFIG = Cogan(base_channels=4)


def _pair(side: int, channels: int, seed: int = 0) -> tuple[keras.Model, keras.Model]:
    options = {"image_shape": (side, side, channels), "num_classes": 0, "seed": seed}
    return cogan.generator(CONFIG, latent_dim=6, **options), cogan.discriminator(CONFIG, **options)


def _reached(tape: tf.GradientTape, target: tf.Tensor, network: keras.Model) -> set[str]:
    """Layers with a weight whose gradient is not zero."""
    owners = [(layer.name, weight) for layer in network.layers for weight in layer.trainable_variables]
    gradients = tape.gradient(target, [weight for _, weight in owners])
    return {
        name
        for (name, _), gradient in zip(owners, gradients, strict=True)
        if gradient is not None and np.any(gradient.numpy() != 0.0)
    }


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("side, channels", [(28, 2), (28, 6), (32, 2), (64, 6)])
def test_shapes_ranges_and_gradients(policy, side, channels):
    """Float32 images and logits under both precisions, and a gradient for every weight of both players.

    Red without dtype="float32" at an output, or if a layer is built and not used.
    """
    generator, discriminator = _pair(side, channels)
    with tf.GradientTape() as tape:
        fake = generator({"latents": tf.random.stateless_normal((5, 6), [1, 2])}, training=True)
        logits = discriminator({"images": fake}, training=True)
        # Squared: with the plain sum, the generator's gradient could vanish by symmetry.
        loss = tf.reduce_sum(logits**2)
    assert fake.shape == (5, side, side, channels) and logits.shape == (5, 2)
    assert fake.dtype == logits.dtype == tf.float32
    assert -1.0 <= tf.reduce_min(fake) < tf.reduce_max(fake) <= 1.0
    assert generator.compute_dtype == ("float32" if policy == "float32" else "bfloat16")
    weights = generator.trainable_variables + discriminator.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        assert weight.dtype == "float32"
        assert np.any(gradient.numpy() != 0.0), weight.path


def test_the_generators_share_all_layers_but_the_last():
    """Either domain's image moves the shared layers and its own last one, not the other's.

    Red if the domains' layers swap places, or if each domain gets a deconvolution of its own.
    """
    generator, _ = _pair(28, 6)
    latents = tf.random.stateless_normal((5, 6), [1, 2])
    with tf.GradientTape(persistent=True) as tape:
        images = generator({"latents": latents}, training=True)
        domains = [tf.reduce_sum(images[..., :3] ** 2), tf.reduce_sum(images[..., 3:] ** 2)]
    first, second = (_reached(tape, domain, generator) for domain in domains)
    assert first - second == {"generator_domain1_image"}
    assert second - first == {"generator_domain2_image"}
    shared = {name for name in first & second if "norm" not in name}
    assert shared == {"generator_shared_dense", "generator_shared_conv1", "generator_shared_conv2"}


def test_the_discriminators_share_all_layers_but_the_first():
    """A logit of one domain moves the shared layers and its own first one, and sees its own images alone.

    Red if the slices of the channels swap places, or if each domain gets a logit layer of its own.
    """
    _, discriminator = _pair(28, 6)
    images = tf.random.stateless_normal((5, 28, 28, 6), [1, 2])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        logits = discriminator({"images": images}, training=True)
        domains = [tf.reduce_sum(logits[:, 0]), tf.reduce_sum(logits[:, 1])]
    first, second = (_reached(tape, domain, discriminator) for domain in domains)
    assert first - second == {"discriminator_domain1_conv0"}
    assert second - first == {"discriminator_domain2_conv0"}
    assert first & second == {"discriminator_shared_conv1", "discriminator_shared_logit"}
    own, other = tf.split(tape.gradient(domains[0], images), 2, axis=-1)
    assert np.any(own.numpy() != 0.0) and np.all(other.numpy() == 0.0)
    other, own = tf.split(tape.gradient(domains[1], images), 2, axis=-1)
    assert np.any(own.numpy() != 0.0) and np.all(other.numpy() == 0.0)


def test_construction_is_a_pure_function_of_the_seed():
    """Red if an initializer lacks its seed, or two layers share one: both domains would start as one."""
    for player in (0, 1):
        first, again, other = (_pair(16, 2, seed)[player].get_weights() for seed in (7, 7, 8))
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
        kernels = [weight for weight in first if weight.ndim > 1]
        assert all(np.any(a != b) for a, b in zip(kernels, [w for w in other if w.ndim > 1], strict=True))
        # One seed for all layers would start them with the same numbers up to their scale.
        rows = [kernel.ravel()[:50] for kernel in kernels]
        pairs = [(a, b) for i, a in enumerate(rows) for b in rows[:i] if len(a) == len(b) == 50]
        assert pairs and all(abs(np.corrcoef(a, b)[0, 1]) < 0.9 for a, b in pairs)


def test_discriminator_judges_each_image_alone():
    """R1 needs it. A convolution of one image sums in another order than that of four: 1e-5.

    Red with BatchNormalization in the discriminator.
    """
    _, discriminator = _pair(16, 2)
    images = tf.random.stateless_normal((4, 16, 16, 2), [1, 2])
    together = discriminator({"images": images}, training=True)
    alone = np.concatenate([discriminator({"images": image[None]}, training=True) for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_gradient_of_a_gradient_penalty():
    """Without biases a logit is linear in each kernel W, so that P = sum |dD/dx|^2 has <dP/dW, W> = 2 P.

    For a shared kernel P is the penalty of both domains, for a domain's own that of the domain. Float32 sums of
    some thousand terms: 1e-4. Red if a layer's gradient is stopped, or if one domain is left out of a layer.
    """
    _, discriminator = _pair(16, 2)

    @tf.function
    def penalties_and_gradients(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        kernels = {layer.name: layer.kernel for layer in discriminator.layers if layer.trainable_variables}
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(images)
                logits = discriminator({"images": images}, training=True)
            penalties = tf.reduce_sum(inner.gradient(logits, images) ** 2, axis=[0, 1, 2])
            total = tf.reduce_sum(penalties)
        gradients = outer.gradient(total, kernels)
        return penalties, {name: tf.reduce_sum(gradients[name] * kernels[name]) for name in kernels}

    (first, second), products = penalties_and_gradients(tf.random.stateless_normal((4, 16, 16, 2), [1, 2]))
    expected = {"domain1": 2.0 * first, "domain2": 2.0 * second, "shared": 2.0 * (first + second)}
    assert first > 0.0 and second > 0.0
    for name, product in products.items():
        np.testing.assert_allclose(product, expected[name.split("_")[1]], rtol=1e-4, err_msg=name)


def test_saved_model_gives_the_same_images(tmp_path):
    """With moved averages of BatchNorm. Red if they are left out of the SavedModel or of inference.

    The same float32 sums in another graph: 1e-6.
    """
    generator, _ = _pair(28, 2)
    latents = tf.random.stateless_normal((5, 6), [1, 2])
    fresh = generator({"latents": latents}).numpy()
    generator({"latents": latents}, training=True)
    archive = keras.export.ExportArchive()
    archive.track(generator)
    signature = {"latents": tf.TensorSpec((None, 6))}
    archive.add_endpoint("serve", lambda inputs: generator(inputs, training=False), [signature])
    archive.write_out(str(tmp_path / "model"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    served = loaded.serve({"latents": latents})
    np.testing.assert_allclose(served, generator({"latents": latents}), atol=1e-6)
    assert np.any(np.abs(served - fresh) > 1e-3)


@pytest.mark.parametrize(
    "make", [cogan.discriminator, lambda *args, **kw: cogan.generator(*args, latent_dim=4, **kw)]
)
def test_what_it_cannot_do_is_refused(make):
    """Red without the checks: three channels would lose one, labels would be taken and not used."""
    options = {"num_classes": 0, "seed": 0}
    with pytest.raises(InputError, match="3 channels in all, not an even number"):
        make(CONFIG, image_shape=(28, 28, 3), **options)
    with pytest.raises(InputError, match="multiple of 4"):
        make(CONFIG, image_shape=(30, 30, 2), **options)
    with pytest.raises(ConfigError, match=r"takes no labels.*train\.conditional"):
        make(CONFIG, image_shape=(28, 28, 2), num_classes=10, seed=0)

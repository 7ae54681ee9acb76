import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.errors import ConfigError, InputError
from gan_components.networks import resnet
from gan_components.networks.config import Resnet

CONFIG = Resnet(base_channels=4, blocks_per_resolution=1, expansion=2, group_channels=4)


def _pair(
    side: int, channels: int, num_classes: int, seed: int = 0, config: Resnet = CONFIG
) -> tuple[keras.Model, keras.Model]:
    options = {"image_shape": (side, side, channels), "num_classes": num_classes, "seed": seed}
    return resnet.generator(config, latent_dim=6, **options), resnet.discriminator(config, **options)


def _with_labels(inputs: dict[str, tf.Tensor], num_classes: int) -> dict[str, tf.Tensor]:
    (rows,) = inputs.values()
    labels = tf.range(rows.shape[0], dtype=tf.int64) % max(num_classes, 1)
    return {**inputs, "labels": labels} if num_classes else inputs


def _leave_the_start(network: keras.Model) -> None:
    """The last layer of a block starts as zero and hides the others; as after some training it is not."""
    for layer in network.layers:
        if layer.name.endswith("_out"):
            layer.kernel.assign(tf.random.stateless_normal(layer.kernel.shape, [1, 2], stddev=0.3))


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    "side, channels, num_classes", [(28, 1, 10), (28, 3, 0), (32, 1, 0), (32, 3, 4), (64, 3, 0)]
)
def test_shapes_ranges_and_gradients(policy, side, channels, num_classes):
    """Float32 images and logits under both precisions, and a gradient for every weight of both players.

    Red without dtype="float32" at an output, or if a block's convolution is left out.
    """
    generator, discriminator = _pair(side, channels, num_classes)
    _leave_the_start(generator)
    _leave_the_start(discriminator)
    with tf.GradientTape() as tape:
        latents = tf.random.stateless_normal((5, 6), [1, 2])
        fake = generator(_with_labels({"latents": latents}, num_classes), training=True)
        logits = discriminator(_with_labels({"images": fake}, num_classes), training=True)
        loss = tf.reduce_sum(logits**2)
    assert fake.shape == (5, side, side, channels) and logits.shape == (5,)
    assert fake.dtype == logits.dtype == tf.float32
    assert tf.reduce_min(fake) < tf.reduce_max(fake)
    assert generator.compute_dtype == ("float32" if policy == "float32" else "bfloat16")
    weights = generator.trainable_variables + discriminator.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        assert weight.dtype == "float32"
        assert np.any(gradient.numpy() != 0.0), weight.path


def test_resolutions_and_channels():
    """From 7 or 4 pixels to the image, channels halving, as many blocks as asked for.

    Red if a resolution or a block is left out.
    """
    shapes = {side: resnet._sides(CONFIG, (side, side, 1)) for side in (12, 28, 32, 64)}
    assert shapes == {12: [6, 12], 28: [7, 14, 28], 32: [4, 8, 16, 32], 64: [4, 8, 16, 32, 64]}
    config = Resnet(base_channels=4, blocks_per_resolution=2, expansion=3, group_channels=6)
    for network, order in zip(_pair(28, 3, 0, config=config), (1, -1), strict=True):
        sums = [layer.output.shape for layer in network.layers if isinstance(layer, keras.layers.Add)]
        expected = [(None, 7, 7, 16)] * 2 + [(None, 14, 14, 8)] * 2 + [(None, 28, 28, 4)] * 2
        assert sums == expected[::order]
        inside = [layer.output.shape[-1] for layer in network.layers if layer.name.endswith("_grouped")]
        assert inside == [48, 48, 24, 24, 12, 12][::order]


def test_extra_blocks_stand_at_the_smallest_resolution():
    """With two of them, a pixel of the smallest map's centre sees the whole image. Red if they stand elsewhere.

    Also red if the scale of the start forgets them: 5 blocks are scaled by 5^(-1/4).
    """
    config = Resnet(base_channels=16, expansion=2, group_channels=16, extra_blocks=2)
    for network in _pair(28, 1, 0, config=config):
        sides = [layer.output.shape[1] for layer in network.layers if isinstance(layer, keras.layers.Add)]
        assert sorted(sides) == [7, 7, 7, 14, 28]
        kernel = next(layer.kernel for layer in network.layers if layer.name.endswith("block7_2_in")).numpy()
        gain = (2.0 / 1.04) ** 0.5 * 5**-0.25
        assert kernel.std() * kernel.shape[2] ** 0.5 == pytest.approx(gain, rel=4.0 / (2.0 * kernel.size) ** 0.5)


def test_fixup_initialisation():
    """Blocks start as identities; the others of 3 layers in each of 3 blocks are scaled by 3^(-1/4) and, for the
    leaky ReLU, by sqrt(2 / 1.04). All that is not in a block has gain 1.

    The standard deviation of n normal numbers is known to 1 / sqrt(2 n); four of these are 13 % for the smallest
    kernel in a block, which is less than the 24 % of the scale.
    Red without the scale, or if a block's last layer starts as others do.
    """
    config = Resnet(base_channels=16, expansion=2, group_channels=16)
    for network in _pair(28, 3, 0, config=config):
        kernels = {layer.name: layer.kernel.numpy() for layer in network.layers if hasattr(layer, "kernel")}
        zero = {name for name, kernel in kernels.items() if np.all(kernel == 0.0)}
        assert zero == {name for name in kernels if name.endswith("_out")} and len(zero) == 3
        for name in kernels.keys() - zero:
            kernel = kernels[name]
            gain = (2.0 / 1.04) ** 0.5 * 3**-0.25 if "block" in name else 1.0
            scale = kernel.std() * np.prod(kernel.shape[:-1]) ** 0.5
            assert scale == pytest.approx(gain, rel=4.0 / (2.0 * kernel.size) ** 0.5), name


def test_labels_decide_with_the_image():
    """The same latents give other images, the same images other logits, and not by a constant per class.

    Red if the labels are left out of a player, or the projection is of the labels alone.
    """
    generator, discriminator = _pair(28, 1, 3)
    latents = tf.random.stateless_normal((4, 6), [1, 2])
    zeros, ones = (tf.constant([label] * 4, tf.int64) for label in (0, 1))
    images = generator({"latents": latents, "labels": zeros})
    other = generator({"latents": latents, "labels": ones})
    assert np.all(np.any(images != other, axis=(1, 2, 3)))
    gain = discriminator({"images": images, "labels": ones}) - discriminator({"images": images, "labels": zeros})
    assert len(set(gain.numpy())) == 4 and np.all(gain != 0.0)


def test_construction_is_a_pure_function_of_the_seed():
    """Red if an initializer lacks its seed, or two layers share one."""
    for player in (0, 1):
        first, again, other = (_pair(16, 3, 3, seed)[player].get_weights() for seed in (7, 7, 8))
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
        numbers = [weight for weight in first if np.any(weight != 0.0)]
        others = [weight for weight in other if np.any(weight != 0.0)]
        assert len(numbers) > 10 and all(np.any(a != b) for a, b in zip(numbers, others, strict=True))
        # One seed for all layers would start them with the same numbers up to their scale.
        rows = [weight.ravel()[:48] for weight in numbers]
        pairs = [(a, b) for i, a in enumerate(rows) for b in rows[:i] if len(a) == len(b) == 48]
        assert pairs and all(abs(np.corrcoef(a, b)[0, 1]) < 0.9 for a, b in pairs)


def test_discriminator_judges_each_image_alone():
    """R1 needs it. A convolution of one image sums in another order than that of four: 1e-5.

    Red with BatchNormalization in the discriminator.
    """
    _, discriminator = _pair(16, 1, 0)
    _leave_the_start(discriminator)
    images = tf.random.stateless_normal((4, 16, 16, 1), [1, 2])
    together = discriminator({"images": images}, training=True)
    alone = np.concatenate([discriminator({"images": image[None]}, training=True) for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_gradient_of_a_gradient_penalty():
    """Without biases the logit is linear in each kernel W outside of the blocks, and in those of a block together
    with its identity: P = sum |dD/dx|^2 has <dP/dW, W> = 2 P there.

    Float32 sums of some thousand terms: 1e-4. Red if a layer's gradient is stopped, or if biases of the blocks do
    not start as zero.
    """
    _, discriminator = _pair(16, 1, 0)
    _leave_the_start(discriminator)

    @tf.function
    def penalty_and_gradients(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
        weights = {w.path: w for w in discriminator.trainable_variables if "bias" not in w.path}
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(images)
                logits = discriminator({"images": images}, training=True)
            penalty = tf.reduce_sum(inner.gradient(logits, images) ** 2)
        gradients = outer.gradient(penalty, weights)
        return penalty, {name: tf.reduce_sum(gradients[name] * weights[name]) for name in weights}, gradients

    penalty, products, gradients = penalty_and_gradients(tf.random.stateless_normal((4, 16, 16, 1), [1, 2]))
    outside = {name: product for name, product in products.items() if "block" not in name}
    # 16 -> 8 -> 4: pixels, two changes of channels, basis, logit.
    assert len(outside) == 5 and penalty > 0.0
    for name, product in outside.items():
        np.testing.assert_allclose(product, 2.0 * penalty, rtol=1e-4, err_msg=name)
    assert all(np.any(gradient.numpy() != 0.0) for gradient in gradients.values())


@pytest.mark.parametrize("differentiable", [True, False])
def test_grouped_convolution(monkeypatch, differentiable):
    """Both forms equal one convolution a group, side by side, and so do the gradients.

    Sums of 36 products of size 1 in another order: 1e-5. Red if groups and channels swap places in the kernel.
    """
    monkeypatch.setattr(resnet, "_differentiates_grouped_convolutions", lambda: differentiable)
    layer = resnet.GroupedConv2D(4, kernel_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=3))
    x = tf.random.stateless_normal((2, 5, 5, 12), [1, 2])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = layer(x)
        kernels = tf.split(layer.kernel.value, 3, axis=-1)
        groups = zip(tf.split(x, 3, axis=-1), kernels, strict=True)
        expected = tf.concat([tf.nn.conv2d(part, kernel, 1, "SAME") for part, kernel in groups], axis=-1)
        loss, expected_loss = tf.reduce_sum(y**3), tf.reduce_sum(expected**3)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for source in (x, layer.kernel.value):
        gradient, expected_gradient = tape.gradient(loss, source), tape.gradient(expected_loss, source)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-3)


def test_it_learns_without_onednn():
    """TensorFlow's own processor kernels have no gradient of grouped convolutions.

    Red if the layer always uses them: "Gradients for grouped convolutions are not supported on CPU".
    """
    program = (
        "import tensorflow as tf\n"
        "from gan_components.networks import resnet\n"
        "from gan_components.networks.config import Resnet\n"
        "config = Resnet(base_channels=4, expansion=2, group_channels=4)\n"
        "discriminator = resnet.discriminator(config, image_shape=(8, 8, 1), num_classes=0, seed=0)\n"
        "with tf.GradientTape() as tape:\n"
        "    logits = discriminator({'images': tf.ones((2, 8, 8, 1))}, training=True)\n"
        "gradients = tape.gradient(logits, discriminator.trainable_variables)\n"
        "print(len(gradients), resnet._differentiates_grouped_convolutions())\n"
    )
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Two resolutions with five weights a block, pixels, one change of channels, basis, logit.
    assert done.stdout.split() == ["14", "False"]


def test_saved_model_gives_the_same_images_without_xla(tmp_path):
    """The same float32 sums in another graph: 1e-6. TF Serving's processor build has no XLA.

    Red with keras.layers.Conv2D(groups=...), which Keras compiles.
    """
    generator, _ = _pair(28, 3, 3)
    _leave_the_start(generator)
    archive = keras.export.ExportArchive()
    archive.track(generator)
    signature = {"latents": tf.TensorSpec((None, 6)), "labels": tf.TensorSpec((None,), tf.int64)}
    archive.add_endpoint("serve", lambda inputs: generator(inputs, training=False), [signature])
    archive.write_out(str(tmp_path / "model"), verbose=False)
    inputs = _with_labels({"latents": tf.random.stateless_normal((5, 6), [1, 2])}, 3)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(loaded.serve(inputs), generator(inputs), atol=1e-6)
    library = loaded.signatures["serve"].graph.as_graph_def().library
    assert library.function and not any(f.attr["_XlaMustCompile"].b for f in library.function)


def test_what_it_cannot_do_is_refused():
    """Red without the checks: 30 would quietly become 28 at the way down, and TensorFlow's own error would come
    with the first batch and name no setting."""
    with pytest.raises(InputError, match="multiple of 4"):
        resnet.discriminator(CONFIG, image_shape=(30, 30, 1), num_classes=0, seed=0)
    config = Resnet(base_channels=10, expansion=2, group_channels=16)
    with pytest.raises(ConfigError, match="set group_channels to a divisor"):
        resnet.generator(config, image_shape=(28, 28, 1), latent_dim=4, num_classes=0, seed=0)


def test_the_output_saturates_but_never_stops_learning():
    """Red without the tanh (images of a hundred times the range) or without its leak (no gradient)."""
    generator, _ = _pair(8, 1, 0)
    image = next(layer for layer in generator.layers if layer.name == "images")
    x = tf.constant([-100.0, -1.0, 0.0, 1.0, 100.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = image(x)
    np.testing.assert_allclose(y, 0.99 * np.tanh(x) + 0.01 * x, rtol=1e-6)
    slopes = tape.gradient(y, x).numpy()
    assert slopes.min() >= 0.0099
    assert slopes[2] == pytest.approx(1.0)

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.errors import InputError
from gan_components.networks import layers, progan
from gan_components.networks.config import Progan

CONFIG = Progan(base_channels=4, max_channels=12)


def _pair(side: int, channels: int = 1, num_classes: int = 0, seed: int = 0) -> tuple[keras.Model, keras.Model]:
    options = {"image_shape": (side, side, channels), "num_classes": num_classes, "seed": seed}
    return progan.generator(CONFIG, latent_dim=6, **options), progan.discriminator(CONFIG, **options)


def _rows(num_rows: int, num_classes: int = 0) -> dict[str, tf.Tensor]:
    return {"latents": tf.random.stateless_normal((num_rows, 6), [1, 2]), **_labels(num_rows, num_classes)}


def _labels(num_rows: int, num_classes: int) -> dict[str, tf.Tensor]:
    return {"labels": tf.range(num_rows, dtype=tf.int64) % num_classes} if num_classes else {}


def _images(num_rows: int, side: int, channels: int = 1) -> tf.Tensor:
    return tf.random.stateless_uniform((num_rows, side, side, channels), [3, 4], -1.0, 1.0)


def _at(level: int, alpha: float, *networks: keras.Model) -> None:
    for network in networks:
        network.level = level
        network.alpha.assign(alpha)


def _used(name: str, level: int) -> bool:
    """Whether a weight works at a level: names end with the level, to and from RGB work at the one below, too."""
    layer = name.split("/")[0]
    if not layer[-1].isdigit():
        return True
    own = int(layer[-1])
    return own in (level, level - 1) if "rgb" in layer else own <= level


@pytest.mark.parametrize("side, channels, num_classes", [(8, 1, 0), (16, 3, 3), (32, 1, 0)])
def test_shapes_ranges_and_gradients_at_every_level(side, channels, num_classes):
    """Images of full size from and to every level, and a gradient for just the weights in use while it fades in.

    Red if a layer is built and not used, labels are left out, a level's image is not brought to full size, or the
    discriminator does not fade.
    """
    generator, discriminator = _pair(side, channels, num_classes)
    assert generator.num_levels == discriminator.num_levels == int(np.log2(side)) - 1
    assert generator.level == discriminator.level == generator.num_levels - 1
    assert generator.alpha.numpy() == discriminator.alpha.numpy() == 1.0
    for level in range(generator.num_levels):
        _at(level, 0.5, generator, discriminator)
        with tf.GradientTape(persistent=True) as tape:
            images = generator(_rows(5, num_classes), training=True)
            logits = discriminator({"images": images, **_labels(5, num_classes)}, training=True)
            # Squared: with the plain sum, gradients could vanish by symmetry.
            loss = tf.reduce_sum(logits**2)
        assert images.shape == (5, side, side, channels)
        assert logits.shape == (5,)
        assert images.dtype == logits.dtype == tf.float32
        for network in (generator, discriminator):
            for weight, gradient in zip(
                network.trainable_variables, tape.gradient(loss, network.trainable_variables), strict=True
            ):
                assert (gradient is not None) == _used(weight.path, level), (weight.path, level)
                assert gradient is None or np.any(gradient != 0.0), (weight.path, level)


@pytest.mark.parametrize("level", [1, 2])
def test_a_level_starts_as_the_one_below(level):
    """At alpha 0 image and logits are those of the level below, up to float32's rounding of the sums; at 1 not.

    Red if alpha weighs the old path, or the old path takes features of the new level.
    """
    generator, discriminator = _pair(16, 3, 2)
    rows, real = _rows(4, 2), {"images": _images(4, 16, 3), **_labels(4, 2)}
    _at(level - 1, 1.0, generator, discriminator)
    before, opinion_before = generator(rows), discriminator(real)
    _at(level, 0.0, generator, discriminator)
    np.testing.assert_allclose(generator(rows), before, atol=1e-6)
    np.testing.assert_allclose(discriminator(real), opinion_before, atol=1e-6)
    _at(level, 1.0, generator, discriminator)
    assert np.max(np.abs(generator(rows) - before)) > 0.1
    assert np.max(np.abs(discriminator(real) - opinion_before)) > 1e-3


def test_images_leave_through_a_tanh_at_every_level():
    """Of features so strong that a linear end would paint -50. Red if a level, or one that fades in, has one."""
    generator, _ = _pair(16)
    for layer in generator.to_rgb:
        layer.kernel.assign(tf.zeros_like(layer.kernel))
        layer.bias.assign(tf.fill(layer.bias.shape, -50.0))
    for level in range(3):
        for alpha in (0.5, 1.0):
            _at(level, alpha, generator)
            np.testing.assert_allclose(generator(_rows(2)), -1.49, rtol=1e-6)


def test_images_of_a_level_have_its_resolution():
    """Blocks of equal pixels, and the discriminator sees no more. Red if it takes single pixels for means."""
    generator, discriminator = _pair(16)
    _at(1, 1.0, generator, discriminator)
    images = generator(_rows(4))
    np.testing.assert_array_equal(images, layers.as_grown(images, side=8, alpha=1.0))
    real = _images(4, 16)
    coarse = layers.as_grown(real, side=8, alpha=1.0)
    np.testing.assert_allclose(discriminator({"images": real}), discriminator({"images": coarse}), atol=1e-6)


def test_channels_double_down_to_the_largest():
    """Red if channels are counted from the smallest level up, or not bounded."""
    assert progan.channels_by_level(CONFIG, (32, 32, 1)) == [12, 12, 8, 4]
    assert progan.channels_by_level(Progan(base_channels=16, max_channels=512), (1024, 1024, 3)) == [
        512, 512, 512, 512, 256, 128, 64, 32, 16
    ]  # fmt: skip


def test_rows_of_the_generator_are_independent():
    """A row's image is the same in any batch, served or in training: sums of float32 in another order, 1e-5.

    Red with a normalisation over the batch.
    """
    generator, _ = _pair(16, 1, 3)
    rows = _rows(5, 3)
    together = generator(rows, training=True).numpy()
    alone = [generator({name: row[i : i + 1] for name, row in rows.items()}) for i in range(5)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


def test_the_length_of_latents_does_not_count():
    """They are normalised: 1e-5 for the 1e-8 under the root. Red without it.

    With biases: the features are normalised, too, and would hide a factor that all of them share.
    """
    generator, _ = _pair(8)
    rows = _rows(4)
    generator.dense.bias.assign(tf.ones(generator.dense.bias.shape))
    np.testing.assert_allclose(generator({"latents": 3.0 * rows["latents"]}), generator(rows), atol=1e-5)


def test_the_discriminator_sees_variety_within_groups_of_four():
    """A logit depends on the three images beside it, and on no other group. Red without minibatch_stddev."""
    _, discriminator = _pair(16)
    real = _images(8, 16)
    mixed = tf.concat([real[:4], tf.repeat(real[4:5], 4, 0)], 0)
    before, after = discriminator({"images": real}).numpy(), discriminator({"images": mixed}).numpy()
    np.testing.assert_allclose(before[:4], after[:4], atol=1e-6)
    assert abs(before[4] - after[4]) > 1e-4


def test_labels_decide_with_the_image():
    """Other labels give other images, and other logits by an amount that depends on the image.

    Red if the projection is taken of the labels alone, or of the features alone.
    """
    generator, discriminator = _pair(16, 1, 3)
    latents = {"latents": _rows(4)["latents"]}
    zeros, ones = {"labels": tf.zeros(4, tf.int64)}, {"labels": tf.ones(4, tf.int64)}
    images = generator({**latents, **zeros})
    assert np.all(np.any(images != generator({**latents, **ones}), axis=(1, 2, 3)))
    gain = discriminator({"images": images, **ones}) - discriminator({"images": images, **zeros})
    assert len(set(gain.numpy())) == 4
    assert np.all(gain != 0.0)


def test_construction_is_a_pure_function_of_the_seed():
    """Red if an initializer lacks its seed, or two layers share a name."""
    for first, again, other in zip(*(_pair(16, 1, 3, seed) for seed in (7, 7, 8)), strict=True):
        kernels = [variable for variable in first.variables if variable.path.endswith("kernel")]
        assert len({variable.path for variable in first.variables}) == len(first.variables)
        assert all(np.any(a != b) for i, a in enumerate(kernels) for b in kernels[:i] if a.shape == b.shape)
        for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        others = [variable for variable in other.variables if variable.path.endswith("kernel")]
        assert all(np.all(a != b) for a, b in zip(kernels, others, strict=True))


def test_no_layer_keeps_random_state():
    """A SeedGenerator gives every replica the same rows. Red with a Dropout layer."""
    for network in _pair(8, 1, 3):
        assert not any("seed" in variable.path for variable in network.variables)


def _r1_slopes(discriminator: keras.Model, images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """R1 and its gradient by each kernel."""

    @tf.function
    def slopes(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        with tf.GradientTape() as outer:
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(images)
                logits = discriminator({"images": images}, training=True)
            r1 = tf.reduce_mean(tf.reduce_sum(inner.gradient(logits, images) ** 2, (1, 2, 3)))
        weights = discriminator.trainable_variables
        return r1, outer.gradient(r1, {weight.path: weight.value for weight in weights if weight.ndim > 1})

    return slopes(images)


@pytest.mark.parametrize("blurred", [False, True])
def test_r1_trains_every_kernel_in_use(blurred):
    """In a graph, while the newest level fades in; the values are those of test_layers' second derivatives.

    Red if an operation stops the second derivative, such as from_rgb's image behind stop_gradient.
    """
    discriminator = progan.Discriminator([6, 6, 4], 1, num_classes=0, blurred=blurred, seed=0)
    discriminator.alpha.assign(0.5)
    _, slopes = _r1_slopes(discriminator, _images(4, 16))
    for kernel, slope in slopes.items():
        assert (slope is not None) == _used(kernel, 2), kernel
        assert slope is None or (np.all(np.isfinite(slope)) and np.any(slope != 0.0)), kernel


def test_mixed_bfloat16_computes_the_same_networks():
    """Images, logits and R1 with all its gradients, close to float32; in and out are float32.

    bfloat16 keeps 8 bits: after a dozen layers a few per cent. Red if weights or outputs are bfloat16.
    """
    wide = _pair(16)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        narrow = _pair(16)
    finally:
        keras.config.set_dtype_policy("float32")
    outputs = []
    for generator, discriminator in (wide, narrow):
        assert all(variable.dtype == "float32" for variable in (*generator.variables, *discriminator.variables))
        images = generator(_rows(4), training=True)
        logits = discriminator({"images": _images(4, 16)}, training=True)
        assert images.dtype == logits.dtype == tf.float32
        r1, slopes = _r1_slopes(discriminator, _images(4, 16))
        assert all(np.all(np.isfinite(slope)) for slope in slopes.values() if slope is not None)
        outputs.append((images, logits, r1))
    assert narrow[0].convs[0](tf.zeros((1, 4, 4, 12))).dtype == tf.bfloat16
    for expected, got in zip(*outputs, strict=True):
        assert tf.norm(got - expected) < 0.05 * tf.norm(expected)


def test_a_reloaded_savedmodel_paints_the_same(tmp_path):
    """The export's way, in batches of any size.

    Graph optimizers order float32 sums by what is constant: 1e-5. Red if the graph freezes the batch's size.
    """
    generator, _ = _pair(16, 3, 4)
    archive = keras.export.ExportArchive()
    archive.track(generator)
    signature = {
        "latents": tf.TensorSpec((None, 6), tf.float32, name="latents"),
        "labels": tf.TensorSpec((None,), tf.int64, name="labels"),
    }
    archive.add_endpoint("images", lambda rows: generator(rows, training=False), input_signature=[signature])
    archive.write_out(str(tmp_path / "generator"), verbose=False)
    reloaded = tf.saved_model.load(str(tmp_path / "generator"))
    for num_rows in (1, 3):
        rows = _rows(num_rows, 4)
        images = reloaded.images(rows)
        assert images.shape == (num_rows, 16, 16, 3)
        np.testing.assert_allclose(images, generator(rows), atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 32, 1), (28, 28, 1), (4, 4, 1), (2048, 2048, 3)])
def test_other_shapes_are_refused(shape):
    """Red without the check: 28 would quietly become 16."""
    with pytest.raises(InputError, match=r"progan makes square images .* set ingest.size"):
        progan.discriminator(CONFIG, image_shape=shape, num_classes=0, seed=0)


@pytest.mark.parametrize("level", [-1, 2])
def test_levels_that_do_not_exist_are_refused(level):
    """Red without the check: -1 would quietly mean the last level."""
    generator, _ = _pair(8)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        generator.level = level

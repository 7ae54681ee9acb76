import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.networks import progan, stylegan
from gan_components.networks.config import Stylegan

CONFIG = Stylegan(base_channels=4, max_channels=12, mapping_layers=2)


def _generator(side: int = 8, channels: int = 1, num_classes: int = 0, *, seed: int = 0, noisy: bool = False):
    network = stylegan.generator(
        CONFIG, image_shape=(side, side, channels), latent_dim=6, num_classes=num_classes, seed=seed
    )
    for layer in network.styled if noisy else ():
        layer.strength.assign(tf.fill(layer.strength.shape, 0.3))
    return network


def _normal(name: str, *shape: int) -> tf.Tensor:
    return tf.random.stateless_normal(shape, [len(name), sum(name.encode())])


def _rows(num_rows: int, num_classes: int = 0) -> dict[str, tf.Tensor]:
    labels = {"labels": tf.range(num_rows, dtype=tf.int64) % num_classes} if num_classes else {}
    return {"latents": _normal("latents", num_rows, 6), **labels}


def _drawn(num_rows: int, side: int, channels: int = 1) -> dict[str, tf.Tensor]:
    named = stylegan.draws(CONFIG, image_shape=(side, side, channels), latent_dim=6)
    assert {distribution for name, (distribution, _) in named.items() if name != "mixing"} == {"normal"}
    rows = {name: _normal(name, num_rows, *shape) for name, (_, shape) in named.items()}
    return rows | {"mixing": tf.random.stateless_uniform((num_rows, *named["mixing"][1]), [5, 6])}


def _used(path: str, level: int) -> bool:
    """Whether a weight works at a level: `styled` and `conv` number layers, two a level, `to_rgb` levels."""
    name = path.split("/")[0].removesuffix("_style")
    number = int("".join(filter(str.isdigit, name)) or 0)
    if "rgb" in name:
        return number in (level, level - 1)
    return "mapping" in name or number // 2 <= level


@pytest.mark.parametrize("side, channels, num_classes", [(8, 1, 0), (16, 3, 3), (32, 1, 0)])
def test_shapes_and_gradients_at_every_level(side, channels, num_classes):
    """Images of full size, and a gradient for just the weights in use, with noise and mixing as in training.

    Red if a layer is built and not used, or a noise input is not added.
    """
    generator = _generator(side, channels, num_classes)
    discriminator = stylegan.discriminator(
        CONFIG, image_shape=(side, side, channels), num_classes=num_classes, seed=0
    )
    assert discriminator.blurred
    assert generator.num_levels == discriminator.num_levels == int(np.log2(side)) - 1
    for level in range(generator.num_levels):
        generator.level = discriminator.level = level
        generator.alpha.assign(0.5)
        rows = _rows(5, num_classes)
        with tf.GradientTape() as tape:
            images = generator(rows | _drawn(5, side, channels), training=True)
            logits = discriminator({**rows, "images": images}, training=True)
            loss = tf.reduce_sum(logits**2)
        assert images.shape == (5, side, side, channels)
        assert logits.shape == (5,)
        assert images.dtype == logits.dtype == tf.float32
        weights = generator.trainable_variables
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            assert (gradient is not None) == _used(weight.path, level), (weight.path, level)
            assert gradient is None or np.any(gradient != 0.0), (weight.path, level)


@pytest.mark.parametrize("level", [1, 2])
def test_a_level_starts_as_the_one_below(level):
    """At alpha 0 the image is that of the level below, at 1 not. Red if alpha weighs the old path."""
    generator, rows = _generator(16, 3, noisy=True), _rows(4)
    generator.level = level - 1
    before = generator(rows)
    generator.level = level
    generator.alpha.assign(0.0)
    np.testing.assert_allclose(generator(rows), before, atol=1e-6)
    generator.alpha.assign(1.0)
    assert np.max(np.abs(generator(rows) - before)) > 0.1


def test_what_is_served_depends_on_the_row_alone():
    """Twice the same bits; in any batch the same image, up to float32's order of sums: 1e-5.

    Red with noise drawn in the call, or statistics over the batch.
    """
    generator, rows = _generator(16, 1, 3, noisy=True), _rows(5, 3)
    together = generator(rows).numpy()
    np.testing.assert_array_equal(generator(rows), together)
    alone = [generator({name: row[i : i + 1] for name, row in rows.items()}) for i in range(5)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)
    assert np.max(np.abs(together[0] - together[3])) > 1e-2


def test_truncation_ends():
    """psi 0 gives one image for all latents, psi 1 the bits of the untruncated styles; each row has its own psi.

    Images of one style are equal up to float32's order of sums: 1e-5. Red with ``w_average + psi (w - w_average)``
    as it is written, which rounds at 1; with psi swapped; or with one psi a batch.
    """
    generator, rows = _generator(16, noisy=True), _rows(4)
    generator.w_average.assign(_normal("w_average", 12))
    ends = rows | {"truncation": tf.constant([0.0, 0.0, 1.0, 1.0])}
    images, plain = generator(ends).numpy(), generator(rows).numpy()
    np.testing.assert_allclose(images[0], images[1], atol=1e-5)
    assert np.max(np.abs(images[0] - plain[0])) > 1e-2
    np.testing.assert_allclose(images[2:], plain[2:], atol=1e-5)
    for truncated, style in zip(generator._styles(ends, False), generator._styles(rows, False), strict=True):
        np.testing.assert_array_equal(truncated[2:], style[2:])


def test_truncation_is_linear_in_w():
    """psi 0.5 gives the image of the w half way, here made with an average there. Red with another formula."""
    generator, rows = _generator(), _rows(1)
    average, w = _normal("average", 12), generator._styles(rows, False)[0][0]
    generator.w_average.assign(average)
    half = generator(rows | {"truncation": tf.constant([0.5])})
    generator.w_average.assign((average + w) / 2.0)
    np.testing.assert_allclose(half, generator(rows | {"truncation": tf.constant([0.0])}), atol=1e-5)


@pytest.mark.parametrize("level", [1, 2])
def test_mixing_takes_the_other_style_from_the_crossover_on(level):
    """Every crossover from 1 to the last layer has its share of the unit interval; layer 0 keeps its style.

    Red if the crossover may be 0 or beyond the last layer, if layers before it change, or if the probability is
    compared the other way round.
    """
    generator = _generator(16)
    generator.level = level
    num_layers = 2 * (level + 1)
    rows, other = _rows(64), {"latents": _normal("mixing_latents", 64, 6)}
    first, second = generator._styles(rows, False)[0], generator._styles(other, False)[0]
    share = (np.arange(64, dtype=np.float32) + 0.5) / 64.0
    mixing = np.stack([np.where(np.arange(64) % 8, 0.89, 0.9).astype(np.float32), share], 1)
    mixed = generator._styles(rows | {"mixing_latents": other["latents"], "mixing": tf.constant(mixing)}, False)
    crossover = np.where(np.arange(64) % 8, 1 + np.floor(share * (num_layers - 1)), num_layers)
    assert set(crossover) == set(range(1, num_layers + 1))
    for layer, style in enumerate(mixed):
        np.testing.assert_array_equal(style, np.where(crossover[:, None] > layer, first, second))


def test_a_crossover_that_is_named_is_taken():
    """What is served: 0 gives the other style throughout, a number past the last layer none of it.

    Red if the number is read as a level, or drawn.
    """
    generator, rows, other = _generator(16), _rows(7), _normal("mixing_latents", 7, 6)
    first, second = (generator._styles({"latents": latents}, False)[0] for latents in (rows["latents"], other))
    crossover = tf.range(7, dtype=tf.int64)
    mixed = generator._styles(rows | {"mixing_latents": other, "crossover": crossover}, False)
    assert len(mixed) == stylegan.num_style_layers(CONFIG, image_shape=(16, 16, 1)) == 6
    for layer, style in enumerate(mixed):
        np.testing.assert_array_equal(style, np.where(np.arange(7)[:, None] > layer, first, second))


def test_mixing_changes_the_layers_behind_the_crossover_only():
    """Features before the crossover have the same bits, those behind it not. Red if styles go to other layers."""
    generator, rows = _generator(16), _rows(1)
    seen: list[np.ndarray] = []
    for layer in generator.styled:
        layer.call = (lambda call: lambda *args: seen.append(call(*args)) or seen[-1])(layer.call)
    generator(rows)
    # Of the crossovers 1 to 5, a half chooses 3.
    generator(rows | {"mixing_latents": _normal("other", 1, 6), "mixing": tf.constant([[0.0, 0.5]])})
    same = [np.array_equal(a, b) for a, b in zip(seen[:6], seen[6:], strict=True)]
    assert same == [True] * 3 + [False] * 3


def test_draws_follow_the_configuration():
    """Two noises a level, and nothing to mix where nothing is mixed. Red if a level has one noise."""
    config = Stylegan(style_mixing_probability=0.0)
    drawn = stylegan.draws(config, image_shape=(16, 16, 3), latent_dim=6)
    sides = [4, 4, 8, 8, 16, 16]
    assert drawn == {f"noise_{i}": ("normal", (side, side, 1)) for i, side in enumerate(sides)}
    assert stylegan.draws(CONFIG, image_shape=(8, 8, 3), latent_dim=6).keys() - drawn.keys() == {
        "mixing", "mixing_latents"
    }  # fmt: skip


@pytest.mark.parametrize("layer", range(4))
def test_each_noise_enters_its_layer_by_its_strength(layer):
    """No effect at the start, where strengths are 0; then one of its own. Red if one noise feeds all layers."""
    generator, rows = _generator(), _rows(2)
    noise = {f"noise_{layer}": _normal("noise", 2, *[4 * 2 ** (layer // 2)] * 2, 1)}
    np.testing.assert_array_equal(generator(rows | noise), generator(rows))
    strength = generator.styled[layer].strength
    strength.assign(tf.ones(strength.shape))
    constant, drawn = generator(rows), generator(rows | noise)
    assert np.max(np.abs(constant - drawn)) > 1e-3
    np.testing.assert_array_equal(
        generator(rows | {f"noise_{layer}": tf.repeat(generator.styled[layer].noise.value, 2, 0)}), constant
    )


def test_adain_sets_mean_and_scale_by_the_style():
    """Mean ``y_b`` and deviation ``1 + y_s`` of each channel of each image, whatever came before.

    float32 means of 256 numbers: 1e-4. Red without the 1, with statistics over the batch, or before the noise.
    """
    styled = stylegan.StyledNoise(16, 3, 5, seed=0, name="styled")
    styled.strength.assign([0.0, 1.0, 2.0])
    styled.bias.assign([5.0, -5.0, 0.0])
    w = _normal("w", 2, 5)
    y = styled(7.0 + 3.0 * _normal("x", 2, 16, 16, 3), w).numpy()
    scale, shift = np.split(styled.style(w).numpy(), 2, -1)
    np.testing.assert_allclose(y.mean((1, 2)), shift, atol=1e-4)
    np.testing.assert_allclose(y.std((1, 2)), np.abs(1.0 + scale), rtol=1e-4)


def test_adain_is_float32_inside():
    """bfloat16 in and out; the result is that of float64 up to the rounding of the output, half of 2^-8.

    Red if mean and variance are taken in bfloat16, whose steps near 100 are half a unit.
    """
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        styled = stylegan.StyledNoise(16, 3, 5, seed=0, name="styled")
    finally:
        keras.config.set_dtype_policy("float32")
    x, w = tf.cast(100.0 + 3.0 * _normal("x", 2, 16, 16, 3), tf.bfloat16), _normal("w", 2, 5)
    y = styled(x, w)
    assert y.dtype == tf.bfloat16
    scale, shift = np.split(tf.cast(styled.style(w), tf.float64).numpy()[:, None, None, :], 2, -1)
    wide = tf.cast(x, tf.float64).numpy()
    normal = (wide - wide.mean((1, 2), keepdims=True)) / wide.std((1, 2), keepdims=True)
    # float32 cancels a mean of 33 deviations: 33 times 1e-7, and as much for its sums.
    np.testing.assert_allclose(tf.cast(y, tf.float64), (1.0 + scale) * normal + shift, rtol=2.0**-8, atol=1e-4)


def test_w_average_follows_the_batches_of_training():
    """``0.995 w_average + 0.005 mean(w)`` of the first latents; serving leaves it. Red with the decay swapped."""
    generator, rows = _generator(), _rows(4) | _drawn(4, 8)
    mean = np.mean(generator._styles(_rows(4), False)[0], 0)
    start = _normal("start", 12).numpy()
    generator.w_average.assign(start)
    generator(rows, training=False)
    np.testing.assert_array_equal(generator.w_average, start)
    generator(rows, training=True)
    np.testing.assert_allclose(generator.w_average, 0.995 * start + 0.005 * mean, atol=1e-6)


_TWO_REPLICAS = """
import json, tensorflow as tf
from gan_components import randomness
from gan_components.networks import stylegan
from gan_components.networks.config import Stylegan

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
config = Stylegan(base_channels=2, max_channels=4, mapping_layers=1)

def average(strategy):
    with strategy.scope():
        network = stylegan.generator(config, image_shape=(8, 8, 1), latent_dim=3, num_classes=0, seed=0)
        # Between replicas: no context to reduce in.
        network({"latents": tf.ones((2, 3))}, training=True)
    step = lambda: network({"latents": randomness.normal([1, 2], (8, 3))}, training=True)
    strategy.run(tf.function(step))
    return [part.numpy().tolist() for part in strategy.experimental_local_results(network.w_average.value)]

print(json.dumps([average(tf.distribute.MirroredStrategy(names)) for names in (["CPU:0"], ["CPU:0", "CPU:1"])]))
"""


@pytest.mark.slow
def test_w_average_is_that_of_the_global_batch():
    """Two replicas hold what one device computes: means of 8 numbers in another order, 1e-6.

    Red without the all-reduce: each replica would keep the mean of its own rows. In a process of its own: devices
    are split before TensorFlow starts.
    """
    root = Path(__file__).parents[3]
    child = subprocess.run(
        [sys.executable, "-c", _TWO_REPLICAS], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr
    (one,), both = json.loads(child.stdout)
    assert len(both) == 2
    np.testing.assert_array_equal(*both)
    np.testing.assert_allclose(both[0], one, rtol=1e-5, atol=1e-7)


def test_construction_is_a_pure_function_of_the_seed():
    """Constant noise included. Red if an initializer lacks its seed, or two layers share a name."""
    first, again, other = (_generator(16, 1, 3, seed=seed) for seed in (7, 7, 8))
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    drawn = [variable for variable in first.variables if np.std(variable) > 0.0]
    assert {variable.path.split("/")[-1] for variable in drawn} == {"kernel", "noise", "constant"}
    assert all(np.any(a != b) for i, a in enumerate(drawn) for b in drawn[:i] if a.shape == b.shape)
    others = [variable for variable in other.variables if np.std(variable) > 0.0]
    assert all(np.all(a != b) for a, b in zip(drawn, others, strict=True))


def test_no_layer_keeps_random_state():
    """A SeedGenerator gives every replica the same rows. Red with keras.layers.GaussianNoise for the noise."""
    assert not any("seed" in variable.path for variable in _generator(8, 1, 3).variables)


def test_labels_change_the_image():
    """Red if labels are not joined to the latents."""
    generator, latents = _generator(8, 1, 3), _rows(2)["latents"]
    images = [generator({"latents": latents, "labels": tf.fill([2], tf.constant(i, tf.int64))}) for i in (0, 1)]
    assert np.max(np.abs(images[0] - images[1])) > 1e-2


def test_mixed_bfloat16_computes_the_same_network():
    """Image and average of w close to float32; choices between layers exactly equal.

    bfloat16 keeps 8 bits: after a dozen layers a few per cent; 0.999 would round to 1 and choose a layer that does
    not exist, so that nothing would be mixed. Red if the model's inputs are cast.
    """
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        narrow = _generator(16, 3, 2, noisy=True)
    finally:
        keras.config.set_dtype_policy("float32")
    wide = _generator(16, 3, 2, noisy=True)
    rows = _rows(4, 2) | _drawn(4, 16, 3) | {"mixing": tf.constant([[0.899, 0.999]] * 4)}
    rows |= {"truncation": tf.constant([0.0, 0.5, 0.7, 1.0])}
    expected, got = wide(rows, training=True), narrow(rows, training=True)
    assert all(variable.dtype == "float32" for variable in narrow.variables)
    assert got.dtype == tf.float32
    assert narrow.convs[0](tf.zeros((1, 4, 4, 12))).dtype == tf.bfloat16
    assert tf.norm(got - expected) < 0.05 * tf.norm(expected)
    np.testing.assert_allclose(narrow.w_average, wide.w_average, rtol=0.05, atol=1e-4)


def test_a_reloaded_savedmodel_paints_the_same(tmp_path):
    """The export's way with truncation, in batches of any size.

    Graph optimizers order float32 sums by what is constant: 1e-5. Red if the graph freezes the batch's size.
    """
    generator = _generator(8, noisy=True)
    generator.w_average.assign(_normal("average", 12))
    archive = keras.export.ExportArchive()
    archive.track(generator)
    signature = {
        "latents": tf.TensorSpec((None, 6), tf.float32, name="latents"),
        "truncation": tf.TensorSpec((None,), tf.float32, name="truncation"),
    }
    archive.add_endpoint("images", lambda rows: generator(rows, training=False), input_signature=[signature])
    archive.write_out(str(tmp_path / "generator"), verbose=False)
    reloaded = tf.saved_model.load(str(tmp_path / "generator"))
    for num_rows in (1, 3):
        rows = _rows(num_rows) | {"truncation": tf.linspace(0.4, 1.0, num_rows)}
        images = reloaded.images(rows)
        assert images.shape == (num_rows, 8, 8, 1)
        np.testing.assert_allclose(images, generator(rows), atol=1e-5)


def test_unknown_inputs_are_refused():
    """Red without the check: a misspelt key would quietly serve the untruncated image."""
    with pytest.raises(
        ValueError, match=r"unknown inputs \['labels', 'psi'\]; expected some of \['crossover', 'latents'"
    ):
        _generator()(_rows(2, 3) | {"psi": tf.ones(2)})


def test_blur_sets_the_discriminator_apart_from_progans():
    """Same weights, other logits. Red if the blur is not used."""
    images = {"images": _normal("images", 4, 16, 16, 1)}
    options = {"image_shape": (16, 16, 1), "num_classes": 0, "seed": 0}
    ours = stylegan.discriminator(CONFIG, **options)
    theirs = progan.discriminator(CONFIG, **options)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.all(ours(images) != theirs(images))

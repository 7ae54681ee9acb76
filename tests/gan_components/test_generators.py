"""The served signatures. Each test names the one-line change that turns it red."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components import generators
from gan_components.generators import Description, Generator


def network(num_classes: int, *, channels: int = 3) -> keras.Model:
    rows = keras.Input((8,), name="latents")
    inputs = {"latents": rows}
    if num_classes:
        inputs["labels"] = keras.Input((), dtype="int64", name="labels")
        rows = keras.layers.Concatenate()([rows, keras.layers.Embedding(num_classes, 4)(inputs["labels"])])
    rows = keras.layers.Dense(4 * 4 * channels, activation="tanh")(rows)
    return keras.Model(inputs, keras.layers.Reshape((4, 4, channels))(rows))


class Truncating(keras.Model):
    """``mean + psi (w - mean)`` before the network; the latents are w."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network = network
        self.mean = self.add_weight(shape=(8,), initializer="ones", trainable=False)

    def call(self, inputs, training=False):
        inputs = dict(inputs)
        psi = inputs.pop("truncation", None)
        if psi is not None:
            inputs["latents"] = self.mean + psi[:, None] * (inputs["latents"] - self.mean)
        return self.network(inputs, training=training)


@pytest.fixture(scope="module", params=[0, 3], ids=["unlabelled", "labelled"])
def saved(request, tmp_path_factory):
    keras.utils.set_random_seed(0)
    directory = tmp_path_factory.mktemp("model") / "generator"
    names = [f"class {i}" for i in range(request.param)]
    frequencies = [0.5, 0.3, 0.2][: request.param]
    model = network(request.param)
    generators.save(
        model,
        directory,
        Description(image_shape=[4, 4, 3], latent_dim=8, class_names=names, class_frequencies=frequencies),
    )
    return model, directory


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    keras.utils.set_random_seed(0)
    directory = tmp_path_factory.mktemp("model") / "generator"
    model = network(0, channels=6)
    description = Description(image_shape=[4, 4, 3], latent_dim=8, num_domains=2, latent_distribution="uniform")
    generators.save(model, directory, description)
    return model, directory


def call(directory, signature, **inputs):
    function = tf.saved_model.load(str(directory)).signatures[signature]
    return {k: v.numpy() for k, v in function(**{k: tf.constant(v) for k, v in inputs.items()}).items()}


def test_signatures_agree_with_one_another(saved):
    """Red if `images` skips the labels or `as_png` encodes another range."""
    _, directory = saved
    seeds = np.arange(6, dtype=np.int64)
    label = {"label": seeds % 3} if Generator.load(directory).description.num_classes else {}
    direct = call(directory, "images", seed=seeds, **label)["images"]
    latents = call(directory, "latents", seed=seeds)["latents"]
    np.testing.assert_array_equal(direct, call(directory, "from_latents", latents=latents, **label)["images"])
    encoded = call(directory, "serving_default", seed=seeds, **label)["image_bytes"]
    np.testing.assert_array_equal(direct, [tf.io.decode_png(data).numpy() for data in encoded])


def test_equals_the_network(saved):
    """Red if another model than the one given is tracked. One level: the graph may fuse what eager does not."""
    model, directory = saved
    latents = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    label = np.arange(5, dtype=np.int64) % 3
    labelled = len(model.inputs) == 2
    images = model({"latents": latents} | ({"labels": label} if labelled else {}))
    expected = np.round((np.asarray(images) + 1) * 127.5)
    got = call(directory, "from_latents", latents=latents, **({"label": label} if labelled else {}))["images"]
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_an_image_depends_on_its_seed_alone(saved):
    """Red if the latents of a batch are drawn together instead of row by row."""
    generator = Generator.load(saved[1])
    together = generator.images(range(7))
    alone = np.concatenate([generator.images([seed]) for seed in range(7)])
    assert np.abs(together.astype(int) - alone).max() <= 1
    assert len(np.unique(together.reshape(7, -1), axis=0)) == 7


def test_missing_labels_follow_the_training_frequencies(saved):
    """Red if labels are drawn uniformly. 3,000 draws: three deviations of a share are at most 0.027."""
    generator = Generator.load(saved[1])
    if not generator.description.num_classes:
        with pytest.raises(ValueError, match="without labels"):
            generator.images([0], labels=[0])
        return
    seeds = range(3000)
    drawn = generator.images(seeds)
    shares = [np.mean((drawn == generator.images(seeds, labels=[k] * 3000)).all((1, 2, 3))) for k in range(3)]
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.03)
    with pytest.raises(ValueError, match=r"0\.\.2"):
        generator.images([0], labels=[3])


def test_refuses_half_precision_and_wrong_shapes(tmp_path):
    """Red if `save` does not look at the network's dtype and shape."""
    with pytest.raises(ValueError, match="the description says"):
        generators.save(network(0), tmp_path / "a", Description(image_shape=[8, 8, 3], latent_dim=8))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = network(0)
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="float32"):
        generators.save(half, tmp_path / "b", Description(image_shape=[4, 4, 3], latent_dim=8))
    two = Description(image_shape=[4, 4, 3], latent_dim=8, num_domains=2)
    with pytest.raises(ValueError, match=r"\(4, 4, 3\), the description says \(4, 4, 6\)"):
        generators.save(network(0), tmp_path / "c", two)


def test_two_domains(pairs, saved):
    """Red if the channels are divided the other way round, or the second PNG shows the first domain."""
    model, directory = pairs
    seeds = np.arange(5, dtype=np.int64)
    latents = call(directory, "latents", seed=seeds)["latents"]
    expected = np.round((np.asarray(model({"latents": latents})) + 1) * 127.5)
    images = call(directory, "images", seed=seeds)
    got = np.concatenate([images["images"], images["images2"]], axis=-1)
    assert np.abs(got.astype(int) - expected).max() <= 1
    again = call(directory, "from_latents", latents=latents)
    encoded = call(directory, "serving_default", seed=seeds)
    generator = Generator.load(directory)
    drawn = dict(zip(("images", "images2"), generator.pairs(seeds, batch_size=2), strict=True))
    for name, key in (("images", "image_bytes"), ("images2", "image2_bytes")):
        np.testing.assert_array_equal(again[name], images[name])
        np.testing.assert_array_equal([tf.io.decode_png(png).numpy() for png in encoded[key]], images[name])
        assert np.abs(drawn[name].astype(int) - images[name]).max() <= 1
    np.testing.assert_array_equal(generator.images(seeds), images["images"])
    assert [len(part) for part in generator.pairs([])] == [0, 0]
    with pytest.raises(ValueError, match="one domain"):
        Generator.load(saved[1]).pairs(seeds)


def test_latents_are_distributed_as_described(saved, pairs):
    """Red if uniform latents are drawn from [0, 1), or the described distribution is not looked at.

    16,000 numbers: their mean deviates by 1/126 of theirs, the deviation by less than that; six of these.
    """
    for directory, deviation in ((saved[1], 1.0), (pairs[1], 3**-0.5)):
        latents = call(directory, "latents", seed=np.arange(2000))["latents"]
        assert abs(latents.mean()) < 6 * deviation / 126
        assert abs(latents.std() - deviation) < 6 * deviation / 126
        assert (np.abs(latents).max() <= 1) == (deviation < 1)


def test_truncation(tmp_path):
    """Red if psi is not passed on, or labels are lost on the way. Rounding may move a pixel by one level."""
    keras.utils.set_random_seed(0)
    names = ["a", "b", "c"]
    description = Description(
        image_shape=[4, 4, 3], latent_dim=8, truncation=True, class_names=names, class_frequencies=[1.0, 0.0, 0.0]
    )
    model = Truncating(network(3))
    generators.save(model, tmp_path / "generator", description)
    seeds = np.arange(6, dtype=np.int64)
    label = seeds % 3
    psi = np.array([1, 1, 1, 0, 0.5, 2], np.float32)
    got = call(tmp_path / "generator", "truncated", seed=seeds, truncation=psi, label=label)["images"].astype(int)
    plain = call(tmp_path / "generator", "images", seed=seeds, label=label)["images"]
    latents = call(tmp_path / "generator", "latents", seed=seeds)["latents"]
    moved = 1 + psi[:, None] * (latents - 1)
    expected = np.round((np.asarray(model.network({"latents": moved, "labels": label})) + 1) * 127.5)
    assert np.abs(got - expected).max() <= 1
    assert np.abs(got[:3] - plain[:3]).max() <= 1
    assert (np.abs(got[3:] - plain[3:]).max((1, 2, 3)) > 10).all()
    drawn = np.full(6, -1)
    by_seed = call(tmp_path / "generator", "truncated", seed=seeds, truncation=psi, label=drawn)["images"]
    of_first = call(tmp_path / "generator", "truncated", seed=seeds, truncation=psi, label=drawn * 0)["images"]
    np.testing.assert_array_equal(by_seed, of_first)

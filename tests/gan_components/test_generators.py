"""The served signatures. Each test names the one-line change that turns it red."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components import generators
from gan_components.generators import Description, Generator


def network(num_classes: int) -> keras.Model:
    latents = keras.Input((8,))
    label = [keras.Input((), dtype="int64")] if num_classes else []
    rows = latents
    if label:
        rows = keras.layers.Concatenate()([latents, keras.layers.Embedding(num_classes, 4)(label[0])])
    rows = keras.layers.Dense(4 * 4 * 3, activation="tanh")(rows)
    return keras.Model([latents, *label] if label else latents, keras.layers.Reshape((4, 4, 3))(rows))


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
    label = [np.arange(5) % 3] if len(model.inputs) == 2 else []
    expected = np.round((np.asarray(model([latents, *label] if label else latents)) + 1) * 127.5)
    inputs = {"label": label[0].astype(np.int64)} if label else {}
    got = call(directory, "from_latents", latents=latents, **inputs)["images"]
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

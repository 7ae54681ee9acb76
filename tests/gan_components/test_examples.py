"""Batches: whole epochs, full batches, an order that depends on nothing but seed and step."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from gan_components import examples
from gan_components.errors import InputError
from gan_components.ingestion.config import IngestConfig
from tests.gan_components.ingestion.folders import fill, make


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Some 40 labelled training images."""
    config = IngestConfig(source="image_folder", size=8, channels=3)
    return make(fill(tmp_path_factory.mktemp("data"), 50), tmp_path_factory.mktemp("out"), config)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    config = IngestConfig(source="image_folder", size=8, channels=1, labels=None)
    return make(fill(tmp_path_factory.mktemp("data"), 50), tmp_path_factory.mktemp("out"), config)


def order(num_images, *, batch_size, steps, seed=3):
    places = [examples.order_at(step, batch_size=batch_size, num_images=num_images, seed=seed) for step in steps]
    return np.concatenate(places)


@pytest.mark.parametrize(("num_images", "batch_size"), [(7, 7), (40, 7), (41, 8), (1000, 64), (2, 1)])
def test_each_epoch_is_a_permutation(num_images, batch_size):
    """Red if places are drawn independently, or an epoch's seed is used past its end."""
    seen = order(num_images, batch_size=batch_size, steps=range(3 * num_images // batch_size))
    for epoch in range(len(seen) // num_images):
        one = seen[epoch * num_images : (epoch + 1) * num_images]
        np.testing.assert_array_equal(np.sort(one), np.arange(num_images))


def test_epochs_and_seeds_differ_and_look_random():
    """Red if every epoch has the order of the first, or neighbours stay neighbours.

    The correlation of two random orders of 1,000 has standard deviation 1 / sqrt(1000) = 0.03; five of them.
    """
    seen = order(1000, batch_size=100, steps=range(20))
    other = order(1000, batch_size=100, steps=range(10), seed=4)
    pairs = [
        (seen[:1000], seen[1000:]),
        (seen[:1000], other),
        (seen[:1000], np.arange(1000)),
        (seen[:-1], seen[1:]),
    ]
    for one, two in pairs:
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.16


def test_resume_sees_what_it_would_have_seen(made):
    """Red if the order depends on where a run starts."""
    whole = list(examples.batches(made, batch_size=16, seed=1, start_step=0, num_steps=9))
    resumed = list(examples.batches(made, batch_size=16, seed=1, start_step=5, num_steps=4))
    assert (len(whole), len(resumed)) == (9, 4)
    for one, two in zip(whole[5:], resumed, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.parametrize("labelled", [True, False])
def test_records_and_memory_give_the_same(made, unlabelled, labelled, monkeypatch):
    """Red if the two ways to the images differ in shape, type, order or label."""
    source = made if labelled else unlabelled
    arguments = {"batch_size": 8, "seed": 2, "start_step": 3, "num_steps": 6}
    memory = examples.batches(source, **arguments)
    monkeypatch.setattr(examples, "MEMORY_LIMIT_BYTES", 0)
    records = examples.batches(source, **arguments)
    assert memory.element_spec == records.element_spec
    for one, two in zip(memory, records, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, two)
    images = tf.TensorSpec((8, 8, 8, 3 if labelled else 1), tf.uint8)
    assert memory.element_spec == ((images, tf.TensorSpec((8,), tf.int64)) if labelled else images)


@pytest.fixture(scope="module")
def paired(tmp_path_factory):
    """Labelled images and their negatives."""
    config = IngestConfig(source="image_folder", size=8, channels=3, second_domain="negative")
    return make(fill(tmp_path_factory.mktemp("data"), 50), tmp_path_factory.mktemp("out"), config)


def places(images, split_images):
    """Place in the split of each image."""
    known = {image.tobytes(): place for place, image in enumerate(split_images)}
    return np.array([known[image.tobytes()] for image in images])


@pytest.mark.parametrize("limit", [2**31, 0], ids=["memory", "records"])
def test_domains_are_shown_apart(paired, made, limit, monkeypatch):
    """Red if the second domain follows the first one's order, is not shown whole, or disturbs the first's order.

    Of N rows, two random orders agree in one on average; with probability 1e-7 in ten or more (Poisson).
    """
    monkeypatch.setattr(examples, "MEMORY_LIMIT_BYTES", limit)
    split = examples.read(paired, "train")
    count = len(split.images)
    epochs = {"batch_size": count, "seed": 0, "start_step": 0, "num_steps": 2}
    batches = examples.batches(paired, **epochs)
    assert batches.element_spec == tf.TensorSpec((count, 8, 8, 6), tf.uint8)
    alone = examples.batches(made, **epochs)
    first = [places(images[..., :3].numpy(), split.images) for images in batches]
    second = [places(images[..., 3:].numpy(), split.images2) for images in batches]
    for one, two, (images, _) in zip(first, second, alone, strict=True):
        np.testing.assert_array_equal(one, places(images.numpy(), split.images))
        np.testing.assert_array_equal(np.sort(two), np.arange(count))
        assert np.sum(one == two) < 10
    assert np.sum(second[0] == second[1]) < 10


def test_pairs_resume_and_come_from_records_alike(paired, monkeypatch):
    """Red if one way to the images takes the second domain from other places, or its order from the start."""
    whole = list(examples.batches(paired, batch_size=16, seed=1, start_step=0, num_steps=6))
    monkeypatch.setattr(examples, "MEMORY_LIMIT_BYTES", 0)
    resumed = list(examples.batches(paired, batch_size=16, seed=1, start_step=2, num_steps=4))
    for one, two in zip(whole[2:], resumed, strict=True):
        np.testing.assert_array_equal(one, two)


def test_batches_show_the_split(made):
    """Red if images and labels are paired wrongly, or come from the held-out split."""
    split = examples.read(made, "train")
    label = {image.tobytes(): int(label) for image, label in zip(split.images, split.labels, strict=True)}
    (images, labels), *_ = examples.batches(made, batch_size=len(label), seed=0, start_step=0, num_steps=1)
    assert {image.numpy().tobytes(): int(one) for image, one in zip(images, labels, strict=True)} == label


def test_batch_larger_than_the_split(made):
    """Red if a batch may hold an image twice."""
    with pytest.raises(InputError, match=rf"has {made.properties['num_train']} images, one batch takes 64"):
        examples.batches(made, batch_size=64, seed=0, start_step=0, num_steps=1)


@pytest.mark.slow
def test_replicas_take_their_rows_of_the_global_batch(made, tmp_path):
    """Red if batches are sharded by file or rebatched to other sizes; and `fit` must take them."""
    code = f"""
        import keras, numpy as np, tensorflow as tf
        from pathlib import Path
        from gan_components import examples
        from gan_components.artifacts import Examples
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        made = Examples.open(Path({str(made.directory)!r}))
        for examples.MEMORY_LIMIT_BYTES in (2**31, 0):
            batches = examples.batches(made, batch_size=16, seed=0, start_step=0, num_steps=3)
            for (shared, _), (images, _) in zip(strategy.experimental_distribute_dataset(batches), batches):
                rows = strategy.experimental_local_results(shared)
                assert [len(part) for part in rows] == [8, 8]
                np.testing.assert_array_equal(np.concatenate(rows), images)
            with strategy.scope():
                model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
                model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            model.fit(batches, verbose=0)
            assert model.optimizer.iterations == 3
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]

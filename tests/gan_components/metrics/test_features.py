"""Extractors: repeatable, accurate, cached, and never mixed up."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from gan_components.errors import ConfigError
from gan_components.metrics import features, frechet
from gan_components.metrics.features import classifier


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return (images[order] * 15.9).astype(np.uint8).reshape(-1, 8, 8, 1), labels[order]


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    images, labels = digits
    cache = tmp_path_factory.mktemp("cache")
    return features.extractor("auto", images[:1400], labels[:1400], num_classes=10, cache=cache), cache


def test_classifier_knows_unseen_digits(digits, trained):
    """At least 97 % of 397 held-out digits; red without normalization or with the labels shuffled."""
    images, labels = digits
    extractor, _ = trained
    assert extractor.identity.name == "classifier"
    assert np.mean(extractor.predict(images[1400:]) == labels[1400:]) >= 0.97
    found = extractor.features(images[1400:])
    assert found.shape == (397, extractor.identity.dimension)
    assert found.dtype == np.float32
    assert (found.std(axis=0) > 0).all(), "a constant feature measures nothing"


def test_classifier_is_repeatable_and_cached(digits, trained, tmp_path, monkeypatch):
    """Training anew gives the same bits; the second use does not train; red with an unseeded initializer."""
    images, labels = digits[0][:1400], digits[1][:1400]
    extractor, cache = trained
    again = features.extractor("classifier", images, labels, num_classes=10, cache=tmp_path)
    assert again.identity == extractor.identity
    monkeypatch.setattr(classifier, "_train", lambda *_: pytest.fail("trained although cached"))
    cached = features.extractor("classifier", images, labels, num_classes=10, cache=cache)
    assert cached.identity == extractor.identity
    np.testing.assert_array_equal(cached.features(images[:50]), extractor.features(images[:50]))
    assert [path.name for path in (cache / "extractors").glob("*/*")] == ["weights.npz"]


def test_other_data_is_another_extractor(digits, trained):
    """Red if the labels do not enter the cache's key."""
    images, labels = digits
    keys = {classifier._recipe(images[:9], labels[:9], 10), classifier._recipe(images[:9], labels[1:10], 10)}
    keys |= {classifier._recipe(images[1:10], labels[:9], 10), classifier._recipe(images[:9], labels[:9], 11)}
    assert len(keys) == 4


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (33, 20, 3), (100, 100, 3)])
def test_networks_fit_every_shape(shape):
    """Red if a small or odd image is convolved away."""
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    network = classifier._network(shape, 4)
    assert classifier._extractor(network).features(images).shape == (3, 64)
    for extractor in (features.random_conv_extractor(shape), features.pixel_extractor(shape)):
        assert extractor.features(images).shape == (3, extractor.identity.dimension)


def test_random_features_order_degradations(digits):
    """More noise, larger distance, from one fixed network; red if the weights are drawn anew each time."""
    images, _ = digits
    extractor = features.random_conv_extractor((8, 8, 1))
    assert extractor.identity == features.random_conv_extractor((8, 8, 1)).identity
    noise = np.random.default_rng(0).normal(size=images[800:1600].shape)
    real = extractor.features(images[:800])
    distances = [
        frechet.distance_of_features(
            real,
            extractor.features(np.clip(images[800:1600] + scale * noise, 0, 255).astype(np.uint8)),
        )
        for scale in (0, 20, 60)
    ]
    assert 1.2 * distances[0] < distances[1] < distances[2] / 2


def test_features_do_not_depend_on_the_batch(digits, trained):
    """Red if the classifier runs in training mode. 1e-4: float32 sums in another order, features near 1."""
    images, _ = digits
    for extractor in (trained[0], features.random_conv_extractor((8, 8, 1))):
        alone = np.concatenate([extractor.features(image[None]) for image in images[:5]])
        np.testing.assert_allclose(extractor.features(images[:300])[:5], alone, atol=1e-4)


def test_auto():
    """Red if one class counts as labelled."""
    assert features.resolve("auto", 2) == "classifier"
    assert features.resolve("auto", 1) == "random_conv"
    assert features.resolve("pixels", 9) == "pixels"
    with pytest.raises(ConfigError, match="at least two labelled classes, the data has 0"):
        features.resolve("classifier", 0)


def test_differences_are_named():
    """Red if the check compares the names only."""
    identity = features.pixel_extractor((8, 8, 1)).identity
    with pytest.raises(ValueError, match="layer 8x8x1 input and 4x4x1 input; dimension 64 and 16"):
        features.require_same(identity, features.pixel_extractor((4, 4, 1)).identity)
    features.require_same(identity, features.pixel_extractor((8, 8, 1)).identity)

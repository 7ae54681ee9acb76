"""Networks of keras.applications as extractors, with weights from a file."""

import keras
import numpy as np
import pytest

from gan_components import randomness
from gan_components.errors import ConfigError, InputError
from gan_components.metrics import features


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    keras.utils.set_random_seed(1)
    keras.applications.MobileNetV2(include_top=False, weights=None, pooling="avg").save_weights(path)
    return path


def _extractor(name: str, weights, tmp_path) -> features.Extractor:
    images = np.zeros((1, 12, 12, 1), np.uint8)
    return features.extractor(name, images, None, num_classes=0, cache=tmp_path, weights=weights)


@pytest.mark.slow
def test_features_are_the_networks_own(weights, tmp_path):
    """Grey repeated, resized, preprocessed to [-1, 1]. Red if its preprocessing is left out."""
    extractor = _extractor("keras:MobileNetV2", weights, tmp_path)
    assert extractor.identity.name == "keras_mobilenetv2"
    assert features.space("keras:MobileNetV2", 0) == "keras_mobilenetv2"
    images = randomness.numpy_generator(0, "pixels").integers(0, 256, (3, 224, 224, 1), np.uint8)
    network = keras.applications.MobileNetV2(include_top=False, weights=None, pooling="avg")
    network.load_weights(weights)
    expected = network(np.repeat(images, 3, -1).astype(np.float32) / 127.5 - 1, training=False)
    np.testing.assert_allclose(extractor.features(images), expected, rtol=1e-4, atol=1e-5)
    assert extractor.features(np.zeros((2, 12, 30, 3), np.uint8)).shape == (2, extractor.identity.dimension)


@pytest.mark.slow
def test_other_weights_are_another_identity(weights, tmp_path):
    """Red if the identity is the network's name alone."""
    keras.utils.set_random_seed(2)
    other = tmp_path / "other.weights.h5"
    keras.applications.MobileNetV2(include_top=False, weights=None, pooling="avg").save_weights(other)
    identities = [_extractor("keras:MobileNetV2", path, tmp_path).identity for path in (weights, other)]
    assert identities[0] != identities[1]


def test_what_cannot_be_loaded(weights, tmp_path):
    """Red if the random initial weights are used when the file does not fit."""
    with pytest.raises(ConfigError, match="has no network 'MobileNet9'; it has "):
        _extractor("keras:MobileNet9", weights, tmp_path)
    (tmp_path / "no.weights.h5").write_bytes(b"nothing")
    with pytest.raises(InputError, match="--weights FILE"):
        _extractor("keras:MobileNetV2", tmp_path / "no.weights.h5", tmp_path)
    with pytest.raises(InputError, match="--weights FILE"):
        _extractor("keras:MobileNet", weights, tmp_path)
    with pytest.raises(ConfigError, match="random_conv reads no file"):
        _extractor("random_conv", weights, tmp_path)

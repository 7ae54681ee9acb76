"""Parity with torch-fidelity's network on random weights; the golden values need no PyTorch, see tests/golden."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from gan_components.errors import InputError
from gan_components.metrics.features import inception
from tests.gan_components.metrics.test_inception_weights import graph_of
from tests.golden import random_inception

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return random_inception.weights(json.loads((GOLDEN / "inception_shapes.json").read_text()))


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "inception.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def network(weights) -> keras.Model:
    return inception.network(weights)


def _largest_difference(network: keras.Model, expected: dict[str, np.ndarray], size: str) -> float:
    """Over all taps."""
    taps = network(random_inception.images(size).astype(np.float32))
    assert {name: values.shape[1] for name, values in taps.items()} == inception.TAPS
    return max(np.abs(values.numpy()[:, ::8] - expected[f"{size} {name}"]).max() for name, values in taps.items())


@pytest.mark.slow
@pytest.mark.parametrize("size", random_inception.SIZES)
def test_features_are_torch_fidelitys(network, expected, size):
    """All taps within 1e-4, the tolerance that torch-fidelity holds against TensorFlow 1: features are of order 1,
    and a sum of 2,000 float32 products in another order differs by 1e-5.

    Red with each of the mutants below.
    """
    assert _largest_difference(network, expected, size) < 1e-4


def _half_pixels(patch) -> None:
    def resized(images):
        return (keras.ops.image.resize(images, (299, 299), "bilinear") - 128.0) / 128.0

    patch.setattr(inception, "_resized", resized)


def _other_range(patch) -> None:
    right = inception._resized
    patch.setattr(inception, "_resized", lambda images: (right(images) * 128.0 + 128.0) / 127.5 - 1.0)


def _other_epsilon(patch) -> None:
    patch.setattr(inception, "_EPSILON", 1e-5)


def _means_at_the_end(patch) -> None:
    right = inception._Builder.block_8
    block = lambda self, x, name, pooling: right(self, x, name, keras.layers.AveragePooling2D)  # noqa: E731
    patch.setattr(inception._Builder, "block_8", block)


def _padding_counts(patch) -> None:
    right = inception._Builder._pooled

    class Padded(keras.layers.Layer):
        def __init__(self, *_) -> None:
            super().__init__()

        def call(self, x):
            padded = keras.ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
            return keras.ops.average_pool(padded, 3, 1, "valid")

    def pooled(self, x, name, filters, pooling):
        return right(self, x, name, filters, Padded if pooling is keras.layers.AveragePooling2D else pooling)

    patch.setattr(inception._Builder, "_pooled", pooled)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutate", [_half_pixels, _other_range, _other_epsilon, _means_at_the_end, _padding_counts]
)
def test_mutants_are_told_apart(weights, expected, monkeypatch, mutate):
    """What other implementations do differently shows in the comparison above. Red if the golden values are too
    few or the tolerance too wide to see it.
    """
    mutate(monkeypatch)
    assert _largest_difference(inception.network(weights), expected, "32x32") > 1e-3


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("Mixed_6c.branch7x7_2.bn.bias"), "lack Mixed_6c.branch7x7_2.bn.bias"),
        (lambda w: w.update({"fc.bias": np.zeros(1000, np.float32)}), r"fc.bias has the shape \(1000,\)"),
        (lambda w: w.update({"AuxLogits.fc.bias": np.zeros(5, np.float32)}), "1 tensors too many, such as Aux"),
    ],
    ids=["missing", "other shape", "left over"],
)
def test_other_weights_are_refused(weights, change, message):
    """Red without the check: torchvision's Inception has nearly the same names."""
    changed = dict(weights)
    change(changed)
    with pytest.raises(InputError, match=message):
        inception.network(changed)


@pytest.mark.slow
def test_the_extractor_reads_a_frozen_graph(weights, expected, tmp_path):
    """From a file to features, grey images too; an image's features do not depend on its batch.

    1e-5: the batch decides how sums are split. Red if grey images are refused or a batch is normalised.
    """
    path = tmp_path / "graph.pb"
    path.write_bytes(graph_of(weights))
    extractor = inception.inception_extractor(path, tmp_path)
    assert (extractor.identity.name, extractor.identity.layer, extractor.identity.dimension) == (
        "inception",
        "2048",
        2048,
    )
    images = random_inception.images("32x32")
    features = extractor.features(images)
    assert np.abs(features[:, ::8] - expected["32x32 2048"]).max() < 1e-4
    np.testing.assert_allclose(extractor.features(images[1:])[0], features[1], rtol=0, atol=1e-5)
    grey = images[..., :1]
    np.testing.assert_array_equal(extractor.features(grey), extractor.features(np.concatenate([grey] * 3, -1)))

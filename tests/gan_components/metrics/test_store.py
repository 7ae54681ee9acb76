"""Features of real images are computed once."""

import numpy as np
import pytest

from gan_components.metrics import features
from gan_components.metrics.features import store

IDENTITY = features.pixel_extractor((2, 2, 1)).identity
ARRAYS = {"layer": np.arange(6, dtype=np.float32).reshape(2, 3)}


def _stored(tmp_path, compute, *, images="images", identity=IDENTITY):
    return store.stored(compute, images_digest=images, identity=identity, cache=tmp_path)


def test_the_second_time_nothing_is_computed(tmp_path):
    """Red if the file is not looked for, or its path depends on more than the two digests."""
    assert _stored(tmp_path, lambda: ARRAYS) is ARRAYS
    again = _stored(tmp_path, lambda: pytest.fail("computed again"))
    np.testing.assert_array_equal(again["layer"], ARRAYS["layer"])


def test_other_images_and_other_extractors_are_computed(tmp_path):
    """Red if either is left out of the key."""
    _stored(tmp_path, lambda: ARRAYS)
    other = {"layer": np.zeros((1, 1), np.float32)}
    assert _stored(tmp_path, lambda: other, images="others") is other
    assert _stored(tmp_path, lambda: other, identity=IDENTITY.model_copy(update={"layer": "x"})) is other

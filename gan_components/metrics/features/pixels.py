"""Raw pixels as features: no network, no assumption, and no tolerance for a shifted image."""

import math

import numpy as np

from gan_components.metrics.extractor import Extractor, Identity


def pixel_extractor(image_shape: tuple[int, ...]) -> Extractor:
    """Features are the pixel values 0 to 255 of an image ``[H, W, C]``, flattened."""
    dimension = math.prod(image_shape)
    identity = Identity(
        name="pixels",
        digest="none: no weights",
        preprocessing="none",
        layer="x".join(map(str, image_shape)) + " input",
        dimension=dimension,
    )
    return Extractor(identity, lambda images: images.reshape(len(images), dimension).astype(np.float32))

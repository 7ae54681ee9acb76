"""Feature extractors: the spaces in which generated and real images are compared."""

from pathlib import Path

import numpy as np

from gan_components.errors import ConfigError
from gan_components.metrics.extractor import Extractor as Extractor
from gan_components.metrics.extractor import Identity as Identity
from gan_components.metrics.extractor import require_same as require_same
from gan_components.metrics.features.classifier import classifier_extractor as classifier_extractor
from gan_components.metrics.features.inception import inception_extractor as inception_extractor
from gan_components.metrics.features.keras_application import PREFIX
from gan_components.metrics.features.keras_application import keras_extractor as keras_extractor
from gan_components.metrics.features.pixels import pixel_extractor as pixel_extractor
from gan_components.metrics.features.random_conv import random_conv_extractor as random_conv_extractor


def resolve(name: str, num_classes: int) -> str:
    """The extractor's name that ``auto`` stands for; other names stand for themselves.

    Raises:
        ConfigError: ``classifier`` with fewer than two labelled classes.
    """
    if name == "auto":
        return "classifier" if num_classes >= 2 else "random_conv"
    if name == "classifier" and num_classes < 2:
        raise ConfigError(
            f"features: classifier needs at least two labelled classes, the data has {num_classes}; "
            "choose auto or random_conv"
        )
    return name


def space(name: str, num_classes: int) -> str:
    """Name of the identity that :func:`extractor` will have: ``keras_mobilenetv2`` for ``keras:MobileNetV2``."""
    name = resolve(name, num_classes)
    return f"keras_{name.removeprefix(PREFIX).lower()}" if name.startswith(PREFIX) else name


def extractor(
    name: str,
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    num_classes: int,
    cache: Path,
    weights: Path | None = None,
) -> Extractor:
    """The extractor that a configuration names, made or taken from the cache.

    Args:
        name: ``auto``, ``classifier``, ``random_conv``, ``pixels``, ``inception`` or ``keras:NAME``.
        images: uint8 ``[N, H, W, C]``, the train split; only ``classifier`` looks at more than its shape.
        labels: int ``[N]`` in [0, num_classes), or None.
        num_classes: of the data set; 0 without labels.
        cache: root of the shared caches; a trained extractor lies in ``extractors/<digest>`` below it.
        weights: file of a published network; None: it is downloaded once.

    Raises:
        ConfigError: no such extractor, or weights for one that has none.
        InputError: the weights cannot be had.
    """
    name = resolve(name, 0 if labels is None else num_classes)
    if name == "inception":
        return inception_extractor(weights, cache)
    if name.startswith(PREFIX):
        return keras_extractor(name.removeprefix(PREFIX), weights)
    if weights is not None:
        raise ConfigError(f"--weights goes with the features inception and keras:NAME; {name} reads no file")
    if name == "classifier" and labels is not None:
        return classifier_extractor(images, labels, num_classes=num_classes, cache=cache)
    shape = images.shape[1:]
    return random_conv_extractor(shape) if name == "random_conv" else pixel_extractor(shape)

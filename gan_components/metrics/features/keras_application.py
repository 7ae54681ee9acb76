"""Networks of ``keras.applications`` as feature extractors: ``keras:NAME``."""

import hashlib
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from gan_components.errors import ConfigError, InputError
from gan_components.metrics.extractor import Extractor, Identity

PREFIX = "keras:"
_BATCH_SIZE = 32


def keras_extractor(name: str, weights: Path | None) -> Extractor:
    """Spatial means of the last feature map of a network that was trained on ImageNet.

    Images of any size are resized bilinearly, with antialiasing where they shrink, to the side for which the
    network was made, grey ones repeated into red, green and blue, and pass through the network's own
    preprocessing. ``keras:InceptionV3`` is another network than FID's: its distance is ``fd_keras_inceptionv3``.

    Args:
        name: of a function in ``keras.applications``, such as ``MobileNetV2``.
        weights: a weights file of the network without its top; None: Keras downloads its own once.

    Raises:
        ConfigError: no such network.
        InputError: the weights cannot be had, or are another network's.
    """
    make = getattr(keras.applications, name, None)
    if not callable(make):
        known = ", ".join(each for each in dir(keras.applications) if each[0].isupper())
        raise ConfigError(f"keras.applications has no network {name!r}; it has {known}")
    side = make(weights=None).input_shape[1]
    try:
        source = "imagenet" if weights is None else None
        network = make(include_top=False, weights=source, input_shape=(side, side, 3), pooling="avg")
        if weights is not None:
            network.load_weights(weights)
    except Exception as error:  # Keras raises a bare Exception when its download fails.
        where = f"the file {weights}" if weights else "Keras' download"
        raise InputError(
            f"{where} gave no weights of {name} without its top: {error}; give a file that "
            f"keras.applications.{name}(include_top=False) can load with --weights FILE"
        ) from error
    preprocess = sys.modules[make.__module__].preprocess_input

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def means(images: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(images, (side, side), antialias=True)
        return network(preprocess(resized), training=False)

    def features(images: np.ndarray) -> np.ndarray:
        colour = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
        starts = range(0, len(images), _BATCH_SIZE)
        return np.concatenate([means(colour[i : i + _BATCH_SIZE]).numpy() for i in starts])

    digest = hashlib.sha256()
    for weight in network.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    identity = Identity(
        name=f"keras_{name.lower()}",
        digest=digest.hexdigest(),
        preprocessing=f"antialiased bilinear resize to {side}x{side}, the network's own, grey repeated",
        layer="mean of the last feature map",
        dimension=network.output_shape[-1],
    )
    return Extractor(identity, features)

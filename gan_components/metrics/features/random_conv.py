"""Random convolutional features: a fixed, untrained network, for images without labels."""

import hashlib

import numpy as np
import tensorflow as tf

from gan_components import images as pictures
from gan_components import randomness
from gan_components.metrics.extractor import Extractor, Identity

# One network for all runs: distances of two runs compare whatever seeds they were trained with.
_SEED = 0
# Few features: the bias of a Fréchet distance grows with the square of their number.
_WIDTHS = (8, 8, 8)
_BATCH_SIZE = 256


def random_conv_extractor(image_shape: tuple[int, ...]) -> Extractor:
    """Mean activations, over the quarters of the image, of three random layers.

    Each layer is a 3x3 convolution of stride 2 with He-normal filters and a ReLU; its activations are
    averaged over a 2x2 grid and the three results are concatenated to 96 features. Random networks keep
    distances well enough to compare generators where ImageNet features mean nothing (Naeem et al. 2020,
    https://arxiv.org/abs/2002.09797, proposes them for that).

    Args:
        image_shape: ``(H, W, C)``.

    Example:
        >>> random_conv_extractor((28, 28, 1)).features(np.zeros((2, 28, 28, 1), np.uint8)).shape
        (2, 96)
    """
    random = randomness.numpy_generator(_SEED, "random_conv")
    kernels, digest, channels = [], hashlib.sha256(), image_shape[-1]
    for width in _WIDTHS:
        scale = np.sqrt(2 / (9 * channels))
        kernel = random.normal(scale=scale, size=(3, 3, channels, width)).astype(np.float32)
        kernels.append(tf.constant(kernel))
        digest.update(kernel.tobytes())
        channels = width

    @tf.function(input_signature=[tf.TensorSpec([None, *image_shape], tf.uint8)])
    def network(images: tf.Tensor) -> tf.Tensor:
        x, layers = pictures.to_float(images), []
        for kernel in kernels:
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, strides=2, padding="SAME"))
            layers.append(_quarters(x))
        return tf.concat(layers, axis=1)

    def features(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), _BATCH_SIZE)
        return np.concatenate([network(images[i : i + _BATCH_SIZE]).numpy() for i in starts])

    identity = Identity(
        name="random_conv",
        digest=digest.hexdigest(),
        preprocessing="uint8 / 127.5 - 1",
        layer="2x2 means of three 3x3 stride-2 ReLU convolutions",
        dimension=4 * sum(_WIDTHS),
    )
    return Extractor(identity, features)


def _quarters(x: tf.Tensor) -> tf.Tensor:
    """Means over the four quarters of float32 ``[N, H, W, C]``: ``[N, 4 * C]``."""
    middle_y, middle_x = (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2
    bands = (x[:, :middle_y], x[:, x.shape[1] // 2 :])
    parts = [part for band in bands for part in (band[:, :, :middle_x], band[:, :, x.shape[2] // 2 :])]
    return tf.concat([tf.reduce_mean(part, axis=(1, 2)) for part in parts], axis=1)

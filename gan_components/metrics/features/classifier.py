"""Features of a small classifier trained on the train split: the default space for labelled images.

Distances in it are called ``fd_classifier``. They are no FID, which only the 2015 Inception network gives,
and compare only under the same trained weights (:class:`Identity`).
"""

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from gan_components import images as pictures
from gan_components import randomness
from gan_components.fingerprints import closure, digest_json
from gan_components.metrics.extractor import Extractor, Identity
from gan_components.metrics.features import store

# Fixed, not the run's seed: runs that differ in nothing but their seed still share one extractor.
_SEED = 0
_DIMENSION = 64
_WIDTHS = (32, 64, 64)
_STEPS = 500
_BATCH_SIZE = 64
_LARGEST_SIDE = 64
_SHIFT = 2


def classifier_extractor(images: np.ndarray, labels: np.ndarray, *, num_classes: int, cache: Path) -> Extractor:
    """The penultimate layer of a small CNN trained to tell the classes of the train split apart.

    Training takes some ten seconds on two cores for 28x28 images, whatever their number, and is repeatable:
    initial weights, order and shifts come from fixed streams.

    Args:
        images: uint8 ``[N, H, W, C]``, the train split only: held-out images must stay unseen.
        labels: int ``[N]`` in [0, num_classes).
        num_classes: at least 2.
        cache: root of the shared caches; the weights lie in ``extractors/<digest>/weights.npz``.
    """
    network = _network(images.shape[1:], num_classes)
    path = cache / "extractors" / _recipe(images, labels, num_classes) / "weights.npz"
    if path.exists():
        network.set_weights(list(store.read(path).values()))
    else:
        _train(network, images, labels)
        store.write(path, {f"weight{place:03}": weight for place, weight in enumerate(network.get_weights())})
    return _extractor(network)


def _network(image_shape: tuple[int, ...], num_classes: int) -> keras.Model:
    def seeded(name: str) -> keras.initializers.Initializer:
        return keras.initializers.HeNormal(seed=randomness.integer(_SEED, f"classifier/{name}"))

    def normalized(layer: keras.layers.Layer, x):
        # Training is short: the moving averages must follow within some tens of steps. Before each ReLU,
        # normalization also keeps units from dying (without it, 18 of 64 features were constant).
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"{layer.name}_norm")(layer(x))
        return keras.layers.ReLU(name=f"{layer.name}_relu")(x)

    def convolution(name: str, width: int, kernel: int, strides: int) -> keras.layers.Layer:
        return keras.layers.Conv2D(
            width, kernel, strides, "same", use_bias=False, kernel_initializer=seeded(name), name=name
        )

    side = max(image_shape[:2])
    x = inputs = keras.Input(image_shape, dtype="float32")
    if side > _LARGEST_SIDE:
        x = keras.layers.AveragePooling2D(-(-side // _LARGEST_SIDE), padding="same")(x)
    x = normalized(convolution("level0", _WIDTHS[0], kernel=5, strides=1 if side <= 16 else 2), x)
    level = 0
    while max(x.shape[1:3]) > 4:
        level += 1
        width = _WIDTHS[min(level, len(_WIDTHS) - 1)]
        x = normalized(convolution(f"level{level}", width, kernel=3, strides=2), x)
    x = keras.layers.Flatten(name="flat")(x)
    dense = keras.layers.Dense(_DIMENSION, use_bias=False, kernel_initializer=seeded("features"), name="features")
    x = normalized(dense, x)
    logits = keras.layers.Dense(num_classes, kernel_initializer=seeded("logits"), name="logits")(x)
    return keras.Model(inputs, {"features": x, "logits": logits}, name="classifier")


def _train(network: keras.Model, images: np.ndarray, labels: np.ndarray) -> None:
    random = randomness.numpy_generator(_SEED, "classifier/batches")
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, _STEPS))
    optimizer.build(network.trainable_variables)
    # Smoothed labels keep the features from growing without end once all training images are right.
    smoothing, num_classes = 0.1, network.output["logits"].shape[-1]
    size = min(_BATCH_SIZE, len(images))

    @tf.function(
        input_signature=[
            tf.TensorSpec([size, *images.shape[1:]], tf.uint8),
            tf.TensorSpec([size], tf.int64),
        ]
    )
    def step(batch: tf.Tensor, targets: tf.Tensor) -> None:
        wanted = (1 - smoothing) * tf.one_hot(targets, num_classes) + smoothing / num_classes
        with tf.GradientTape() as tape:
            logits = network(pictures.to_float(batch), training=True)["logits"]
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, logits))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))

    order = np.zeros(0, np.int64)
    for _ in range(_STEPS):
        if len(order) < size:
            order = random.permutation(len(images))
        rows, order = order[:size], order[size:]
        step(_shifted(images[rows], random), labels[rows].astype(np.int64))


def _shifted(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Moves each image by up to two pixels; what leaves on one side is replaced by the border's pixels."""
    count, height, width, _ = images.shape
    reach = min(_SHIFT, height // 8, width // 8)
    y = np.clip(np.arange(height) + random.integers(-reach, reach + 1, (count, 1)), 0, height - 1)
    x = np.clip(np.arange(width) + random.integers(-reach, reach + 1, (count, 1)), 0, width - 1)
    return images[np.arange(count)[:, None, None], y[:, :, None], x[:, None, :]]


def _extractor(network: keras.Model) -> Extractor:
    apply = tf.function(
        lambda images: network(pictures.to_float(images), training=False),
        input_signature=[tf.TensorSpec([None, *network.input_shape[1:]], tf.uint8)],
    )

    def outputs(images: np.ndarray, name: str) -> np.ndarray:
        return np.concatenate([apply(images[i : i + 256])[name].numpy() for i in range(0, len(images), 256)])

    digest = hashlib.sha256()
    for weight in network.get_weights():
        digest.update(str(weight.shape).encode() + weight.tobytes())
    identity = Identity(
        name="classifier",
        digest=digest.hexdigest(),
        preprocessing="uint8 / 127.5 - 1",
        layer="penultimate, after ReLU",
        dimension=_DIMENSION,
    )
    return Extractor(
        identity,
        features=lambda images: outputs(images, "features"),
        predict=lambda images: outputs(images, "logits").argmax(axis=1),
    )


def _recipe(images: np.ndarray, labels: np.ndarray, num_classes: int) -> str:
    """What decides the weights: data, code and libraries."""
    code, libraries = closure("metrics/features")
    decisive: dict[str, Any] = {
        "images": hashlib.sha256(np.ascontiguousarray(images).data).hexdigest(),
        "shape": images.shape,
        "labels": hashlib.sha256(np.ascontiguousarray(labels, np.int64).data).hexdigest(),
        "num_classes": num_classes,
        "code": code,
        "libraries": libraries,
    }
    return digest_json(decisive)[:32]

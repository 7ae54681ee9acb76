"""DCGAN for square images, with labels where there are any.

Radford, Metz, Chintala 2015, https://arxiv.org/abs/1511.06434: strided convolutions, ReLU in the generator,
LeakyReLU 0.2 in the discriminator, tanh at the end, channels doubling as the resolution halves. The
discriminator has no normalisation: BatchNorm ties the images of a batch together, and a gradient penalty
needs each logit to depend on its own image alone.

Labels enter the generator as an embedding joined to the latents and the discriminator as a projection
(Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637): ``D(x, y) = v.h(x) + e(y).h(x)``.

Construction is a pure function of its arguments: every initializer has a seed of its own, derived from the
name of its layer, and no layer keeps random state.
"""

import keras
from keras import layers

from gan_components import randomness
from gan_components.errors import InputError
from gan_components.networks import spectral_norm
from gan_components.networks.config import Dcgan

LABEL_DIM = 50
# From 7x7x128 inputs, 256 features would hold 92 % of the discriminator's weights and cost 16 % more processor
# time a step; the digits reach 99 % with 64.
PROJECTION_DIM = 64


def generator(
    config: Dcgan, *, image_shape: tuple[int, int, int], latent_dim: int, num_classes: int, seed: int
) -> keras.Model:
    """Maps latents to images in [-1, 1].

    Args:
        config: the section ``train.network``.
        image_shape: ``(H, W, C)``; H = W, a multiple of 4.
        latent_dim: D of the latents.
        num_classes: with 0 the model takes no labels.
        seed: of the initial weights.

    Returns:
        A model of ``{"latents": float32 [N, D], "labels": int64 [N]}`` with float32 output ``[N, H, W, C]``.

    Raises:
        InputError: the images have another shape.
    """
    side, levels = _pyramid(image_shape)
    latents = keras.Input((latent_dim,), name="latents")
    inputs, x = {"latents": latents}, latents
    if num_classes:
        labels = inputs["labels"] = keras.Input((), dtype="int64", name="labels")
        x = layers.Concatenate()([latents, _embedding(labels, num_classes, LABEL_DIM, seed, "generator")])

    channels = config.base_channels * 2 ** (levels - 1)
    x = layers.Dense(side * side * channels, use_bias=False, **_named(seed, "generator/dense"))(x)
    x = layers.Reshape((side, side, channels))(x)
    x = _normalised_relu(x, "generator/norm0")
    for level in range(1, levels):
        channels //= 2
        x = layers.Conv2DTranspose(
            channels, 4, 2, padding="same", use_bias=False, **_named(seed, f"generator/conv{level}")
        )(x)
        x = _normalised_relu(x, f"generator/norm{level}")
    x = layers.Conv2DTranspose(image_shape[-1], 4, 2, padding="same", **_named(seed, "generator/image"))(x)
    # Under mixed precision the image, like every output, stays float32.
    images = layers.Activation("tanh", dtype="float32", name="images")(x)
    return keras.Model(inputs, images, name="generator")


def discriminator(config: Dcgan, *, image_shape: tuple[int, int, int], num_classes: int, seed: int) -> keras.Model:
    """Maps images in [-1, 1] to logits: positive means real.

    Args:
        config: the section ``train.network``.
        image_shape: ``(H, W, C)``; H = W, a multiple of 4.
        num_classes: with 0 the model takes no labels.
        seed: of the initial weights.

    Returns:
        A model of ``{"images": float32 [N, H, W, C], "labels": int64 [N]}`` with float32 output ``[N]``.

    Raises:
        InputError: the images have another shape.
    """
    _, levels = _pyramid(image_shape)
    bounded = spectral_norm.constrained if config.spectral_norm else _unchanged
    images = keras.Input(image_shape, name="images")
    x = images
    for level in range(levels):
        name = f"discriminator/conv{level}"
        x = bounded(layers.Conv2D(config.base_channels * 2**level, 4, 2, padding="same", **_named(seed, name)))(x)
        x = _leaky_relu(x)
    x = layers.Flatten()(x)
    if not num_classes:
        logits = bounded(layers.Dense(1, **_named(seed, "discriminator/logit")))(x)
        return keras.Model({"images": images}, _float32_rows(logits), name="discriminator")

    labels = keras.Input((), dtype="int64", name="labels")
    h = bounded(layers.Dense(PROJECTION_DIM, **_named(seed, "discriminator/features")))(x)
    h = _leaky_relu(h)
    embedding = _embedding(labels, num_classes, PROJECTION_DIM, seed, "discriminator")
    logits = layers.Add()(
        [bounded(layers.Dense(1, **_named(seed, "discriminator/logit")))(h), layers.Dot(1)([embedding, h])]
    )
    return keras.Model({"images": images, "labels": labels}, _float32_rows(logits), name="discriminator")


def _unchanged(layer: layers.Layer) -> layers.Layer:
    return layer


def _pyramid(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Side of the smallest feature map and number of halvings that lead to it: 28 -> 7, 2; 64 -> 4, 4."""
    height, width, _ = image_shape
    if height != width or height % 4:
        raise InputError(
            f"dcgan makes square images whose side is a multiple of 4, these are {height}x{width}; "
            "set ingest.size to such a side"
        )
    side, levels = height // 4, 2
    while side > 4 and side % 2 == 0:
        side, levels = side // 2, levels + 1
    return side, levels


def _named(seed: int, name: str) -> dict:
    """Name and seeded initializer of a layer with a kernel."""
    initializer = keras.initializers.GlorotUniform(seed=randomness.integer(seed, name))
    return {"name": name.replace("/", "_"), "kernel_initializer": initializer}


def _normalised_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    # Synchronised: replicas share the statistics of the global batch, so that one device and many agree.
    x = layers.BatchNormalization(momentum=0.9, synchronized=True, name=name.replace("/", "_"))(x)
    return layers.ReLU()(x)


def _leaky_relu(x: keras.KerasTensor) -> keras.KerasTensor:
    # Not keras.layers.LeakyReLU: with its operation TensorFlow 2.21's graph optimizer stumbles over the second
    # derivative of R1 ("remapper failed" on stderr). Equally fast.
    return keras.ops.maximum(0.2 * x, x)


def _embedding(
    labels: keras.KerasTensor, num_classes: int, dim: int, seed: int, network: str
) -> keras.KerasTensor:
    # A one-hot product, not keras.layers.Embedding: its gradient is dense, which optimizers, all-reduce,
    # op determinism and XLA treat like any other.
    one_hot = layers.CategoryEncoding(num_classes, "one_hot")(labels)
    return layers.Dense(dim, use_bias=False, **_named(seed, f"{network}/label"))(one_hot)


def _float32_rows(logits: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Reshape((), dtype="float32", name="logits")(logits)

"""DCGAN for square images, with labels where there are any.

Radford, Metz, Chintala 2015, https://arxiv.org/abs/1511.06434: strided convolutions, ReLU in the generator,
LeakyReLU 0.2 in the discriminator, tanh at the end, channels doubling as the resolution halves. The
discriminator has no batch normalisation: it ties the images of a batch together, and a gradient penalty needs
each logit to depend on its own image alone.

Labels enter the generator as an embedding joined to the latents and the discriminator as a projection
(Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637): ``D(x, y) = v.h(x) + e(y).h(x)``.

Construction is a pure function of its arguments: every initializer has a seed of its own, derived from the
name of its layer, and no layer keeps random state.
"""

import keras
from keras import layers, ops

from gan_components.errors import InputError
from gan_components.networks.config import Dcgan
from gan_components.networks.convolutions import BatchNormalization, DoublingConv2D, HalvingConv2D, leaky_relu
from gan_components.networks.initializers import glorot
from gan_components.networks.spectral_norm import constrained

LABEL_DIM = 50
# From 7x7x128 inputs, 256 features would hold 92 % of the discriminator's weights and cost 16 % more processor
# time a step; the digits reach 99 % with 64.
PROJECTION_DIM = 64
# Sides of the grid to which the paper pools feature maps for a linear classifier.
GRID_SIDE = 4


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
        embedding = layers.Dense(LABEL_DIM, use_bias=False, **glorot(seed, "generator/label"))
        x = layers.Concatenate()([latents, embedding(_one_hot(labels, num_classes))])

    channels = config.base_channels * 2 ** (levels - 1)
    x = layers.Dense(side * side * channels, use_bias=False, **glorot(seed, "generator/dense"))(x)
    x = layers.Reshape((side, side, channels))(x)
    x = _normalised_relu(x, "generator_norm0")
    for level in range(1, levels):
        channels //= 2
        x = DoublingConv2D(channels, use_bias=False, **glorot(seed, f"generator/conv{level}"))(x)
        x = _normalised_relu(x, f"generator_norm{level}")
    x = DoublingConv2D(image_shape[-1], use_bias=True, **glorot(seed, "generator/image"))(x)
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
    weighted = constrained if config.spectral_norm else _unchanged
    images = keras.Input(image_shape, name="images")
    x = images
    for level in range(levels):
        filters = config.base_channels * 2**level
        x = weighted(HalvingConv2D(filters, **glorot(seed, f"discriminator/conv{level}")))(x)
        x = layers.Activation(leaky_relu, name=_activations(level))(x)
    x = layers.Flatten()(x)
    logit = weighted(layers.Dense(1, **glorot(seed, "discriminator/logit")))
    if not num_classes:
        return keras.Model({"images": images}, _float32_rows(logit(x)), name="discriminator")

    labels = keras.Input((), dtype="int64", name="labels")
    h = weighted(layers.Dense(PROJECTION_DIM, **glorot(seed, "discriminator/features")))(x)
    h = layers.Activation(leaky_relu)(h)
    embedding = weighted(layers.Dense(PROJECTION_DIM, use_bias=False, **glorot(seed, "discriminator/label")))
    logits = layers.Add()([logit(h), layers.Dot(1)([embedding(_one_hot(labels, num_classes)), h])])
    return keras.Model({"images": images, "labels": labels}, _float32_rows(logits), name="discriminator")


def features(discriminator: keras.Model) -> keras.Model:
    """What the discriminator has learned to see, for a linear classifier: section 5.1 of the DCGAN paper.

    The activations of each convolution, max-pooled to a grid of 4x4 cells, flattened and joined. Where a map's
    side does not divide by 4 the cells overlap by a pixel: cell i holds the pixels from ``floor(i S / 4)`` to
    ``ceil((i + 1) S / 4)``. Maps of fewer than 4x4 pixels stay as they are.

    Args:
        discriminator: from :func:`discriminator`; its weights are shared, so the features follow its training.

    Returns:
        A model of ``{"images": float32 [N, H, W, C]}`` with float32 output ``[N, F]``; F = 16 times the sum of the
        convolutions' channels where all maps have at least 4x4 pixels.

    Example:
        >>> d = discriminator(Dcgan(), image_shape=(64, 64, 3), num_classes=0, seed=0)
        >>> features(d).output_shape
        (None, 15360)
    """
    names = {layer.name for layer in discriminator.layers}
    levels = sum(_activations(level) in names for level in range(len(names)))
    maps = [discriminator.get_layer(_activations(level)).output for level in range(levels)]
    joined = ops.concatenate([layers.Flatten()(_grid_maxima(x)) for x in maps], axis=1)
    return keras.Model({"images": discriminator.input["images"]}, ops.cast(joined, "float32"), name="features")


def _activations(level: int) -> str:
    return f"discriminator_activations{level}"


def _grid_maxima(x: keras.KerasTensor) -> keras.KerasTensor:
    side = x.shape[1]
    cells = min(GRID_SIDE, side)
    bounds = [(i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells)]
    x = ops.stack([ops.max(x[:, low:high], axis=1) for low, high in bounds], axis=1)
    return ops.stack([ops.max(x[:, :, low:high], axis=2) for low, high in bounds], axis=2)


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


def _normalised_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.ReLU()(BatchNormalization(momentum=0.9, name=name)(x))


def _one_hot(labels: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
    # For a product with a dense layer, not keras.layers.Embedding: its gradient is dense, which optimizers,
    # all-reduce, op determinism and XLA treat like any other.
    return layers.CategoryEncoding(num_classes, "one_hot")(labels)


def _float32_rows(logits: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Reshape((), dtype="float32", name="logits")(logits)

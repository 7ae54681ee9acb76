"""ProGAN: networks that start at 4x4 pixels and grow, for square images with or without labels.

Karras et al. 2017, https://arxiv.org/abs/1710.10196. Level l works at ``4 * 2**l`` pixels. A new level fades in:
with weight ``alpha`` its own image, with ``1 - alpha`` that of the level below; in the discriminator likewise. All
weights exist from the start, those of levels to come have no gradient.

Departures: labels enter the generator as an embedding joined to the latents, and the discriminator as a projection
(Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637), not as an auxiliary classifier; biases of the first layer
are its units' own; the image leaves through :func:`gan_components.networks.layers.leaky_tanh`, not linear.

Construction is a pure function of its arguments: every initializer has a seed of its own, derived from the name of
its layer, and no layer keeps random state.
"""

import math

import keras
import tensorflow as tf

from gan_components.errors import InputError
from gan_components.networks.config import Progan, Stylegan
from gan_components.networks.layers import (
    EqualisedConv2D,
    EqualisedDense,
    average_pool,
    blur,
    faded,
    leaky_relu,
    leaky_tanh,
    minibatch_stddev,
    pixel_norm,
    upsample,
)

Inputs = dict[str, tf.Tensor]


def generator(
    config: Progan, *, image_shape: tuple[int, int, int], latent_dim: int, num_classes: int, seed: int
) -> keras.Model:
    """Maps latents to images.

    Nearly all of the image lies in [-1, 1] (see :func:`gan_components.networks.layers.leaky_tanh`), and whoever
    shows or exports it clips the rest.

    Args:
        config: the section ``train.network``.
        image_shape: ``(H, W, C)``; H = W, a power of two from 8 to 1024.
        latent_dim: D of the latents; their length does not count, they are normalised.
        num_classes: with 0 the model takes no labels.
        seed: of the initial weights.

    Returns:
        A :class:`Growing` model of ``{"latents": float32 [N, D], "labels": int64 [N]}`` with float32 output
        ``[N, H, W, C]``, at every level.

    Raises:
        InputError: the images have another shape.
    """
    channels = channels_by_level(config, image_shape)
    return Generator(channels, image_shape[-1], latent_dim=latent_dim, num_classes=num_classes, seed=seed)


def discriminator(
    config: Progan, *, image_shape: tuple[int, int, int], num_classes: int, seed: int
) -> keras.Model:
    """Maps images in [-1, 1] to logits: positive means real.

    Args:
        config: the section ``train.network``.
        image_shape: ``(H, W, C)``; H = W, a power of two from 8 to 1024.
        num_classes: with 0 the model takes no labels.
        seed: of the initial weights.

    Returns:
        A :class:`Growing` model of ``{"images": float32 [N, H, W, C], "labels": int64 [N]}`` with float32 output
        ``[N]``. Images are of full size at every level. Logits depend on the group of four images, too.

    Raises:
        InputError: the images have another shape.
    """
    channels = channels_by_level(config, image_shape)
    return Discriminator(channels, image_shape[-1], num_classes=num_classes, blurred=False, seed=seed)


def channels_by_level(config: Progan | Stylegan, image_shape: tuple[int, int, int]) -> list[int]:
    """Channels of the feature maps at 4, 8, 16, ... pixels.

    Raises:
        InputError: images that are not square with a side of a power of two from 8 to 1024.
    """
    height, width, _ = image_shape
    if height != width or height not in (8, 16, 32, 64, 128, 256, 512, 1024):
        raise InputError(
            f"{config.name} makes square images whose side is a power of two from 8 to 1024, these are "
            f"{height}x{width}; set ingest.size to such a side"
        )
    num_levels = int(math.log2(height)) - 1
    return [
        min(config.base_channels * 2 ** (num_levels - 1 - level), config.max_channels)
        for level in range(num_levels)
    ]


class Growing(keras.Model):
    """A network of several resolutions, of which some are in use.

    Attributes:
        num_levels: resolutions in all.
        alpha: weight of the newest level in [0, 1], a float32 variable; level 0 does not look at it.
    """

    def __init__(self, num_levels: int, name: str) -> None:
        # Inputs, fading and the model's own weights stay float32 under mixed precision; the layers cast for
        # themselves.
        super().__init__(name=name, dtype="float32")
        self.num_levels = num_levels
        self.level = num_levels - 1
        self.alpha = self.add_weight(
            shape=(), initializer="ones", trainable=False, aggregation="only_first_replica", name="alpha"
        )

    @property
    def level(self) -> int:
        """The newest level in use: ``4 * 2**level`` pixels. Static: another level is another graph."""
        return self._level

    @level.setter
    def level(self, level: int) -> None:
        if not 0 <= level < self.num_levels:
            raise ValueError(f"level {level} does not exist; expected 0 to {self.num_levels - 1}")
        self._level = level


class Generator(Growing):
    """See :func:`generator`."""

    def __init__(
        self, channels: list[int], image_channels: int, *, latent_dim: int, num_classes: int, seed: int
    ) -> None:
        super().__init__(len(channels), "generator")
        self.num_classes = num_classes
        if num_classes:
            self.embedding = label_embedding(num_classes, latent_dim, seed, "generator")
        self.first_channels = channels[0]
        fan_in = 2 * latent_dim if num_classes else latent_dim
        self.dense = EqualisedDense(fan_in, 16 * channels[0], seed=seed, name="generator_dense")
        self.up_convs = [
            EqualisedConv2D(
                channels[level - 1], channels[level], seed=seed, name=f"generator_up{level}", resample="up"
            )
            for level in range(1, len(channels))
        ]
        self.convs = [
            EqualisedConv2D(width, width, seed=seed, name=f"generator_conv{level}")
            for level, width in enumerate(channels)
        ]
        self.to_rgb = to_rgb(channels, image_channels, seed)
        self.built = True

    def call(self, inputs: Inputs, training: bool = False) -> tf.Tensor:
        latents = joined_latents(inputs, self.embedding if self.num_classes else None)
        x = tf.reshape(self.dense(latents), (-1, 4, 4, self.first_channels))
        x = self.convs[0](pixel_norm(leaky_relu(x)))
        x = below = pixel_norm(leaky_relu(x))
        for level in range(1, self.level + 1):
            below = x
            x = pixel_norm(leaky_relu(self.up_convs[level - 1](x)))
            x = pixel_norm(leaky_relu(self.convs[level](x)))
        return painted(self, self.to_rgb, x, below)


class Discriminator(Growing):
    """See :func:`discriminator`; `blurred` filters features before they are halved, as StyleGAN does."""

    def __init__(
        self, channels: list[int], image_channels: int, *, num_classes: int, blurred: bool, seed: int
    ) -> None:
        super().__init__(len(channels), "discriminator")
        self.num_classes, self.blurred = num_classes, blurred
        self.from_rgb = [
            EqualisedConv2D(image_channels, width, 1, seed=seed, name=f"discriminator_from_rgb{level}")
            for level, width in enumerate(channels)
        ]
        self.convs = [
            # At level 0 with the channel of minibatch_stddev.
            EqualisedConv2D(width + (level == 0), width, seed=seed, name=f"discriminator_conv{level}")
            for level, width in enumerate(channels)
        ]
        self.down_convs = [
            EqualisedConv2D(
                channels[level], channels[level - 1], seed=seed, name=f"discriminator_down{level}", resample="down"
            )
            for level in range(1, len(channels))
        ]
        width = channels[0]
        self.dense = EqualisedDense(16 * width, width, seed=seed, name="discriminator_dense")
        # float32 as the logits.
        self.logit = EqualisedDense(width, 1, seed=seed, name="discriminator_logit", gain=1.0, dtype="float32")
        if num_classes:
            self.embedding = label_embedding(num_classes, width, seed, "discriminator")
        self.built = True

    def call(self, inputs: Inputs, training: bool = False) -> tf.Tensor:
        images = average_pool(inputs["images"], 2 ** (self.num_levels - 1 - self.level))
        x = leaky_relu(self.from_rgb[self.level](images))
        for level in range(self.level, 0, -1):
            x = leaky_relu(self.convs[level](x))
            x = leaky_relu(self.down_convs[level - 1](blur(x) if self.blurred else x))
            if level == self.level:
                below = leaky_relu(self.from_rgb[level - 1](average_pool(images, 2)))
                x = faded(below, x, self.alpha)
        x = leaky_relu(self.convs[0](minibatch_stddev(x)))
        features = leaky_relu(self.dense(tf.reshape(x, (-1, self.dense.kernel.shape[0]))))
        logits = tf.squeeze(self.logit(features), -1)
        if not self.num_classes:
            return logits
        # Scaled like a layer of gain 1 whose weights are the class' row.
        rows = self.embedding(tf.one_hot(inputs["labels"], self.num_classes))
        features = tf.cast(features, tf.float32)
        return logits + tf.reduce_sum(rows * features, -1) / math.sqrt(features.shape[-1])


def joined_latents(inputs: Inputs, embedding: EqualisedDense | None) -> tf.Tensor:
    """Latents, behind them the embedded labels where there are classes, each of mean square 1."""
    latents = pixel_norm(inputs["latents"])
    if embedding is None:
        return latents
    rows = embedding(tf.one_hot(inputs["labels"], embedding.kernel.shape[0]))
    return tf.concat([latents, pixel_norm(rows)], -1)


def label_embedding(num_classes: int, dim: int, seed: int, network: str) -> EqualisedDense:
    """A one-hot product whose rows start as N(0, 1): one weight of a column counts, not `num_classes`.

    Not keras.layers.Embedding: its gradient is sparse. float32: it costs nothing.
    """
    return EqualisedDense(
        num_classes,
        dim,
        seed=seed,
        name=f"{network}_label",
        gain=math.sqrt(num_classes),
        use_bias=False,
        dtype="float32",
    )


def to_rgb(channels: list[int], image_channels: int, seed: int) -> list[EqualisedConv2D]:
    """The linear layers from features to an image, one a level.

    float32 under mixed precision: bfloat16 would paint in steps as large as those of an 8-bit image.
    """
    return [
        EqualisedConv2D(
            width, image_channels, 1, seed=seed, name=f"generator_to_rgb{level}", gain=1.0, dtype="float32"
        )
        for level, width in enumerate(channels)
    ]


def painted(network: Growing, layers: list[EqualisedConv2D], x: tf.Tensor, below: tf.Tensor) -> tf.Tensor:
    """The full-size image of a generator from its features at the newest level and at the one below."""
    image = layers[network.level](x)
    if network.level:
        image = faded(upsample(layers[network.level - 1](below), 2), image, network.alpha)
    return upsample(leaky_tanh(image), 2 ** (network.num_levels - 1 - network.level))

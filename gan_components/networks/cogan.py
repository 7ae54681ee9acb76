"""CoGAN: pairs of images of two domains from one latent, learned from images that are not paired.

Liu and Tuzel 2016, https://arxiv.org/abs/1606.07536. The generators of both domains share all layers but the
last, the discriminators all but the first: what a pair shows is decided once, and each domain only learns how
to draw it and how to look at it. As in the paper's networks for MNIST, the generator's last layer is a
convolution at full resolution: both images of a pair are read from the same features at the same pixels.

The images of a pair lie behind one another in the channel axis, domain 1 first. Every logit belongs to one
domain, so that an objective which averages over the batch and sums over the domains is the paper's
``max_G min_D V(D1, D2, G1, G2)``: it never sees that two images are a pair.
"""

import keras
from keras import layers

from gan_components.errors import ConfigError, InputError
from gan_components.networks import initializers
from gan_components.networks.config import Cogan
from gan_components.networks.layers import leaky_relu

NUM_DOMAINS = 2


def generator(
    config: Cogan, *, image_shape: tuple[int, int, int], latent_dim: int, num_classes: int, seed: int
) -> keras.Model:
    """Maps ``{"latents": float32 [N, D]}`` to pairs of images in [-1, 1].

    Args:
        config: sizes of the layers.
        image_shape: ``(H, W, C)``; H = W, a multiple of 4; C counts the channels of both domains.
        latent_dim: D.
        num_classes: 0.
        seed: of the initial weights.

    Returns:
        A model with float32 output ``[N, H, W, C]``: ``[..., :C // 2]`` is the image of domain 1.

    Raises:
        ConfigError: labels are asked for.
        InputError: another shape.
    """
    channels_per_domain = _channels_per_domain(image_shape, num_classes)
    side, levels = _pyramid(image_shape)
    latents = keras.Input((latent_dim,), name="latents")
    channels = config.base_channels * 2 ** (levels - 1)
    x = layers.Dense(
        side * side * channels, use_bias=False, **initializers.glorot(seed, "generator/shared_dense")
    )(latents)
    x = _normalised_relu(layers.Reshape((side, side, channels))(x), "generator_shared_norm0")
    for level in range(1, levels + 1):
        # Half of base_channels at full resolution, where the domains part.
        channels = max(1, channels // 2)
        x = layers.Conv2DTranspose(
            channels,
            4,
            2,
            padding="same",
            use_bias=False,
            **initializers.glorot(seed, f"generator/shared_conv{level}"),
        )(x)
        x = _normalised_relu(x, f"generator_shared_norm{level}")
    pair = [
        layers.Conv2D(
            channels_per_domain,
            5,
            padding="same",
            **initializers.glorot(seed, f"generator/domain{domain}_image"),
        )(x)
        for domain in (1, 2)
    ]
    # Under mixed precision the images, like every output, stay float32.
    images = layers.Activation("tanh", dtype="float32", name="images")(layers.Concatenate()(pair))
    return keras.Model({"latents": latents}, images, name="generator")


def discriminator(config: Cogan, *, image_shape: tuple[int, int, int], num_classes: int, seed: int) -> keras.Model:
    """Maps ``{"images": float32 [N, H, W, C]}`` to a logit per domain: positive means real.

    Column 0 depends on ``images[..., :C // 2]`` alone, column 1 on the rest.

    Args:
        config: sizes of the layers.
        image_shape: ``(H, W, C)``; H = W, a multiple of 4; C counts the channels of both domains.
        num_classes: 0.
        seed: of the initial weights.

    Returns:
        A model with float32 output ``[N, 2]``.

    Raises:
        ConfigError: labels are asked for.
        InputError: another shape.
    """
    channels_per_domain = _channels_per_domain(image_shape, num_classes)
    _, levels = _pyramid(image_shape)
    images = keras.Input(image_shape, name="images")
    shared = [
        layers.Conv2D(
            config.base_channels * 2**level,
            4,
            2,
            padding="same",
            **initializers.glorot(seed, f"discriminator/shared_conv{level}"),
        )
        for level in range(1, levels)
    ]
    shared_logit = layers.Dense(1, **initializers.glorot(seed, "discriminator/shared_logit"))
    logits = []
    for domain in (1, 2):
        x = images[..., (domain - 1) * channels_per_domain : domain * channels_per_domain]
        x = layers.Conv2D(
            config.base_channels,
            4,
            2,
            padding="same",
            **initializers.glorot(seed, f"discriminator/domain{domain}_conv0"),
        )(x)
        x = layers.Activation(leaky_relu)(x)
        for layer in shared:
            x = layers.Activation(leaky_relu)(layer(x))
        logits.append(shared_logit(layers.Flatten()(x)))
    rows = layers.Concatenate(dtype="float32", name="logits")(logits)
    return keras.Model({"images": images}, rows, name="discriminator")


def _channels_per_domain(image_shape: tuple[int, int, int], num_classes: int) -> int:
    if num_classes:
        raise ConfigError(
            f"cogan takes no labels, the data has {num_classes} classes; set train.conditional to false"
        )
    channels, rest = divmod(image_shape[-1], NUM_DOMAINS)
    if rest:
        raise InputError(
            f"cogan makes images of two domains, these have {image_shape[-1]} channels in all, not an even "
            "number; ingest a source of pairs"
        )
    return channels


def _pyramid(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Side of the smallest feature map and number of halvings that lead to it: 28 -> 7, 2; 64 -> 4, 4."""
    height, width, _ = image_shape
    if height != width or height % 4:
        raise InputError(
            f"cogan makes square images whose side is a multiple of 4, these are {height}x{width}; "
            "set ingest.size to such a side"
        )
    side, levels = height // 4, 2
    while side > 4 and side % 2 == 0:
        side, levels = side // 2, levels + 1
    return side, levels


def _normalised_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    # Synchronised: replicas share the statistics of the global batch, so that one device and many agree.
    x = layers.BatchNormalization(momentum=0.9, synchronized=True, name=name)(x)
    return layers.ReLU()(x)

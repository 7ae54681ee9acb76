"""The architectures by name: plain functions that make built Keras models.

Models take dicts. A generator maps ``{"latents": float32 [N, D][, "labels": int64 [N]]}`` to float32 images
``[N, H, W, C]`` in [-1, 1], a discriminator ``{"images": ..., ["labels": ...]}`` to float32 logits ``[N]``, of two
domains ``[N, 2]``. The images of a pair lie behind one another in the channels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from gan_components.networks import cogan, dcgan, mlp, progan, resnet, stylegan
from gan_components.networks.config import Draws, NetworkConfig


def no_draws(config: NetworkConfig, *, image_shape: tuple[int, int, int], latent_dim: int) -> Draws:
    """What most generators take beside latents and labels."""
    return {}


def no_styles(config: NetworkConfig, *, image_shape: tuple[int, int, int]) -> int:
    """Most generators have no layers with a style."""
    return 0


@dataclass(frozen=True)
class Architecture:
    """How to make the two players.

    Attributes:
        generator: ``(config, *, image_shape, latent_dim, num_classes, seed) -> keras.Model``.
        discriminator: ``(config, *, image_shape, num_classes, seed) -> keras.Model``.
        draws: the generator's random inputs in training, ``(config, *, image_shape, latent_dim) -> Draws``.
        num_style_layers: of the generator, ``(config, *, image_shape) -> int``; with any it also truncates.
        independent_rows: whether each logit depends on its own image alone.
        num_domains: images of one latent.
    """

    generator: Callable[..., keras.Model]
    discriminator: Callable[..., keras.Model]
    draws: Callable[..., Draws] = no_draws
    num_style_layers: Callable[..., int] = no_styles
    independent_rows: bool = True
    num_domains: int = 1


ARCHITECTURES = {
    "mlp": Architecture(mlp.generator, mlp.discriminator),
    "dcgan": Architecture(dcgan.generator, dcgan.discriminator),
    "cogan": Architecture(cogan.generator, cogan.discriminator, num_domains=2),
    "progan": Architecture(progan.generator, progan.discriminator, independent_rows=False),
    "stylegan": Architecture(
        stylegan.generator,
        stylegan.discriminator,
        stylegan.draws,
        stylegan.num_style_layers,
        independent_rows=False,
    ),
    "resnet": Architecture(resnet.generator, resnet.discriminator),
}

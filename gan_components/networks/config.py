"""The architectures' settings, one model an architecture: ``train.network``. Imports no TensorFlow.

The default sizes are those of the presets; each class names the paper whose architecture it is.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class _Network(BaseModel, frozen=True, strict=True, extra="forbid"):
    """A section ``network: {name: ..., ...}``."""


class Mlp(_Network):
    """Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661: ReLU generator, maxout discriminator."""

    name: Literal["mlp"] = "mlp"
    # Of both hidden layers of the generator.
    g_units: int = Field(1200, gt=0)
    # Of both hidden layers of the discriminator, each the largest of `maxout_pieces` linear ones.
    d_units: int = Field(240, gt=0)
    maxout_pieces: int = Field(5, gt=1)


class Dcgan(_Network):
    """Radford et al. 2015, https://arxiv.org/abs/1511.06434."""

    name: Literal["dcgan"] = "dcgan"
    # Of the largest feature map; every halving of the resolution doubles them.
    base_channels: int = Field(64, gt=0)
    # Of the discriminator's layers; Miyato et al. 2018, https://arxiv.org/abs/1802.05957.
    spectral_norm: bool = False


class Cogan(_Network):
    """Liu and Tuzel 2016, https://arxiv.org/abs/1606.07536: two domains from one latent."""

    name: Literal["cogan"] = "cogan"
    base_channels: int = Field(64, gt=0)


class Progan(_Network):
    """Karras et al. 2017, https://arxiv.org/abs/1710.10196."""

    name: Literal["progan"] = "progan"
    # Of the largest resolution; every halving doubles them, up to `max_channels`.
    base_channels: int = Field(32, gt=0)
    max_channels: int = Field(128, gt=0)


class Stylegan(_Network):
    """Karras et al. 2018, https://arxiv.org/abs/1812.04948."""

    name: Literal["stylegan"] = "stylegan"
    base_channels: int = Field(32, gt=0)
    max_channels: int = Field(128, gt=0)
    mapping_layers: int = Field(8, gt=0)
    # Share of the images that take their styles from two latents.
    style_mixing_probability: float = Field(0.9, ge=0, le=1)


class Resnet(_Network):
    """R3GAN: Huang et al. 2024, https://arxiv.org/abs/2501.05441: residual blocks without normalisation."""

    name: Literal["resnet"] = "resnet"
    # Of the largest resolution; every halving doubles them.
    base_channels: int = Field(32, gt=0)
    blocks_per_resolution: int = Field(1, gt=0)
    # More of them at the smallest resolution, where a block is cheap and each of its 3x3 convolutions sees most of
    # the image: without any, the discriminator of 28x28 pixels judges patches of 18x18.
    extra_blocks: int = Field(0, ge=0)
    # Width of a block's inside, in multiples of its channels, and the channels of one convolution group.
    expansion: int = Field(2, gt=0)
    group_channels: int = Field(16, gt=0)


NetworkConfig = Annotated[Mlp | Dcgan | Cogan | Progan | Stylegan | Resnet, Field(discriminator="name")]

Draws = dict[str, tuple[Literal["normal", "uniform"], tuple[int, ...]]]
"""Random inputs of a generator in training beside latents and labels: distribution and shape of one row."""

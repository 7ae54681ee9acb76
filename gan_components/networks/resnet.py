"""The residual networks of R3GAN, without normalisation, with labels where there are any.

Huang et al. 2024, https://arxiv.org/abs/2501.05441. Both networks are mirror images: a learned basis at the
smallest resolution, residual blocks at each, and a 1x1 convolution to or from pixels. A block is an inverted
bottleneck with a grouped convolution inside,

    ``x + W3 f(W2 * f(W1 x + b1) + b2)``,    f = leaky ReLU 0.2 scaled to keep the variance,

with W1: C -> expansion C and W3 back as 1x1 and W2 as grouped 3x3 convolutions. Fix-up initialisation (Zhang et
al. 2019, https://arxiv.org/abs/1901.09321) replaces normalisation: of the m = 3 layers of each of L blocks, the
last starts as zero and the others are scaled by ``L^(-1 / (2m - 2))``. Between resolutions images are resampled
bilinearly at the smaller number of channels, beside a 1x1 convolution that changes it.

The paper's output is linear. Here it goes through :func:`gan_components.networks.layers.leaky_tanh`, and is
clipped where it becomes pixels.
"""

import functools
import math

import keras
import tensorflow as tf
from keras import layers

from gan_components import randomness
from gan_components.errors import ConfigError, InputError
from gan_components.networks import initializers
from gan_components.networks.config import Resnet
from gan_components.networks.layers import leaky_relu, leaky_tanh

LABEL_DIM = 50
PROJECTION_DIM = 64
# Keeps the variance of normal numbers: E[f(x)^2] = (1 + 0.2^2) / 2 E[x^2].
_GAIN = math.sqrt(2.0 / (1.0 + 0.2**2))


def generator(
    config: Resnet, *, image_shape: tuple[int, int, int], latent_dim: int, num_classes: int, seed: int
) -> keras.Model:
    """Maps ``{"latents": float32 [N, D][, "labels": int64 [N]]}`` to images, of which [-1, 1] can be seen.

    Labels enter as an embedding joined to the latents.

    Args:
        config: sizes of the layers.
        image_shape: ``(H, W, C)``; H = W, a multiple of 4.
        latent_dim: D.
        num_classes: with 0 the model takes no labels.
        seed: of the initial weights.

    Returns:
        A model with float32 output ``[N, H, W, C]``.

    Raises:
        InputError: another shape.
        ConfigError: `group_channels` does not divide the inside of a block.
    """
    sides = _sides(config, image_shape)
    latents = keras.Input((latent_dim,), name="latents")
    inputs, x = {"latents": latents}, latents
    if num_classes:
        inputs["labels"] = labels = keras.Input((), dtype="int64", name="labels")
        # Of variance 1, like the latents.
        x = layers.Concatenate()([x, _embedding(labels, num_classes, LABEL_DIM, 1.0, seed, "generator")])

    channels = config.base_channels * 2 ** (len(sides) - 1)
    x = layers.Dense(channels, use_bias=False, **initializers.scaled_normal(seed, "generator/weights"))(x)
    x = GenerativeBasis(sides[0], randomness.integer(seed, "generator/basis"), name="generator_basis")(x)
    for level, side in enumerate(sides):
        if level:
            channels //= 2
            x = _pointwise(x, channels, seed, f"generator/narrow{side}")
            x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = _blocks(x, config, level, len(sides), seed, f"generator/block{side}")
    x = _pointwise(x, image_shape[-1], seed, "generator/image")
    # Under mixed precision the image, like every output, stays float32.
    images = layers.Activation(leaky_tanh, dtype="float32", name="images")(x)
    return keras.Model(inputs, images, name="generator")


def discriminator(
    config: Resnet, *, image_shape: tuple[int, int, int], num_classes: int, seed: int
) -> keras.Model:
    """Maps ``{"images": float32 [N, H, W, C][, "labels": int64 [N]]}`` to logits: positive means real.

    Labels enter as a projection (Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637).

    Args:
        config: sizes of the layers.
        image_shape: ``(H, W, C)``; H = W, a multiple of 4.
        num_classes: with 0 the model takes no labels.
        seed: of the initial weights.

    Returns:
        A model with float32 output ``[N]``.

    Raises:
        InputError: another shape.
        ConfigError: `group_channels` does not divide the inside of a block.
    """
    sides = _sides(config, image_shape)
    images = keras.Input(image_shape, name="images")
    inputs = {"images": images}
    channels = config.base_channels
    x = _pointwise(images, channels, seed, "discriminator/pixels")
    for level, side in reversed(list(enumerate(sides))):
        x = _blocks(x, config, level, len(sides), seed, f"discriminator/block{side}")
        if level:
            channels *= 2
            # Halving with bilinear interpolation samples between four pixels: it is their mean.
            x = layers.AveragePooling2D(2)(x)
            x = _pointwise(x, channels, seed, f"discriminator/widen{side}")
    seed_of_basis = randomness.integer(seed, "discriminator/basis")
    x = DiscriminativeBasis(seed_of_basis, name="discriminator_basis")(x)

    dim = PROJECTION_DIM if num_classes else 1
    x = layers.Dense(dim, use_bias=False, **initializers.scaled_normal(seed, "discriminator/logit"))(x)
    if num_classes:
        inputs["labels"] = labels = keras.Input((), dtype="int64", name="labels")
        # Of variance 1 / dim, so that the product has that of x.
        gain = dim**-0.5
        embedding = _embedding(labels, num_classes, dim, gain, seed, "discriminator")
        x = layers.Dot(1)([embedding, x])
    logits = layers.Reshape((), dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="discriminator")


def _sides(config: Resnet, image_shape: tuple[int, int, int]) -> list[int]:
    """The resolutions from the smallest, at least 4, to the image's: 28 -> 7, 14, 28."""
    height, width, _ = image_shape
    if height != width or height % 4:
        raise InputError(
            f"resnet makes square images whose side is a multiple of 4, these are {height}x{width}; "
            "set ingest.size to such a side"
        )
    if config.base_channels * config.expansion % config.group_channels:
        raise ConfigError(
            f"train.network: a block of {config.base_channels} channels is {config.expansion} times as wide "
            f"inside, which does not divide into groups of {config.group_channels}; set group_channels to a "
            "divisor of base_channels * expansion"
        )
    sides = [height]
    while sides[0] >= 8 and sides[0] % 2 == 0:
        sides.insert(0, sides[0] // 2)
    return sides


def _blocks(
    x: keras.KerasTensor, config: Resnet, level: int, num_levels: int, seed: int, name: str
) -> keras.KerasTensor:
    """The residual blocks of one resolution."""
    channels = x.shape[-1]
    inside = channels * config.expansion
    gain = _GAIN * (num_levels * config.blocks_per_resolution + config.extra_blocks) ** -0.25
    for i in range(config.blocks_per_resolution + (0 if level else config.extra_blocks)):
        y = layers.Activation(leaky_relu)(_pointwise(x, inside, seed, f"{name}_{i}/in", gain, use_bias=True))
        grouped = initializers.scaled_normal(seed, f"{name}_{i}/grouped", gain)
        y = layers.Activation(leaky_relu)(GroupedConv2D(config.group_channels, **grouped)(y))
        x = layers.Add()([x, _pointwise(y, channels, seed, f"{name}_{i}/out", 0.0)])
    return x


def _pointwise(
    x: keras.KerasTensor, channels: int, seed: int, name: str, gain: float = 1.0, *, use_bias: bool = False
) -> keras.KerasTensor:
    return layers.Conv2D(channels, 1, use_bias=use_bias, **initializers.scaled_normal(seed, name, gain))(x)


def _embedding(
    labels: keras.KerasTensor, num_classes: int, dim: int, stddev: float, seed: int, network: str
) -> keras.KerasTensor:
    """Row of a table by label, as a one-hot product: its gradient is dense like any other."""
    one_hot = layers.CategoryEncoding(num_classes, "one_hot")(labels)
    # Of the product's num_classes inputs one is not zero: its fan-in is 1.
    named = initializers.scaled_normal(seed, f"{network}/label", stddev * num_classes**0.5)
    return layers.Dense(dim, use_bias=False, **named)(one_hot)


class GenerativeBasis(layers.Layer):
    """A learned feature map, each channel of it times a weight: ``[N, C] -> [N, side, side, C]``."""

    def __init__(self, side: int, seed: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.side, self.seed = side, seed

    def build(self, input_shape: tuple[int | None, int]) -> None:
        self.basis = self.add_weight(
            shape=(self.side, self.side, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=1.0, seed=self.seed),
            name="basis",
        )

    def call(self, weights: tf.Tensor) -> tf.Tensor:
        return self.basis * weights[:, None, None, :]


class DiscriminativeBasis(layers.Layer):
    """Its mirror image, each channel's product with a learned map: ``[N, side, side, C] -> [N, C]``."""

    def __init__(self, seed: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape: tuple[int | None, int, int, int]) -> None:
        _, height, width, _ = input_shape
        stddev = (height * width) ** -0.5
        self.basis = self.add_weight(
            shape=input_shape[1:],
            initializer=keras.initializers.RandomNormal(stddev=stddev, seed=self.seed),
            name="basis",
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(x * self.basis, axis=(1, 2))


class GroupedConv2D(layers.Layer):
    """A 3x3 convolution with bias inside groups of channels: ``[N, H, W, C] -> [N, H, W, C]``.

    Not ``keras.layers.Conv2D(groups=...)``: Keras 3 compiles that one with XLA, which a served model must not
    need, and whose gradients take 3.6 s of processor time where TensorFlow's own take 20 ms (2 cores, 64 maps
    of 14x14x128 in groups of 16).
    """

    def __init__(self, group_channels: int, *, kernel_initializer: keras.Initializer, **kwargs) -> None:
        super().__init__(**kwargs)
        self.group_channels = group_channels
        self.kernel_initializer = kernel_initializer

    def build(self, input_shape: tuple[int | None, int, int, int]) -> None:
        channels = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(3, 3, self.group_channels, channels), initializer=self.kernel_initializer, name="kernel"
        )
        self.bias = self.add_weight(shape=(channels,), initializer="zeros", name="bias")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        if not _differentiates_grouped_convolutions():
            kernel = _block_diagonal(kernel)
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), self.bias)


@functools.cache
def _differentiates_grouped_convolutions() -> bool:
    """Whether TensorFlow has these gradients here: its processor kernels lack them without oneDNN."""
    # Lifted out of the graph in which Keras may be tracing a layer, where tapes do not record: the gradient's
    # operation is called itself. Not with 1x1 kernels, whose gradients take another way that works.
    with tf.init_scope():
        try:
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=[1, 4, 4, 4],
                filter=tf.ones((3, 3, 2, 4)),
                out_backprop=tf.ones((1, 4, 4, 4)),
                strides=[1, 1, 1, 1],
                padding="SAME",
            )
        except tf.errors.InvalidArgumentError:
            return False
    return True


def _block_diagonal(kernel: tf.Tensor) -> tf.Tensor:
    """The kernel of the same map without groups, zero between them: ``[3, 3, g, C] -> [3, 3, C, C]``."""
    group_channels, channels = kernel.shape[2:]
    groups = channels // group_channels
    blocks = tf.reshape(kernel, (3, 3, group_channels, groups, group_channels))
    dense = tf.einsum("hwigo,fg->hwfigo", blocks, tf.eye(groups, dtype=kernel.dtype))
    return tf.reshape(dense, (3, 3, channels, channels))

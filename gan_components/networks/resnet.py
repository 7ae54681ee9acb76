"""The residual networks of R3GAN, without normalisation, with labels where there are any.

Huang et al. 2024, https://arxiv.org/abs/2501.05441. Both networks are mirror images: a learned basis at the
smallest resolution, residual blocks at each, and a 1x1 convolution to or from pixels. A block is an inverted
bottleneck with a grouped convolution inside,

    ``x + W3 f(W2 * f(W1 x + b1) + b2)``,    f = leaky ReLU 0.2 scaled to keep the variance,

with W1: C -> expansion C and W3 back as 1x1 and W2 as grouped 3x3 convolutions. The scale of fix-up
initialisation (Zhang et al. 2019, https://arxiv.org/abs/1901.09321) replaces normalisation: of the m = 3 layers of
each of L blocks the first two start scaled by ``L^(-1 / (2m - 2))``. Between resolutions images are resampled
bilinearly at the smaller number of channels, beside a 1x1 convolution that changes it.

Three things are not as in the paper, because it trains on a thousand times as many images: He's constants apply at
run time, so that all layers learn at one speed; a block's last layer starts at half of its scale and not at zero;
and the generator's linear output is squeezed outside of [-1, 1] (:func:`squeezed`).
"""

import functools
import math

import keras
import tensorflow as tf
from keras import layers

from gan_components import randomness
from gan_components.errors import ConfigError, InputError
from gan_components.networks.config import Resnet
from gan_components.networks.layers import EqualisedConv2D, EqualisedDense, leaky_relu
from gan_components.networks.progan import label_embedding

LABEL_DIM = 50
PROJECTION_DIM = 64
# Of a block's last layer.
LAST_GAIN = 0.5
SQUEEZE = 0.01
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
        one_hot = layers.CategoryEncoding(num_classes, "one_hot")(labels)
        x = layers.Concatenate()([x, label_embedding(num_classes, LABEL_DIM, seed, "generator")(one_hot)])

    channels = config.base_channels * 2 ** (len(sides) - 1)
    x = _dense(x, channels, seed, "generator_weights")
    x = GenerativeBasis(sides[0], seed, "generator_basis")(x)
    for level, side in enumerate(sides):
        if level:
            channels //= 2
            x = _pointwise(x, channels, seed, f"generator_narrow{side}")
            x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = _blocks(x, config, level, len(sides), seed, f"generator_block{side}")
    # float32 under mixed precision, like every output: bfloat16 would paint in steps of an 8-bit image's.
    x = _pointwise(x, image_shape[-1], seed, "generator_image", dtype="float32")
    images = layers.Activation(squeezed, dtype="float32", name="images")(x)
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
    x = _pointwise(images, channels, seed, "discriminator_pixels")
    for level, side in reversed(list(enumerate(sides))):
        x = _blocks(x, config, level, len(sides), seed, f"discriminator_block{side}")
        if level:
            channels *= 2
            # Halving with bilinear interpolation samples between four pixels: it is their mean.
            x = layers.AveragePooling2D(2)(x)
            x = _pointwise(x, channels, seed, f"discriminator_widen{side}")
    x = DiscriminativeBasis(seed, "discriminator_basis")(x)

    dim = PROJECTION_DIM if num_classes else 1
    x = _dense(x, dim, seed, "discriminator_logit")
    if num_classes:
        inputs["labels"] = labels = keras.Input((), dtype="int64", name="labels")
        one_hot = layers.CategoryEncoding(num_classes, "one_hot")(labels)
        x = layers.Dot(1)([label_embedding(num_classes, dim, seed, "discriminator")(one_hot), x])
        # The product of `dim` pairs of numbers of variance 1 has variance `dim`.
        x = layers.Rescaling(dim**-0.5)(x)
    logits = layers.Reshape((), dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="discriminator")


def squeezed(images: tf.Tensor) -> tf.Tensor:
    """The identity inside of [-1, 1], a slope of a hundredth outside: float32 ``[N, H, W, C]``.

    Real images have even grounds. A linear generator would have to hit theirs to the last digit at every pixel, or
    the discriminator tells it by that alone; behind a tanh a generator without normalisation saturates in its
    first steps and learns nothing any more.
    """
    inside = tf.clip_by_value(images, -1.0, 1.0)
    return inside + SQUEEZE * (images - inside)


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
        block = f"{name}_{i}"
        y = layers.Activation(leaky_relu)(_pointwise(x, inside, seed, f"{block}_in", gain, use_bias=True))
        y = GroupedConv2D(config.group_channels, seed, f"{block}_grouped", gain)(y)
        y = layers.Activation(leaky_relu)(y)
        x = layers.Add()([x, _pointwise(y, channels, seed, f"{block}_out", LAST_GAIN)])
    return x


def _pointwise(
    x: keras.KerasTensor,
    channels: int,
    seed: int,
    name: str,
    gain: float = 1.0,
    *,
    use_bias: bool = False,
    dtype: str | None = None,
) -> keras.KerasTensor:
    width = x.shape[-1]
    return EqualisedConv2D(width, channels, 1, seed=seed, name=name, gain=gain, use_bias=use_bias, dtype=dtype)(x)


def _dense(x: keras.KerasTensor, units: int, seed: int, name: str) -> keras.KerasTensor:
    return EqualisedDense(x.shape[-1], units, seed=seed, name=name, gain=1.0, use_bias=False)(x)


class GenerativeBasis(layers.Layer):
    """A learned feature map, each channel of it times a weight: ``[N, C] -> [N, side, side, C]``."""

    def __init__(self, side: int, seed: int, name: str) -> None:
        super().__init__(name=name)
        self.side, self.seed = side, randomness.integer(seed, name)

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

    def __init__(self, seed: int, name: str) -> None:
        super().__init__(name=name)
        self.seed = randomness.integer(seed, name)

    def build(self, input_shape: tuple[int | None, int, int, int]) -> None:
        _, height, width, _ = input_shape
        self.scale = (height * width) ** -0.5
        self.basis = self.add_weight(
            shape=input_shape[1:],
            initializer=keras.initializers.RandomNormal(stddev=1.0, seed=self.seed),
            name="basis",
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(x * (self.scale * self.basis), axis=(1, 2))


class GroupedConv2D(layers.Layer):
    """A 3x3 convolution inside groups of channels, with bias and He's constant at run time; keeps the shape.

    Not ``keras.layers.Conv2D(groups=...)``: Keras 3 compiles that one with XLA, which a served model must not
    need, and whose gradients take 3.6 s of processor time where TensorFlow's own take 20 ms (2 cores, 64 maps
    of 14x14x128 in groups of 16).
    """

    def __init__(self, group_channels: int, seed: int, name: str, gain: float) -> None:
        super().__init__(name=name)
        self.group_channels, self.seed = group_channels, randomness.integer(seed, name)
        self.scale = gain / math.sqrt(9 * group_channels)

    def build(self, input_shape: tuple[int | None, int, int, int]) -> None:
        channels = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(3, 3, self.group_channels, channels),
            initializer=keras.initializers.RandomNormal(stddev=1.0, seed=self.seed),
            autocast=False,
            name="kernel",
        )
        self.bias = self.add_weight(shape=(channels,), initializer="zeros", autocast=False, name="bias")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel * self.scale, x.dtype)
        if not _differentiates_grouped_convolutions():
            kernel = _block_diagonal(kernel)
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), tf.cast(self.bias.value, x.dtype))


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

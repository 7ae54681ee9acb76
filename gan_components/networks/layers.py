"""What the growing networks are made of: equalised layers, normalisations, resampling.

Karras et al. 2017, https://arxiv.org/abs/1710.10196 (PG), and 2018, https://arxiv.org/abs/1812.04948 (SG).

Everything here has a second derivative, which gradient penalties take, and normalises in float32 whatever the
precision of its input. Of several ways to write an operation, the cheapest on a CPU was taken.
"""

import math
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from gan_components import randomness

# He et al. 2015, https://arxiv.org/abs/1502.01852: keeps the variance of signals through a ReLU.
RELU_GAIN = math.sqrt(2.0)

# Rows: taps of the kernel of stride 2 along one axis; columns: taps of the 3-tap kernel w that they sum.
# Up: pixel i of the small image becomes pixels 2i and 2i+1, and w meets each; as a transposed convolution, so that
# w is flipped. Down: the mean of w at 2i and 2i+1.
_STRIDED_TAPS = {
    "up": np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32),
    "down": np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]], np.float32) / 2.0,
}


class EqualisedDense(keras.layers.Layer):
    """``y = x (c W) + m b`` with ``c = m gain / sqrt(fan_in)``: He's constant at run time (PG, section 4.1).

    W starts as N(0, 1/m^2) and b at 0, so that the optimizer, whose steps do not follow a weight's scale, learns
    all layers at one speed, and this one m times slower.

    Args:
        fan_in: F of the inputs ``[N, F]``.
        units: U of the outputs ``[N, U]``.
        seed: of the network; the layer's own is derived from its name.
        gain: sqrt(2) before a leaky ReLU, 1 without one.
        lr_multiplier: m.
    """

    def __init__(
        self,
        fan_in: int,
        units: int,
        *,
        seed: int,
        name: str,
        gain: float = RELU_GAIN,
        lr_multiplier: float = 1.0,
        use_bias: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.scale = lr_multiplier * gain / math.sqrt(fan_in)
        self.lr_multiplier = lr_multiplier
        self.kernel = _kernel(self, (fan_in, units), 1.0 / lr_multiplier, seed)
        self.bias = _bias(self, units) if use_bias else None

    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = tf.matmul(x, tf.cast(self.kernel * self.scale, x.dtype))
        if self.bias is None:
            return y
        return tf.nn.bias_add(y, tf.cast(self.bias * self.lr_multiplier, x.dtype))


class EqualisedConv2D(keras.layers.Layer):
    """``y = conv(x, c W) + b`` with ``c = gain / sqrt(fan_in)`` and zero padding: see :class:`EqualisedDense`.

    With ``resample="up"`` the input is doubled by nearest neighbours before, with ``"down"`` the output is
    averaged over 2x2 pixels after the convolution. Both are then one 4x4 convolution of stride 2, whose kernel is
    summed from the 3x3 one: the same numbers for 4/9 of the multiplications.

    Args:
        in_channels: of the inputs ``[N, H, W, in_channels]``.
        filters: channels of the outputs ``[N, H', W', filters]``; ``H' = 2 H`` up, ``H / 2`` down.
        kernel_size: 1 or 3; 3 where it resamples.
        seed: of the network; the layer's own is derived from its name.
        gain: sqrt(2) before a leaky ReLU, 1 without one.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int = 3,
        *,
        seed: int,
        name: str,
        gain: float = RELU_GAIN,
        resample: Literal["up", "down"] | None = None,
        use_bias: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.scale = gain / math.sqrt(in_channels * kernel_size**2)
        self.resample = resample
        # A transposed convolution wants the channels of its output first.
        channels = (filters, in_channels) if resample == "up" else (in_channels, filters)
        self.kernel = _kernel(self, (kernel_size, kernel_size, *channels), 1.0, seed)
        self.bias = _bias(self, filters) if use_bias else None

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if self.resample is None:
            y = tf.nn.conv2d(x, tf.cast(self.kernel * self.scale, x.dtype), 1, "SAME")
        else:
            kernel = tf.cast(self._strided_kernel(self.resample), x.dtype)
            if self.resample == "down":
                y = tf.nn.conv2d(x, kernel, 2, "SAME")
            else:
                _, height, width, _ = x.shape
                shape = (tf.shape(x)[0], 2 * height, 2 * width, kernel.shape[2])
                y = tf.nn.conv2d_transpose(x, kernel, shape, 2, "SAME")
        # Not `y + b`: its second derivative costs a quarter more.
        return y if self.bias is None else tf.nn.bias_add(y, tf.cast(self.bias.value, x.dtype))

    def _strided_kernel(self, resample: Literal["up", "down"]) -> tf.Tensor:
        taps = _STRIDED_TAPS[resample]
        channels = self.kernel.shape[2:]
        # One matrix product over the nine taps. The scale rides along.
        sums = tf.constant(np.kron(taps, taps) * self.scale, tf.float32)
        return tf.reshape(tf.matmul(sums, tf.reshape(self.kernel.value, (9, -1))), (4, 4, *channels))


def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """``max(0.2 x, x)``.

    As a product with the slope: TensorFlow 2.21's graph optimizer stumbles over the second derivative of
    ``tf.nn.leaky_relu`` ("remapper failed" on stderr), and the gradient of ``maximum`` passes five times over
    memory.
    """
    return x * tf.where(x > 0, tf.ones((), x.dtype), tf.constant(0.2, x.dtype))


def leaky_tanh(x: tf.Tensor) -> tf.Tensor:
    """``0.99 tanh(x) + 0.01 x``: the end of generators whose papers let them end with a linear layer.

    A linear layer never gets a background quite black, and the discriminator looks at that instead of what is
    drawn. Behind a tanh alone a generator learns nothing any more once its images are black, which without
    normalisation comes early.
    """
    return 0.99 * tf.tanh(x) + 0.01 * x


def pixel_norm(x: tf.Tensor) -> tf.Tensor:
    """``x / sqrt(mean(x^2) + 1e-8)`` over the last axis (PG, section 4.2): vectors of mean square 1."""
    wide = tf.cast(x, tf.float32)
    norm = tf.math.rsqrt(tf.reduce_mean(wide * wide, -1, keepdims=True) + 1e-8)
    return tf.cast(wide * norm, x.dtype)


def minibatch_stddev(x: tf.Tensor, group_size: int = 4) -> tf.Tensor:
    """Appends one channel: the standard deviation over a group of images, averaged over pixels and channels.

    PG, section 3: it shows the discriminator how varied images are. A group are neighbouring rows, not every M-th
    as in Karras' code: replicas whose rows are whole groups then compute what one device does. Where the batch is
    no multiple of `group_size`, groups are as large as its largest divisor below.

    Args:
        x: ``[N, H, W, C]``.
        group_size: at most; 1 in effect is a constant channel.

    Returns:
        ``[N, H, W, C + 1]`` in the dtype of `x`.
    """
    _, height, width, channels = x.shape
    batch_size = x.shape[0] or tf.shape(x)[0]
    if isinstance(batch_size, int):
        size = max(size for size in range(1, group_size + 1) if batch_size % size == 0)
    else:
        sizes = tf.range(1, group_size + 1)
        size = tf.reduce_max(tf.where(batch_size % sizes == 0, sizes, 1))
    groups = tf.reshape(tf.cast(x, tf.float32), (-1, size, height, width, channels))
    # The population's deviation, as in Karras' code. Without the 1e-8 the gradient of equal images is not finite.
    deviation = tf.sqrt(tf.math.reduce_variance(groups, 1) + 1e-8)
    rows = tf.repeat(tf.reduce_mean(deviation, (1, 2, 3)), size)
    feature = tf.broadcast_to(tf.reshape(rows, (-1, 1, 1, 1)), (batch_size, height, width, 1))
    return tf.concat([x, tf.cast(feature, x.dtype)], -1)


def upsample(x: tf.Tensor, factor: int) -> tf.Tensor:
    """Repeats each pixel of ``[N, H, W, C]`` `factor` times along both sides."""
    # Not tf.image.resize: it has no second derivative.
    return x if factor == 1 else tf.repeat(tf.repeat(x, factor, 1), factor, 2)


def average_pool(x: tf.Tensor, factor: int) -> tf.Tensor:
    """Means over squares of `factor` x `factor` pixels of ``[N, H, W, C]``."""
    return x if factor == 1 else tf.nn.avg_pool2d(x, factor, factor, "VALID")


def blur(x: tf.Tensor) -> tf.Tensor:
    """Each channel of ``[N, H, W, C]`` filtered by [1, 2, 1]/4 along both sides, zeros outside (SG, section 2).

    What nearest up-sampling and strided sampling leave of a grid, this removes.
    """
    # Written with slices and sums it costs thirty times more.
    taps = np.array([1, 2, 1], np.float32) / 4.0
    kernel = np.tile(np.outer(taps, taps)[:, :, None, None], (1, 1, x.shape[-1], 1))
    return tf.nn.depthwise_conv2d(x, tf.constant(kernel, x.dtype), (1, 1, 1, 1), "SAME")


def as_grown(images: tf.Tensor, *, side: int, alpha: "tf.Tensor | float") -> tf.Tensor:
    """Real images as a generator that has grown to `side` could make them.

    Averaged to `side` pixels, mixed with what is left of them at half as many,
    ``alpha x + (1 - alpha) up(pool(x))``, and repeated to their size again. Level 0, 4x4, fades in over nothing.

    Args:
        images: float32 ``[N, H, H, C]``.
        side: 4 times a power of two, at most H.
        alpha: weight of the newest level in [0, 1].

    Returns:
        float32 ``[N, H, H, C]``.

    Raises:
        ValueError: `side` does not divide H.
    """
    full = images.shape[1]
    if full % side:
        raise ValueError(f"images of {full} pixels cannot be averaged to {side}; expected a divisor of {full}")
    grown = average_pool(images, full // side)
    if side > 4:
        grown = faded(upsample(average_pool(grown, 2), 2), grown, alpha)
    return upsample(grown, full // side)


def faded(old: tf.Tensor, new: tf.Tensor, alpha: "tf.Tensor | float") -> tf.Tensor:
    """``(1 - alpha) old + alpha new`` in the dtype of `new`: exact at both ends."""
    alpha = tf.cast(alpha, new.dtype)
    return (1.0 - alpha) * old + alpha * new


def _kernel(layer: keras.layers.Layer, shape: tuple[int, ...], stddev: float, seed: int) -> keras.Variable:
    initializer = keras.initializers.RandomNormal(stddev=stddev, seed=randomness.integer(seed, layer.name))
    # Not cast by Keras: under mixed precision, kernel times scale is rounded once, not the kernel before.
    return layer.add_weight(shape=shape, initializer=initializer, autocast=False, name="kernel")


def _bias(layer: keras.layers.Layer, units: int) -> keras.Variable:
    return layer.add_weight(shape=(units,), initializer="zeros", autocast=False, name="bias")

"""The layers of DCGAN in the forms that a CPU computes fastest, each equal to the Keras layer it stands for.

Same weights, same results up to rounding, differentiable any number of times inside one graph. On 2 cores with
`amx_bf16` a step of DCGAN at 28 pixels takes 0.8 times the processor time of the plain Keras layers in float32,
0.7 times in mixed_bfloat16.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SIZE, STRIDE = 4, 2
# oneDNN's direct convolutions fall behind a matrix product of the patches where the smaller image is at most this
# wide (8x8x256 <-> 4x4x512: 22 against 180 GFLOP/s for the bfloat16 kernel gradient) ...
NARROW = 4
# ... in bfloat16 the kernel gradient already below this (14x14x64 <-> 7x7x128: 58 against 115 GFLOP/s).
NARROW_BFLOAT16 = 15
# Up to this many channels, the larger image is made by a convolution of the smaller one with four times as many
# channels: 2.4 times as fast as the transposed convolution in float32, 1.6 times in bfloat16.
FEW = 4

Gradient = Callable[[tf.Tensor], "tf.Tensor | tuple[tf.Tensor, tf.Tensor]"]


class HalvingConv2D(layers.Conv2D):
    """``keras.layers.Conv2D(filters, 4, 2, padding="same")`` on images with an even, static height and width.

    Args:
        filters: channels of the output.
        kernel_initializer: of the kernel ``[4, 4, channels, filters]``.
        name: of the layer.
    """

    def __init__(self, filters: int, *, kernel_initializer: keras.Initializer, name: str) -> None:
        super().__init__(filters, SIZE, STRIDE, padding="same", kernel_initializer=kernel_initializer, name=name)

    def convolution_op(self, inputs: tf.Tensor, kernel: keras.Variable) -> tf.Tensor:
        """The convolution without bias, as Keras asks its subclasses for it."""
        return halved(inputs, tf.convert_to_tensor(kernel))


class DoublingConv2D(layers.Conv2DTranspose):
    """``keras.layers.Conv2DTranspose(filters, 4, 2, padding="same")`` on images with a static height and width.

    Args:
        filters: channels of the output.
        use_bias: whether a bias is added.
        kernel_initializer: of the kernel ``[4, 4, filters, channels]``.
        name: of the layer.
    """

    def __init__(self, filters: int, *, use_bias: bool, kernel_initializer: keras.Initializer, name: str) -> None:
        super().__init__(
            filters,
            SIZE,
            STRIDE,
            padding="same",
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            name=name,
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Images twice as high and wide."""
        # Without gradients of its own where none are taken: a SavedModel could not keep them, and would say so at
        # every load.
        compute = doubled if training else _doubled
        outputs = compute(inputs, tf.convert_to_tensor(self.kernel))
        return tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias)) if self.use_bias else outputs


class BatchNormalization(layers.BatchNormalization):
    """``keras.layers.BatchNormalization(synchronized=True)``, fused in training on a single replica.

    Replicas share the statistics of the global batch, so that one device and many agree. On one replica there is
    nothing to share, and TensorFlow's fused operation takes a third of the time in float32, a quarter in bfloat16.

    Args:
        momentum: of the moving statistics: ``moving <- momentum * moving + (1 - momentum) * batch``.
        name: of the layer.
    """

    def __init__(self, *, momentum: float, name: str) -> None:
        super().__init__(momentum=momentum, synchronized=True, name=name)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        """Normalises float32 or bfloat16 ``[N, H, W, C]`` per channel."""
        if not training or tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # The operation divides by n - 1, Keras' moving variance (and the normalisation itself) by n.
        n = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance * ((n - 1.0) / n))
        return outputs

    def _move(self, average: keras.Variable, value: tf.Tensor) -> None:
        average.assign(average * self.momentum + value * (1.0 - self.momentum))


@tf.custom_gradient
def leaky_relu(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """``max(x, 0.2 x)``, which TensorFlow can fuse into the convolution before it.

    The gradient looks at the sign of the output, so that nobody needs the input and the fusion stays possible.
    With ``keras.layers.LeakyReLU`` TensorFlow 2.21's graph optimizer stumbles over the second derivative
    ("remapper failed" on stderr); ``maximum(x, 0.2 * x)`` is six passes over the memory where this is one.
    """
    y = tf.nn.leaky_relu(x, 0.2)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # Its own derivative by y is zero; without the stop it would be computed through the input.
        return tf.raw_ops.LeakyReluGrad(gradients=upstream, features=tf.stop_gradient(y), alpha=0.2)

    return y, gradient


@tf.custom_gradient
def halved(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """4x4 convolution with stride 2 and padding "same".

    Args:
        x: ``[N, H, W, C]``, H and W static and even.
        kernel: ``[4, 4, C, D]``.

    Returns:
        ``[N, H/2, W/2, D]``.

    Raises:
        ValueError: H or W is odd.
    """
    height, width, channels = x.shape[1:]
    if height % 2 or width % 2:
        raise ValueError(f"images of {height}x{width} cannot be halved; both sides must be even")

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return doubled(upstream, kernel), kernel_gradient(x, upstream)

    if width // 2 > NARROW:
        return tf.nn.conv2d(x, kernel, STRIDE, "SAME"), gradient
    rows = tf.matmul(_patches(x), tf.reshape(kernel, [SIZE * SIZE * channels, -1]))
    return tf.reshape(rows, [-1, height // 2, width // 2, kernel.shape[-1]]), gradient


@tf.custom_gradient
def doubled(y: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """The transpose of :func:`halved` as a linear map of the images.

    Args:
        y: ``[N, h, w, D]``, h and w static.
        kernel: ``[4, 4, C, D]``.

    Returns:
        ``[N, 2h, 2w, C]``.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return halved(upstream, kernel), kernel_gradient(upstream, y)

    return _doubled(y, kernel), gradient


def _doubled(y: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    height, width = y.shape[1:3]
    channels = kernel.shape[2]
    if channels > FEW and width > NARROW:
        x = tf.nn.conv2d_transpose(y, kernel, [tf.shape(y)[0], 2 * height, 2 * width, channels], STRIDE)
        return tf.ensure_shape(x, [y.shape[0], 2 * height, 2 * width, channels])

    # The pixels 2p - 1 + v (v = 0, 1) lie between the rows p - 1 + u (u = 0, 1) of y and see them through the
    # kernel's rows 2 (1 - u) + v, and so with the columns. So y makes squares of four pixels by a 2x2 convolution,
    # and the outermost pixels are padding.
    taps = tf.reverse(tf.reshape(kernel, [2, 2, 2, 2, channels, -1]), [0, 2])  # [u, v, u', v', C, D]
    if channels <= FEW:
        taps = tf.reshape(tf.transpose(taps, [0, 2, 5, 1, 3, 4]), [2, 2, -1, 4 * channels])
        squares = tf.nn.conv2d(y, taps, 1, [[0, 0], [1, 1], [1, 1], [0, 0]])
    else:
        taps = tf.reshape(tf.transpose(taps, [0, 2, 1, 3, 4, 5]), [2, 2, 4 * channels, -1])
        rows = tf.reshape(y, [-1, y.shape[-1]])
        squares = tf.add_n(
            [
                tf.pad(
                    tf.reshape(tf.matmul(rows, taps[u, v], transpose_b=True), [-1, height, width, 4 * channels]),
                    [[0, 0], [1 - u, u], [1 - v, v], [0, 0]],
                )
                for u in (0, 1)
                for v in (0, 1)
            ]
        )
    return tf.nn.depth_to_space(squares, 2)[:, 1:-1, 1:-1]


@tf.custom_gradient
def kernel_gradient(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """The kernel ``[4, 4, C, D]`` whose inner product with K is that of y with ``halved(x, K)``, for all K.

    Args:
        x: ``[N, H, W, C]``, H and W static and even.
        y: ``[N, H/2, W/2, D]``.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return doubled(y, upstream), halved(x, upstream)

    shape = [SIZE, SIZE, x.shape[-1], y.shape[-1]]
    narrow = NARROW_BFLOAT16 if x.dtype == tf.bfloat16 else NARROW
    if y.shape[2] > narrow or x.shape[-1] <= FEW:
        kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=x, filter_sizes=shape, out_backprop=y, strides=[1, STRIDE, STRIDE, 1], padding="SAME"
        )
        return kernel, gradient
    # [D, rows] [rows, 16 C]: of the two orders the faster one.
    products = tf.matmul(tf.reshape(y, [-1, y.shape[-1]]), _patches(x), transpose_a=True)
    return tf.reshape(tf.transpose(products), shape), gradient


def _patches(x: tf.Tensor) -> tf.Tensor:
    """The 4x4 patches of `x` that a kernel meets: ``[N H/2 W/2, 16 C]``.

    Gathered by pairs of pixels, since the stride is 2: a tenth of the time of ``tf.image.extract_patches``.
    """
    height, width, channels = x.shape[1:]
    pairs = width // 2 + 1
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    i, j, a, b = np.ogrid[: height // 2, : width // 2, :SIZE, :2]
    indices = ((2 * i + a) * pairs + j + b).reshape(-1)
    gathered = tf.gather(tf.reshape(padded, [-1, (height + 2) * pairs, 2 * channels]), indices, axis=1)
    return tf.reshape(gathered, [-1, SIZE * SIZE * channels])

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.networks import layers


def _normal(*shape: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    return tf.cast(tf.random.stateless_normal(shape, [1, 2]), dtype)


def test_equalised_dense_scales_at_run_time():
    """``y = x W m gain / sqrt(F) + m b``; W itself is N(0, 1/m^2).

    4,096 numbers: the deviation's own error is 1/sqrt(2 n) = 1.1 %, so 5 % is more than four of them. Red if the
    constant is multiplied into the initial kernel, if the bias misses its multiplier, or the gain is left out.
    """
    dense = layers.EqualisedDense(64, 64, seed=0, name="dense", gain=3.0, lr_multiplier=0.01)
    assert np.std(dense.kernel) == pytest.approx(100.0, rel=0.05)
    dense.bias.assign(np.arange(64.0))
    x = _normal(5, 64)
    expected = x.numpy() @ dense.kernel.numpy() * (0.01 * 3.0 / 8.0) + 0.01 * np.arange(64.0)
    # Sums of 64 float32 products in another order.
    np.testing.assert_allclose(dense(x), expected, rtol=1e-4, atol=1e-4)


def test_equalised_convolution_scales_at_run_time():
    """The constant takes all inputs of one output, 9 x 4 here. Red with the fan of the channels alone."""
    conv = layers.EqualisedConv2D(4, 100, seed=0, name="conv")
    assert np.std(conv.kernel) == pytest.approx(1.0, rel=0.05)
    conv.bias.assign(np.arange(100.0))
    x = _normal(2, 8, 8, 4)
    expected = tf.nn.conv2d(x, conv.kernel.value, 1, "SAME") * (math.sqrt(2.0) / 6.0) + np.arange(100.0)
    # Sums of 36 float32 products in another order.
    np.testing.assert_allclose(conv(x), expected, rtol=1e-4, atol=1e-5)


def test_layers_start_with_numbers_of_their_own():
    """Red if the seed is not folded with the layer's name, or the name not with the seed."""

    def kernel(seed: int, name: str) -> np.ndarray:
        return layers.EqualisedConv2D(2, 2, seed=seed, name=name).kernel.numpy()

    np.testing.assert_array_equal(kernel(0, "a"), kernel(0, "a"))
    assert np.all(kernel(0, "a") != kernel(0, "b"))
    assert np.all(kernel(0, "a") != kernel(1, "a"))


@pytest.mark.parametrize("batch_size", [3, None])
def test_up_convolution_is_upsampling_then_convolution(batch_size):
    """The 4x4 transposed kernel gives the numbers of the 3x3 one, borders included.

    Sums of 45 products of unit size in another order: 1e-5. Red if the taps of "up" are not flipped.
    """
    conv = layers.EqualisedConv2D(5, 4, seed=0, name="up", resample="up")
    x = _normal(3, 6, 6, 5)
    up = tf.function(conv, input_signature=[tf.TensorSpec((batch_size, 6, 6, 5))])(x)
    kernel = tf.transpose(conv.kernel.value, (0, 1, 3, 2)) * conv.scale
    expected = tf.nn.conv2d(layers.upsample(x, 2), kernel, 1, "SAME")
    np.testing.assert_allclose(up, expected, atol=1e-5)


def test_down_convolution_is_convolution_then_pooling():
    """Tolerance as above. Red if the taps of "down" are not halved, or shifted by one."""
    conv = layers.EqualisedConv2D(5, 4, seed=0, name="down", resample="down")
    x = _normal(3, 8, 8, 5)
    expected = layers.average_pool(tf.nn.conv2d(x, conv.kernel.value * conv.scale, 1, "SAME"), 2)
    np.testing.assert_allclose(conv(x), expected, atol=1e-5)


@pytest.mark.parametrize("resample", ["up", "down", None])
def test_mixed_precision_rounds_the_scaled_kernel_once(resample):
    """Under mixed_bfloat16 the result is that of the scaled kernel, rounded; the weights stay float32.

    With a one-hot input the outputs are single scaled weights (and for the resampling layers sums of a few), so
    that no sum hides a rounding. Red if Keras casts the kernel before it is scaled (without autocast=False).
    """
    narrow = layers.EqualisedConv2D(1, 64, seed=0, name="c", resample=resample, dtype="mixed_bfloat16")
    wide = layers.EqualisedConv2D(1, 64, seed=0, name="c", resample=resample, dtype="float32")
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 1, 1] = 1.0
    assert narrow.kernel.dtype == "float32"
    assert narrow(x).dtype == tf.bfloat16
    np.testing.assert_array_equal(
        tf.cast(narrow(x), tf.float32), tf.cast(tf.cast(wide(x), tf.bfloat16), tf.float32)
    )


def test_leaky_relu_and_its_second_derivative():
    """For ``sum(y^3)`` with ``y = s x``, R1 is ``sum(9 s^6 x^4)`` and its gradient ``36 s^6 x^3``.

    Products of a few float32 numbers: 1e-5. Red with another slope, or a slope taken from the gradient's sign.
    """
    x = tf.constant([-10.0, -1.0, 0.0, 1.0, 10.0])
    slope = np.float64([0.2, 0.2, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(layers.leaky_relu(x), slope * x, rtol=1e-6)
    assert layers.leaky_relu(tf.cast(x, tf.bfloat16)).dtype == tf.bfloat16
    _, gradient = _penalty_and_gradient(lambda x: layers.leaky_relu(x) ** 3, x)
    np.testing.assert_allclose(gradient, 36.0 * slope**6 * x.numpy() ** 3, rtol=1e-5)


def _penalty_and_gradient(function, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """R1 of ``sum(function(x))`` and its gradient by `x`."""
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(function(x))
        penalty = tf.reduce_sum(inner.gradient(y, x) ** 2)
    return penalty, outer.gradient(penalty, x)


@pytest.mark.parametrize(
    "operation",
    [
        layers.EqualisedConv2D(2, 3, seed=0, name="same"),
        layers.EqualisedConv2D(2, 3, seed=0, name="up", resample="up"),
        layers.EqualisedConv2D(2, 3, seed=0, name="down", resample="down"),
        layers.EqualisedDense(2, 3, seed=0, name="dense"),
        layers.pixel_norm,
        layers.minibatch_stddev,
        layers.blur,
        lambda x: layers.upsample(x, 2),
        lambda x: layers.average_pool(x, 2),
    ],
    ids=["conv", "up", "down", "dense", "pixel_norm", "stddev", "blur", "upsample", "pool"],
)
def test_second_derivatives(operation):
    """The gradient of R1 is its difference quotient along itself.

    Behind a sine, so that there is a curvature, and in the steps of a graph. float32 leaves 1e-7 of R1 in a
    difference, 1e-5 of a quotient over 1e-2; the curvature errs by the square of the step, 1e-4: 1 %. Red if the
    operation is opaque to one of two tapes: a norm behind stop_gradient, or up-sampling by tf.image.resize.
    """
    x = _normal(4, 4, 4, 2)

    def curved(x: tf.Tensor) -> tf.Tensor:
        return tf.sin(operation(x))

    slopes = tf.function(functools.partial(_penalty_and_gradient, curved))
    _, gradient = slopes(x)
    size = tf.norm(gradient)
    assert size > 0.01
    step = 5e-3 * gradient / size
    quotient = (slopes(x + step)[0] - slopes(x - step)[0]) / 1e-2
    assert float(quotient) == pytest.approx(float(size), rel=0.01)


def test_pixel_norm_gives_mean_square_one():
    """Over the channels of each pixel, and the zero vector stays. Red with a mean over another axis, or a sum."""
    x = tf.concat([_normal(2, 3, 3, 8), 1000.0 * _normal(1, 3, 3, 8), tf.zeros((1, 3, 3, 8))], 0)
    y = layers.pixel_norm(x).numpy()
    # The 1e-8 in the root is 1e-7 of the smallest mean square, 0.1.
    np.testing.assert_allclose(np.mean(y**2, -1)[:3], 1.0, rtol=1e-5)
    np.testing.assert_array_equal(y[3], 0.0)


def _stddev_channel(x: np.ndarray, size: int) -> np.ndarray:
    groups = x.astype(np.float64).reshape(-1, size, *x.shape[1:])
    return np.repeat(groups.std(axis=1).mean(axis=(1, 2, 3)), size)


@pytest.mark.parametrize("batch_size, size", [(8, 4), (6, 3), (10, 2), (5, 1), (3, 3)])
@pytest.mark.parametrize("static", [True, False])
def test_minibatch_stddev_is_numpys(batch_size, size, static):
    """Groups of neighbours, as large as the largest divisor of the batch up to 4.

    float32 against float64, and 1e-8 under the root, 1e-4 where nothing varies: 1e-4. Red with every M-th row as a
    group, the variance, the sample's deviation, or groups of 4 at any batch.
    """
    x = _normal(batch_size, 4, 4, 3)
    function = tf.function(
        layers.minibatch_stddev, input_signature=[tf.TensorSpec((batch_size if static else None, 4, 4, 3))]
    )
    y = function(x).numpy()
    np.testing.assert_array_equal(y[..., :3], x)
    expected = np.broadcast_to(_stddev_channel(x.numpy(), size)[:, None, None], (batch_size, 4, 4))
    np.testing.assert_allclose(y[..., 3], expected, atol=1.1e-4)


def test_minibatch_stddev_of_a_replica_is_its_share():
    """Two halves give the bits of the whole. Red with every M-th row as a group, as in Karras' code."""
    x = _normal(8, 4, 4, 3)
    halves = tf.concat([layers.minibatch_stddev(x[:4]), layers.minibatch_stddev(x[4:])], 0)
    np.testing.assert_array_equal(layers.minibatch_stddev(x), halves)


def test_minibatch_stddev_of_equal_images_has_a_finite_gradient():
    """Red without the 1e-8 under the root: the slope of sqrt at 0 is infinite, and 0 times infinity no number."""
    x = tf.ones((4, 4, 4, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(layers.minibatch_stddev(x)[..., 3])
    assert np.all(np.isfinite(tape.gradient(y, x)))


def test_normalisations_are_float32_inside():
    """bfloat16 in and out, and the result is that of float32, rounded: half of 2^-8, its step.

    Red if the statistics are taken in bfloat16: sums of 2,000 numbers then err by several per cent, and numbers
    near 100 do not keep what they differ by.
    """
    x = 100.0 + _normal(4, 4, 4, 512, dtype=tf.bfloat16)
    norm, deviation = layers.pixel_norm(x), layers.minibatch_stddev(x)
    assert norm.dtype == deviation.dtype == tf.bfloat16
    wide = tf.cast(x, tf.float32).numpy()
    expected = wide / np.sqrt(np.mean(wide.astype(np.float64) ** 2, -1, keepdims=True))
    np.testing.assert_allclose(tf.cast(norm, tf.float32), expected, rtol=2.0**-8)
    channel = tf.cast(deviation, tf.float32).numpy()[:, 0, 0, -1]
    np.testing.assert_allclose(channel, _stddev_channel(wide, 4), rtol=2.0**-8)


def test_resampling():
    """By hand on one image. Red with another interpolation, or sums in place of means."""
    x = tf.reshape(tf.range(4.0), (1, 2, 2, 1))
    up = np.float32([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    np.testing.assert_array_equal(layers.upsample(x, 2)[0, ..., 0], up)
    np.testing.assert_array_equal(layers.average_pool(layers.upsample(x, 4), 4), x)
    np.testing.assert_array_equal(layers.average_pool(x, 2), [[[[1.5]]]])


def test_blur_is_binomial_in_each_channel():
    """The answer to one point is [1, 2, 1] x [1, 2, 1] / 16, exact in float32. Red if channels mix."""
    x = np.zeros((1, 5, 5, 2), np.float32)
    x[0, 2, 2, 0] = 16.0
    y = layers.blur(tf.constant(x)).numpy()
    np.testing.assert_array_equal(y[0, 1:4, 1:4, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    assert y.sum() == 16.0
    assert not y[..., 1].any()


def test_as_grown_mixes_two_resolutions():
    """alpha 1 gives the level, alpha 0 the one below, between them the mixture; all repeated to full size.

    Means of powers of two of numbers below 2^8 and their eighths: exact. Red if alpha weighs the old level, or the
    result is not brought back to full size.
    """
    images = tf.constant(np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3)).astype(np.float32))
    new = layers.upsample(layers.average_pool(images, 2), 2)
    old = layers.upsample(layers.average_pool(images, 4), 4)
    np.testing.assert_array_equal(layers.as_grown(images, side=8, alpha=1.0), new)
    np.testing.assert_array_equal(layers.as_grown(images, side=8, alpha=0.0), old)
    np.testing.assert_array_equal(
        layers.as_grown(images, side=8, alpha=keras.Variable(0.25)), 0.25 * new + 0.75 * old
    )
    np.testing.assert_array_equal(layers.as_grown(images, side=16, alpha=1.0), images)


def test_as_grown_has_nothing_below_the_first_level():
    """Red without the condition on the side: 4x4 would fade in from 2x2, which no generator makes."""
    images = _normal(2, 8, 8, 1)
    np.testing.assert_array_equal(
        layers.as_grown(images, side=4, alpha=0.0), layers.upsample(layers.average_pool(images, 2), 2)
    )


def test_as_grown_refuses_a_side_that_does_not_divide():
    """Red without the check: pooling would quietly cut the right and lower border."""
    with pytest.raises(ValueError, match="cannot be averaged to 8"):
        layers.as_grown(_normal(1, 12, 12, 1), side=8, alpha=1.0)

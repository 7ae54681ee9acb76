import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.networks import convolutions
from gan_components.networks.convolutions import (
    BatchNormalization,
    DoublingConv2D,
    HalvingConv2D,
    doubled,
    halved,
    kernel_gradient,
    leaky_relu,
)

# Side and channels of the larger image, channels of the smaller one; each reaches another form.
SHAPES = {"wide": (14, 6, 7), "few_channels": (12, 3, 5), "narrow": (8, 6, 7), "narrow_few": (6, 1, 5)}


def _normal(*shape: int) -> tf.Tensor:
    return tf.random.stateless_normal(shape, [1, sum(shape)])


def _case(name: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The larger image, the kernel, the smaller image."""
    side, channels, filters = SHAPES[name]
    return (
        _normal(3, side, side, channels),
        _normal(4, 4, channels, filters),
        _normal(3, side // 2, side // 2, filters),
    )


def _derivatives(function, arguments):
    """Output, gradients of a cubic loss and gradients of their squared length."""
    with tf.GradientTape() as outer:
        outer.watch(arguments)
        with tf.GradientTape() as inner:
            inner.watch(arguments)
            output = function(*arguments)
            loss = tf.reduce_sum(output**3)
        gradients = inner.gradient(loss, arguments)
        squares = sum(tf.reduce_sum(gradient**2) for gradient in gradients)
    return [output, *gradients, *outer.gradient(squares, arguments)]


def _derivatives_of(function, arguments, *, traced):
    """The same, in a graph of an unknown number of images if `traced`: differentiated inside, as in a step."""
    if not traced:
        return _derivatives(function, arguments)
    images, kernel = arguments
    signature = [tf.TensorSpec((None, *images.shape[1:])), tf.TensorSpec(kernel.shape)]
    graph = tf.function(lambda images, kernel: _derivatives(function, [images, kernel]), input_signature=signature)
    return graph(images, kernel)


def _assert_equal(actual, expected):
    """Up to 1e-5 of the largest value: sums of at most 600 float32 products in another order, and squares."""
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * np.abs(e).max())


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("traced", [False, True])
def test_halved_is_tensorflows_convolution(name, traced):
    """Output, first and second derivatives by image and kernel, eagerly and in a graph of any batch size.

    Red with one index of the patches off by one, or the arguments of a gradient exchanged.
    """
    x, kernel, _ = _case(name)
    expected = _derivatives(lambda x, kernel: tf.nn.conv2d(x, kernel, 2, "SAME"), [x, kernel])
    _assert_equal(_derivatives_of(halved, [x, kernel], traced=traced), expected)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("traced", [False, True])
def test_doubled_is_tensorflows_transposed_convolution(name, traced):
    """Red without the reversal of the kernel's taps, or with a square's padding on the other side."""
    x, kernel, y = _case(name)
    expected = _derivatives(lambda y, kernel: tf.nn.conv2d_transpose(y, kernel, x.shape, 2), [y, kernel])
    _assert_equal(_derivatives_of(doubled, [y, kernel], traced=traced), expected)


@pytest.mark.parametrize("name", SHAPES)
def test_kernel_gradient_is_the_adjoint(name):
    """<y, halved(x, K)> = <kernel_gradient(x, y), K>, and it is differentiable itself.

    The inner products are sums of at most 3,000 products of order 1 that cancel: 1e-5 of their length. Red if the
    products are not transposed back.
    """
    x, kernel, y = _case(name)
    _assert_equal(
        [tf.reduce_sum(kernel_gradient(x, y) * kernel) / tf.norm(kernel)],
        [tf.reduce_sum(y * halved(x, kernel)) / tf.norm(kernel)],
    )

    def by_autodiff(x, y):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            product = tf.reduce_sum(y * tf.nn.conv2d(x, kernel, 2, "SAME"))
        return tape.gradient(product, kernel)

    _assert_equal(_derivatives(kernel_gradient, [x, y]), _derivatives(by_autodiff, [x, y]))


@pytest.mark.parametrize("name", SHAPES)
def test_bfloat16_differs_by_its_rounding(name):
    """Against float32 of the same rounded numbers, the results are rounded once: 2^-9 of the largest value, and as
    much again where partial sums are rounded (four of them for narrow images, so five in all).

    Red with one index of the patches off by one: bfloat16 takes them for wide images too.
    """
    x, kernel, y = (tf.cast(tensor, tf.bfloat16) for tensor in _case(name))
    for function, arguments in ((halved, [x, kernel]), (doubled, [y, kernel]), (kernel_gradient, [x, y])):
        exact = function(*(tf.cast(argument, tf.float32) for argument in arguments))
        actual = function(*arguments)
        assert actual.dtype == tf.bfloat16
        np.testing.assert_allclose(
            tf.cast(actual, tf.float32), exact, rtol=0, atol=5 * 2**-9 * np.abs(exact).max()
        )


@pytest.mark.parametrize("policy, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 2e-2)])
def test_layers_are_keras_layers(policy, tolerance):
    """With the same weights, bias included, they give what Keras' layers give: 1e-5 is float32's rounding of sums
    of a hundred products, 2e-2 five roundings of bfloat16.

    Red if a layer leaves its bias out.
    """
    initializer = keras.initializers.GlorotUniform(seed=1)
    image, small = _normal(3, 14, 14, 6), _normal(3, 7, 7, 6)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        pairs = [
            (
                HalvingConv2D(5, kernel_initializer=initializer, name="ours"),
                keras.layers.Conv2D(5, 4, 2, padding="same"),
                image,
            ),
            (
                DoublingConv2D(5, use_bias=True, kernel_initializer=initializer, name="ours"),
                keras.layers.Conv2DTranspose(5, 4, 2, padding="same"),
                small,
            ),
        ]
    finally:
        keras.config.set_dtype_policy(previous)
    for ours, theirs, inputs in pairs:
        ours.build(inputs.shape)
        theirs.build(inputs.shape)
        ours.bias.assign(_normal(5))
        theirs.set_weights(ours.get_weights())
        actual, expected = (tf.cast(layer(inputs), tf.float32) for layer in (ours, theirs))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())
        assert ours.compute_dtype == theirs.compute_dtype
        assert ours.compute_output_shape(inputs.shape) == actual.shape


def test_odd_images_are_refused():
    """Red without the check: 7x7 would be padded on other sides than its transpose takes off."""
    with pytest.raises(ValueError, match="7x8 cannot be halved"):
        halved(_normal(1, 7, 8, 1), _normal(4, 4, 1, 1))


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_batch_normalisation_is_the_synchronised_one(dtype, tolerance):
    """Outputs, gradients and moving statistics of the fused operation are those of the sums that replicas share.

    1e-5 of the largest value is float32's rounding; Keras rounds to bfloat16 once, the fused operation also its
    normalised inputs. Red if the moving variance keeps the divisor n - 1: 1/48 more.
    """
    policy = "float32" if dtype == "float32" else "mixed_bfloat16"
    x, upstream = (tf.cast(_normal(3, 4, 4, channels)[..., :5] + 0.5, dtype) for channels in (5, 6))
    results = []
    for layer in (
        BatchNormalization(momentum=0.9, name="ours"),
        keras.layers.BatchNormalization(momentum=0.9, synchronized=True),
    ):
        layer.dtype_policy = keras.DTypePolicy(policy)
        layer.build(x.shape)
        layer.gamma.assign([1.0, 2.0, 3.0, 4.0, 5.0])
        layer.beta.assign([5.0, 4.0, 3.0, 2.0, 1.0])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        gradients = tape.gradient(y, [x, layer.gamma.value, layer.beta.value], upstream)
        inference = layer(x, training=False)
        assert y.dtype == dtype
        values = [y, *gradients, layer.moving_mean.value, layer.moving_variance.value, inference]
        results.append([tf.cast(value, tf.float32) for value in values])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_leaky_relu_and_its_derivatives():
    """0.2 x below zero and x above; the second derivative passes the same slopes on. Red with another slope, or if
    the gradient looks at the sign of `upstream`.
    """
    x, weights = tf.constant([-2.0, -0.5, 0.5, 3.0]), tf.constant([1.0, -1.0, -1.0, 2.0])
    slopes = np.float32([0.2, 0.2, 1.0, 1.0])
    with tf.GradientTape(persistent=True) as outer:
        outer.watch([x, weights])
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = leaky_relu(x)
            loss = tf.reduce_sum(weights * y)
        gradient = inner.gradient(loss, x)
        squares = tf.reduce_sum(gradient**2)
    np.testing.assert_allclose(y, slopes * x, rtol=1e-6)
    np.testing.assert_allclose(gradient, slopes * weights, rtol=1e-6)
    np.testing.assert_allclose(outer.gradient(squares, weights), 2 * slopes**2 * weights, rtol=1e-6)
    assert outer.gradient(squares, x) is None


def test_the_graph_optimizer_takes_second_derivatives(capfd):
    """A step with R1 is optimised without "remapper failed", and its convolution takes bias and activation in.

    Red with ``tf.nn.leaky_relu`` in place of ours, or without its stop_gradient.
    """
    kernel, bias, head = (tf.Variable(_normal(*shape)) for shape in ((4, 4, 3, 8), (8,), (8 * 14 * 14, 1)))
    weights = [kernel, bias, head]

    def logits(images):
        x = leaky_relu(tf.nn.bias_add(halved(images, tf.convert_to_tensor(kernel)), bias))
        return tf.matmul(tf.reshape(x, [-1, 8 * 14 * 14]), head)

    @tf.function(autograph=False)
    def step(images):
        with tf.GradientTape() as tape:
            with tf.GradientTape() as inner:
                inner.watch(images)
                real = logits(images)
            gradients = inner.gradient(real, images)
            loss = tf.reduce_sum(gradients**2) + tf.reduce_sum(tf.nn.softplus(logits(images + 1.0)))
        return tape.gradient(loss, weights)

    assert all(np.any(gradient != 0.0) for gradient in step(_normal(2, 28, 28, 3)))
    assert "remapper failed" not in capfd.readouterr().err


def test_every_form_is_reached():
    """The tests above compare all forms only while the constants lie between their shapes.

    Red if NARROW falls below 3 or rises above 6, FEW below 3 or above 5.
    """
    assert convolutions.NARROW in range(4, 7) and convolutions.FEW in range(3, 6)
    assert convolutions.NARROW < convolutions.NARROW_BFLOAT16

"""The PyTorch peer is made from tables of weights; these compare them with this project's networks."""

import dataclasses
import math

import keras
import pytest
import tensorflow as tf
from peers import graph_arithmetic, tables
from peers.cases import Case
from train_throughput import SETTINGS

from gan_components.networks.architectures import ARCHITECTURES


def _networks(case: Case) -> tuple[keras.Model, keras.Model, dict[str, tf.TensorSpec]]:
    """Ours, and what the generator takes in training."""
    architecture = ARCHITECTURES[case.network]
    config = next(s for s in SETTINGS.values() if s.case().name == case.name).section("float32").network
    shape = {"image_shape": (case.side, case.side, case.channels)}
    generator = architecture.generator(config, latent_dim=case.latent_dim, num_classes=0, seed=0, **shape)
    discriminator = architecture.discriminator(config, num_classes=0, seed=0, **shape)
    draws = architecture.draws(config, latent_dim=case.latent_dim, **shape)
    rows = {"latents": (case.latent_dim,), **{name: row for name, (_, row) in draws.items()}}
    return generator, discriminator, {name: tf.TensorSpec((case.batch_size, *row)) for name, row in rows.items()}


def _mflop_per_image(network: keras.Model, inputs: dict[str, tf.TensorSpec], batch_size: int) -> float:
    forward = tf.function(lambda rows: network(rows, training=True)).get_concrete_function(inputs)
    return graph_arithmetic.mflop(forward) / batch_size


@pytest.mark.parametrize("key", SETTINGS)
def test_peer_has_our_parameters_and_arithmetic(key):
    """Equal counts, of parameters exactly, of operations to float64's rounding of sums of integers below 2^53.

    Red if a table has a 3x3 kernel where we have 4x4, one level less, or lacks a bias.
    """
    case = dataclasses.replace(SETTINGS[key].case(), batch_size=8)
    generator, discriminator, inputs = _networks(case)
    images = {"images": tf.TensorSpec((8, case.side, case.side, case.channels))}
    for network, table, taken in (
        (generator, tables.generator(case), inputs),
        (discriminator, tables.discriminator(case), images),
    ):
        assert len({weight.name for weight in table}) == len(table)
        assert tables.num_parameters(table) == sum(math.prod(w.shape) for w in network.trainable_variables)
        # Where an image has few channels, DCGAN computes a border of squares that it cuts off.
        tolerance = 5e-3 if case.network == "dcgan" else 1e-9
        assert tables.mflop(table) == pytest.approx(_mflop_per_image(network, taken, 8), rel=tolerance)


def test_arithmetic_of_a_gradient():
    """A dense layer of 3 inputs and 5 outputs, 7 rows: 2 * 7 * 3 * 5 = 210 operations, once more for a weight's
    gradient and for an input's; a penalty of every fourth step by a quarter; what nobody asks for not at all.

    Red if gradients' products, the conditional's share or reachability are left out of the count.
    """

    def counted(with_input: bool, lazily: bool) -> float:
        @tf.function
        def step(x: tf.Tensor, w: tf.Tensor, due: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch([x, w])
                y = tf.reduce_sum(tf.matmul(x, w) ** 2)
            unused = tf.matmul(x, w)
            del unused
            results = [tape.gradient(y, w)]
            if with_input:
                results.append(tape.gradient(y, x))
            if lazily:
                results.append(tf.cond(due, lambda: tf.matmul(x, 2.0 * w), lambda: tf.zeros((7, 5))))
            return results

        specs = [tf.TensorSpec((7, 3)), tf.TensorSpec((3, 5)), tf.TensorSpec((), tf.bool)]
        return 1e6 * graph_arithmetic.mflop(step.get_concrete_function(*specs), lazy_share=0.25)

    assert counted(False, False) == pytest.approx(2 * 210)
    assert counted(True, False) == pytest.approx(3 * 210)
    assert counted(True, True) == pytest.approx(3.25 * 210)


def test_arithmetic_of_convolutions():
    """4x4 of stride 2 from 6x6x2 to 3x3x5: 2 * 9 * 16 * 2 * 5 operations an image, the same for each gradient;
    depthwise 3x3 at 6x6x2: 2 * 36 * 9 * 2.

    Red if a transposed convolution is counted by its large image.
    """

    def count(function, *shapes) -> float:
        specs = [tf.TensorSpec(shape) for shape in shapes]
        return 1e6 * graph_arithmetic.mflop(tf.function(function).get_concrete_function(*specs))

    down = 2 * 9 * 16 * 2 * 5
    kernel, small, large = (4, 4, 2, 5), (1, 3, 3, 5), (1, 6, 6, 2)
    assert count(lambda x, k: tf.nn.conv2d(x, k, 2, "SAME"), large, kernel) == pytest.approx(down)
    assert count(lambda x, k: tf.nn.conv2d_transpose(x, k, large, 2), small, kernel) == pytest.approx(down)
    blurred = count(lambda x, k: tf.nn.depthwise_conv2d(x, k, (1, 1, 1, 1), "SAME"), large, (3, 3, 2, 1))
    assert blurred == pytest.approx(2 * 36 * 9 * 2)

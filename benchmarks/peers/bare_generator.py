"""The generator of `digits` as a `tf.function` at its turn: ``python -m peers.bare_generator SAVED_MODEL``.

First it is saved to SAVED_MODEL, as it ships.
"""

import functools
import sys
from pathlib import Path

import tensorflow as tf

from gan_components import generators, images
from gan_components.generators import Description
from gan_components.training import players
from peers.calls import timed
from peers.turns import Turns
from pipelines import config


def main() -> None:
    turns = Turns()
    section = config.load("digits").train
    description = Description(
        image_shape=[28, 28, 1],
        latent_dim=section.latent_dim,
        latent_distribution=section.latent_distribution,
        class_names=[str(digit) for digit in range(10)],
        class_frequencies=[0.1] * 10,
    )
    network = players.build(description, section, seed=0).ema_generator
    generators.save(network, Path(sys.argv[1]), description)

    @functools.cache
    def draw(batch_size: int) -> tf.types.experimental.ConcreteFunction:
        @tf.function(input_signature=[tf.TensorSpec([2], tf.int32), tf.TensorSpec([batch_size], tf.int64)])
        def traced(seed: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            latents = tf.random.stateless_normal([batch_size, description.latent_dim], seed, alg="philox")
            return images.to_uint8(network({"latents": latents, "labels": labels}, training=False))

        return traced.get_concrete_function()

    for question in turns:
        labels = tf.range(question["batch_size"], dtype=tf.int64) % 10
        function = draw(question["batch_size"])
        seed = tf.constant([0, 1])
        turns.answer(**timed(lambda f=function, s=seed, r=labels: f(s, r).numpy(), seconds=question["seconds"]))


if __name__ == "__main__":
    main()

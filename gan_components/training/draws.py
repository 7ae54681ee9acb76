"""The generator's random inputs in training, as a function of the step."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import tensorflow as tf

from gan_components import randomness
from gan_components.networks.config import Draws

Tensors = dict[str, tf.Tensor]

Draw = Callable[[tf.Tensor], Tensors]
"""``draw(step)``: the generator's inputs at a step of the discriminator: ``latents``, ``labels`` and others."""


def drawer(
    *,
    batch_size: int,
    latent_dim: int,
    latent_distribution: Literal["normal", "uniform"] = "normal",
    class_frequencies: list[float],
    draws: Draws,
    seed: int,
) -> Draw:
    """The generator's inputs in training as a function of the step.

    Args:
        batch_size: of the global batch; a replica gets its rows of it.
        latent_dim: D of the latents.
        latent_distribution: standard normal, or uniform on [-1, 1).
        class_frequencies: of the training split, sum 1; labels are drawn by them. Empty: no labels.
        draws: other random inputs, each in a stream of its name.
        seed: of the streams.
    """
    names = {"latents": (latent_distribution, (latent_dim,)), **draws}
    keys = {name: randomness.stream(seed, name) for name in (*names, "labels")}
    boundaries = np.cumsum(class_frequencies)[:-1].astype(np.float32)

    def rows(name: str, step: tf.Tensor) -> tf.Tensor:
        distribution, shape = names[name]
        key = randomness.at_step(keys[name], step)
        if distribution == "normal":
            return randomness.normal(key, (batch_size, *shape))
        points = randomness.uniform(key, (batch_size, *shape))
        return 2.0 * points - 1.0 if name == "latents" else points

    def draw(step: tf.Tensor) -> Tensors:
        inputs = {name: rows(name, step) for name in names}
        if class_frequencies:
            points = randomness.uniform(randomness.at_step(keys["labels"], step), (batch_size,))
            inputs["labels"] = tf.searchsorted(boundaries, points, side="right", out_type=tf.int64)
        return inputs

    return draw
